"""The words by which text is found: lower case, without marks, without the commonest ones, without a plural's ending."""

from __future__ import annotations

import functools
import re
import unicodedata

_QUOTE = "\u2019"
_WORD = re.compile(rf"[^\W_]+(?:['{_QUOTE}][^\W\d_]+)?")
_WIDE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]+"
)
"""Writing that puts no space between words (and Korean, whose endings grow together with them): taken two by two."""

WORD_CHARS_MAX = 64

_STOP = frozenset(
    word
    for line in (
        "a about after all also am an and any are as at be because been before being but by can could did do does doing",
        "for from had has have having he her hers him his how i if in into is it its just let me more most my no nor not",
        "of off on or our out over own she should so some such than that the their them then there these they this those",
        "to too under until up very was we were what when where which while who whom why will with would you your",
    )
    for word in line.split()
)


def terms_of(text: str) -> tuple[str, ...]:
    """Its words in order, each as often as it stands there."""
    if not text.isascii():
        text = _plain(text)
    words = _WORD.findall(text.lower())
    if text.isascii():
        return tuple(term for word in words if (term := _term(word)))
    return tuple(term for word in words for term in _parted(word))


def query_terms(text: str) -> tuple[str, ...]:
    """The words of a question, each once. One of common words alone is looked for as it is."""
    found = tuple(dict.fromkeys(terms_of(text)))
    if found:
        return found
    return tuple(dict.fromkeys(_stripped(word) for word in _WORD.findall(_plain(text).lower())))


def _plain(text: str) -> str:
    """Without accents and other marks; wide and narrow forms of a letter are one."""
    parted = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(one for one in parted if not unicodedata.combining(one)))


def _parted(word: str) -> list[str]:
    """A word, and where its writing has no spaces, every two signs that stand together."""
    if not _WIDE.search(word):
        term = _term(word)
        return [term] if term else []
    parts: list[str] = []
    at = 0
    for run in _WIDE.finditer(word):
        parts += _parted(word[at : run.start()]) if run.start() > at else []
        signs = run.group()
        parts += [signs[n : n + 2] for n in range(len(signs) - 1)] or [signs]
        at = run.end()
    return parts + (_parted(word[at:]) if at < len(word) else [])


@functools.lru_cache(maxsize=65_536)
def _term(word: str) -> str:
    """The word as it is looked for; empty: it is too common to tell anything."""
    return "" if word in _STOP else _stripped(word)


def _stripped(word: str) -> str:
    """Without the ending of a plural or a possessive."""
    for mark in ("'", _QUOTE):
        word = word.partition(mark)[0]
    word = word[:WORD_CHARS_MAX]
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004 - `ties` and `lies` stay
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004 - `gas`, `bus`
        return word[:-1]
    return word
