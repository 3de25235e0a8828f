"""What stands in a text, as far as one sees without understanding it: words, numbers, names, sums, labels, sentences."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")
_REFERENCE = re.compile(
    r"#\s?\d{2,}|\b[A-Z]{1,5}-?\d{2,}\b|\b(?:order|ticket|invoice|case|parcel)\s+(?:number\s+)?#?(\d{2,})",
    re.IGNORECASE,
)
_JSON = json.JSONDecoder()
_BRACES_MAX = 20
"""So many are looked at for a schema in a text."""
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"https?://[^\s\"'<>)\]]+")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_QUOTED = re.compile(r"[\"“«`]([^\"”»`\n]{1,200})[\"”»`]|(?<!\w)'([^'\n]{1,200})'(?!\w)")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)(?<!\n)\b[A-ZÀ-Þ][\w'\u2019-]+(?:\s+[A-ZÀ-Þ][\w'\u2019-]+)*")
_PLACE = re.compile(r"\b(?:in|at|to|from|for|near|of)\s+([A-ZÀ-Þ][\w'\u2019-]+(?:\s+[A-ZÀ-Þ][\w'\u2019-]+)*)")
_SUM = re.compile(r"[-+(]*\s*\d[\d\s.,()]*(?:(?:\*\*|//|[-+*/\u00d7÷%^x])[\s\d.,()-]*\d[\d\s.,()]*)+")
_LABELS = re.compile(
    r"(?:one of|labels?|category|categories|classes|options|either|choose (?:from|between|among)|as)\b[^:\n]{0,40}?[:=]?\s*"
    r"[\[({]?\s*([\w\"'`. -]{1,40}(?:\s*(?:,|/|\||;|\bor\b)\s*(?:or\s+|and\s+)?[\w\"'`. -]{1,40}?){1,30})\s*(?:[\])}.?!:\n]|$)",
    re.IGNORECASE,
)
_LABEL_BREAK = re.compile(r"\s*(?:,|/|\||;|\bor\b|\band\b)\s*", re.IGNORECASE)
_SUM_CHARS_MAX = 200
_EXPONENT_MAX = 64
_READ_CHARS_MAX = 20_000
"""What stands further back is not looked at: reading stays cheap however long a text is."""

_STOP_WORDS = """
a about all also am an and any are as at be been but by can could did do does for from get give had has have he her his how
i if in into is it its just know let like make me more my need no not of off on one or our out please she should so some
tell than that the their them then there these they this to too up us want was we were what when where which who why
will with would you your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words, in lower case."""
    return [word.lower() for word in _WORD.findall(text[:_READ_CHARS_MAX])]


def key_words(text: str) -> list[str]:
    """The words that say something, each once, in order."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in STOP_WORDS and len(word) > 1]


def stem(word: str) -> str:
    """A word without the most common endings of English."""
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - shorter ones mean something else
            return word[: -len(ending)]
    return word


def sentences_of(text: str) -> list[str]:
    """The sentences, as they stand there."""
    found = (sentence.strip(" \t-*#>") for sentence in _SENTENCE.findall(text[:_READ_CHARS_MAX]))
    return [sentence for sentence in found if any(char.isalnum() for char in sentence)]


def numbers_of(text: str) -> list[float]:
    """The numbers."""
    return [float(number) for number in _NUMBER.findall(text[:_READ_CHARS_MAX])]


def reference_of(text: str) -> str:
    """An order, ticket or the like that is named by a number; empty if none is."""
    found = _REFERENCE.search(text[:_READ_CHARS_MAX])
    return found[0].strip() if found else ""


def emails_of(text: str) -> list[str]:
    """The mail addresses."""
    return _EMAIL.findall(text[:_READ_CHARS_MAX])


def urls_of(text: str) -> list[str]:
    """The addresses of pages."""
    return [url.rstrip(".,;:!?") for url in _URL.findall(text[:_READ_CHARS_MAX])]


def dates_of(text: str) -> list[str]:
    """The dates, as `2030-01-31`."""
    return _DATE.findall(text[:_READ_CHARS_MAX])


def quotes_of(text: str) -> list[str]:
    """What stands in quotes."""
    return [first or second for first, second in _QUOTED.findall(text[:_READ_CHARS_MAX])]


def names_of(text: str) -> list[str]:
    """Places first, then other words in capitals that do not begin a sentence."""
    text = text[:_READ_CHARS_MAX]
    return list(dict.fromkeys([*_PLACE.findall(text), *(name for name in _NAME.findall(text) if name != "I")]))


def labels_of(text: str) -> list[str]:
    """The labels among which a text asks to choose; none, if it does not."""
    longest: list[str] = []
    for found in _LABELS.findall(text[:_READ_CHARS_MAX]):
        labels = [label.strip(" \"'`.") for label in _LABEL_BREAK.split(found)]
        labels = [label for label in dict.fromkeys(labels) if label and len(label.split()) <= 4]  # noqa: PLR2004 - a label, no sentence
        if len(labels) > len(longest):
            longest = labels
    return longest if len(longest) > 1 else []


def nearest(choices: Iterable[str], text: str) -> tuple[str, int]:
    """The choice that shares most words with the text, and how many."""
    said = Counter(stem(word) for word in words_of(text))
    best, most = "", -1
    for choice in choices:
        score = sum(min(said[stem(word)], 3) for word in words_of(choice))
        if score > most:
            best, most = choice, score
    return best, max(most, 0)


def sum_of(text: str) -> tuple[str, float] | None:
    """A calculation that stands in the text, and its result."""
    for found in _SUM.finditer(text[:_READ_CHARS_MAX]):
        written = found[0].strip().rstrip(".,")
        if len(written) > _SUM_CHARS_MAX or _DATE.search(written):
            continue
        plain = written.replace(",", "").replace("\u00d7", "*").replace("x", "*").replace("÷", "/").replace("^", "**")
        try:
            return written, _value(ast.parse(plain, mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, MemoryError, RecursionError):
            continue
    return None


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            first, second = _value(left), _value(right)
            if isinstance(op, ast.Pow) and (abs(second) > _EXPONENT_MAX or abs(first) > 1e6):  # noqa: PLR2004 - large enough for a demonstration
                raise ValueError("too large")
            result = _OPERATORS[type(op)](first, second)
            if isinstance(result, complex):
                raise ValueError("not a real number")  # noqa: TRY004 - of what was written, not of our own types
            return result
        case _:
            raise ValueError("not a calculation")


def shown(number: float) -> str:
    """A number as people write it."""
    if isinstance(number, int) or (number == int(number) and abs(number) < 1e15):  # noqa: PLR2004 - floats are exact so far
        return str(int(number))
    return f"{number:.10g}"


_GOOD = frozenset(
    (
        "good",
        "great",
        "love",
        "loved",
        "happy",
        "excellent",
        "perfect",
        "thanks",
        "thank",
        "nice",
        "wonderful",
        "fast",
        "helpful",
        "amazing",
        "best",
    )
)
_BAD = frozenset(
    (
        "bad",
        "terrible",
        "hate",
        "broken",
        "angry",
        "awful",
        "late",
        "slow",
        "worst",
        "disappointed",
        "never",
        "wrong",
        "useless",
        "refund",
        "damaged",
        "missing",
    )
)


def schema_in(text: str) -> dict[str, Any] | None:
    """The first JSON schema of an object that stands in the text."""
    if '"properties"' not in text:
        return None
    at = -1
    for _ in range(_BRACES_MAX):
        at = text.find("{", at + 1)
        if at < 0:
            return None
        try:
            found, _end = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue  # a brace of something else
        if isinstance(found, dict) and isinstance(found.get("properties"), dict):
            return found
    return None


def mood_of(text: str) -> str:
    """`positive`, `negative` or `neutral`, by the words."""
    words = set(words_of(text))
    good, bad = len(words & _GOOD), len(words & _BAD)
    return "positive" if good > bad else "negative" if bad > good else "neutral"
