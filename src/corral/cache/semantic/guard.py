"""Whether two questions may be taken for the same at all, however alike their vectors are: what embedders do not see.

It vetoes: other numbers, dates or units; other names; a negation on one side; words that oppose each other; the same words
in another order; a single word replaced by one that is not known to mean the same; one more word that narrows the question;
another kind of question (why, when, whether); whose it is. It knows English, and nothing passes that is not known to be English.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from corral.cache.semantic import words as known

VERSION = "1"
"""Evidence gathered under one version is worth nothing under another."""

_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*(?:st|nd|rd|th)?|[^\W\d_]+(?:['’.+#-][^\W\d_]+)*[+#]*\d*|[%$€£+*/=<>&#]")  # noqa: RUF001 - as people type it
_SAME_SHARE = 0.71
_SAME_MIN = 5
_KEPT = 8_192


class Reading(NamedTuple):
    """What the guard sees of a question."""

    english: bool
    words: tuple[str, ...]
    content: tuple[str, ...]
    """Stems of the words that matter, in order."""
    extra: tuple[str, ...]
    """Stems of words that change little."""
    numbers: frozenset[str]
    names: tuple[str, ...]
    negations: int
    poles: frozenset[tuple[int, int]]
    kind: str
    owners: frozenset[str]
    roles: tuple[frozenset[str], frozenset[str]]
    """What stands behind `from`, and behind `to`."""


@functools.lru_cache(_KEPT)
def read(text: str) -> Reading:
    """Read a question."""
    plain = text.replace("’", "'")  # noqa: RUF001 - as people type it
    found = list(_TOKEN.finditer(plain))
    raw = [match.group() for match in found]
    spoken = tuple(_without_s(word.lower()) for word in raw)
    numbers, content, extra = set(), [], []
    for word in spoken:
        number = _number(word)
        if number is not None:
            numbers.add(number)
        elif word in known.FILLER:
            extra.append(stem(word))
        elif word not in known.LIGHT:
            content.append(stem(word))
    asked = _after_politeness(tuple(word.lower() for word in raw))
    return Reading(
        english=_is_english(plain, [word.lower() for word in raw]),
        words=spoken,
        content=tuple(content),
        extra=tuple(extra),
        numbers=frozenset(numbers),
        names=tuple(_names(plain, found)),
        negations=sum(_negates(word.lower()) for word in raw),
        poles=frozenset(place for word in spoken for place in _POLES.get(word, ())),
        kind=_kind(asked, spoken),
        owners=frozenset(known.OTHERS[word] for word in spoken if word in known.OTHERS),
        roles=_roles(spoken),
    )


def is_english(text: str) -> bool:
    """Whether a text is known to be English; nothing else is ever served."""
    plain = text.replace("’", "'")  # noqa: RUF001 - as people type it
    return _is_english(plain, [word.lower() for word in _TOKEN.findall(plain)])


def objection(one: str, other: str) -> str:
    """Why these are not the same question, in a word; empty: nothing speaks against it."""
    if one == other:
        return "" if read(one).english else "language"
    a, b = read(one), read(other)
    if not (a.english and b.english):
        return "language"
    if a.numbers != b.numbers:
        return "numbers"
    return (
        _other_names(a, b)
        or _opposed(a, b)
        or _other_order(a, b)
        or _other_kind(a, b)
        or ("owner" if a.owners and b.owners and a.owners != b.owners else "")
        or _other_words(a, b)
    )


def facts(text: str) -> tuple[frozenset[str], int]:
    """What two texts that say the same must have in common: their numbers, and whether they deny."""
    words = [match.group().lower() for match in _TOKEN.finditer(text.replace("’", "'"))]  # noqa: RUF001 - as people type it
    numbers = frozenset(number for word in words if (number := _number(_without_s(word) or word)) is not None)
    return numbers, sum(_negates(word) for word in words) % 2


# -- comparing --------------------------------------------------------------------------------------------------------


def _other_names(a: Reading, b: Reading) -> str:
    for here, there in ((a, b), (b, a)):
        stems = {*there.content, *there.extra, *(stem(name) for name in there.names)}
        for name in here.names:
            if not _has(stem(name), stems):
                return "names"
    return ""


def _opposed(a: Reading, b: Reading) -> str:
    if a.negations % 2 != b.negations % 2:
        return "negation"
    axes_a, axes_b = _by_axis(a.poles), _by_axis(b.poles)
    if any(axis in axes_b and axes_b[axis] != poles for axis, poles in axes_a.items()):
        return "opposites"
    for here, there in ((a, b), (b, a)):  # `safe` here and `unsafe` there
        for word in here.content:
            if any(word == prefix + other for other in there.content for prefix in known.NEGATING_PREFIXES):
                return "opposites"
    return ""


def _by_axis(places: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    axes: dict[int, set[int]] = {}
    for axis, pole in places:
        axes.setdefault(axis, set()).add(pole)
    return axes


def _other_order(a: Reading, b: Reading) -> str:
    (from_a, to_a), (from_b, to_b) = a.roles, b.roles
    if from_a & to_b - from_b or to_a & from_b - to_b:
        return "order"
    symmetric = not known.SYMMETRIC.isdisjoint(a.words) and not known.SYMMETRIC.isdisjoint(b.words)
    names_a, names_b = _in_order(a.names), _in_order(b.names)
    shared_a = [name for name in names_a if name in names_b]
    shared_b = [name for name in names_b if name in names_a]
    if shared_a != shared_b and not symmetric:
        return "order"
    if not symmetric and (_swapped(a.words, b.words) or _poles_in_order(a) != _poles_in_order(b)):
        return "order"
    return ""


def _swapped(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Two words in each other's place, and all else where it was."""
    if len(a) != len(b):
        return False
    places = [n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(places) != 2:  # noqa: PLR2004 - a swap
        return False
    first, last = places
    return stem(a[first]) == stem(b[last]) and stem(a[last]) == stem(b[first])


def _poles_in_order(reading: Reading) -> list[tuple[int, int]]:
    """The poles of those axes of which both are named, as they follow each other."""
    if len(reading.poles) < 2:  # noqa: PLR2004 - both
        return []
    axes = [axis for axis, _ in reading.poles]
    return [(axis, pole) for word in reading.words for axis, pole in _POLES.get(word, ()) if axes.count(axis) > 1]


def _other_kind(a: Reading, b: Reading) -> str:
    kinds = {a.kind, b.kind}
    return "kind" if len(kinds) > 1 and "" not in kinds and kinds != {"what", "amount"} else ""


def _other_words(a: Reading, b: Reading) -> str:
    stems_a, stems_b = set(a.content), set(b.content)
    only_a = _unmatched(a.content, stems_b | set(b.extra))
    only_b = _unmatched(b.content, stems_a | set(a.extra))
    if len(only_a) == len(only_b) == 1 and not _may_stand_for(only_a[0], only_b[0]):
        return "word"
    if bool(only_a) != bool(only_b):
        return "narrower"
    if not (stems_a & stems_b) and only_a and not a.names:
        return "nothing in common"
    return ""


def _unmatched(content: Iterable[str], there: set[str]) -> list[str]:
    return [word for word in dict.fromkeys(content) if not _has(word, there)]


def _has(word: str, there: set[str]) -> bool:
    return word in there or any(_kin(word, other) for other in there)


def _kin(word: str, other: str) -> bool:
    """`translate` and `translation`, `Mexico` and `Mexican`."""
    shared = 0
    for x, y in zip(word, other, strict=False):
        if x != y:
            break
        shared += 1
    return shared >= _SAME_MIN and shared >= _SAME_SHARE * max(len(word), len(other))


def _may_stand_for(word: str, other: str) -> bool:
    return not _GROUPS.get(word, frozenset()).isdisjoint(_GROUPS.get(other, frozenset()))


# -- reading ----------------------------------------------------------------------------------------------------------


def stem(word: str) -> str:
    """A word without what English hangs on to it, roughly."""
    word = _without_s(word.lower())
    for ending, instead, left in (("ies", "y", 2), ("sses", "ss", 2), ("ing", "", 3), ("ed", "", 3), ("s", "", 3)):
        if word.endswith(ending) and len(word) - len(ending) >= left and not word.endswith(("ss", "us", "is")):
            word = word.removesuffix(ending) + instead
            if ending in {"ing", "ed"} and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word  # noqa: PLR2004 - short words are left whole


def _without_s(word: str) -> str:
    return word.removesuffix("'s").removesuffix("s'").rstrip(".-'")


def _number(word: str) -> str | None:
    if word[0].isdigit():
        return word.rstrip("stndrh.").replace(",", "") + ("." if word.endswith(("st", "nd", "rd", "th")) else "")
    return known.NUMBERS.get(word)


def _is_english(text: str, words: list[str]) -> bool:
    if not text.isascii() and any(letter.isalpha() and ord(letter) > 0x24F for letter in text):  # noqa: PLR2004 - beyond Latin
        return False
    ours = sum(word in known.FUNCTION for word in words)
    others = sum(word in known.FOREIGN for word in words if word not in known.FUNCTION)
    return ours > others


def _names(text: str, found: list[re.Match[str]]) -> Iterable[str]:
    beginning = True
    for match in found:
        word = match.group()
        if word[0].isalpha():
            is_name = _looks_like_a_name(word, beginning=beginning) and word.lower() not in known.FUNCTION
            if is_name and word.lower() not in known.NUMBERS and word.lower() not in known.FILLER:
                yield _without_s(word).lower()
        after = text[match.end() : match.end() + 2].strip()
        beginning = after[:1] in {".", "?", "!", ":", '"', "“", "("}


def _looks_like_a_name(word: str, *, beginning: bool) -> bool:
    if not word[1:].islower():
        return len(word) > 1 and (any(map(str.isupper, word[1:])) or any(map(str.isdigit, word)))
    return word[0].isupper() and not beginning


def _negates(word: str) -> bool:
    return word in known.NEGATIONS or word.endswith("n't")


def _after_politeness(words: tuple[str, ...]) -> tuple[str, ...]:
    changed = True
    while changed:
        changed = False
        for phrase in known.POLITE:
            if words[: len(phrase)] == phrase and len(words) > len(phrase) + 1:
                words, changed = words[len(phrase) :], True
    return words


def _kind(asked: tuple[str, ...], words: tuple[str, ...]) -> str:
    """What is asked for: a reason, a time, a place, whether; empty where that cannot be told."""
    first = asked[0].removesuffix("'s") if asked else ""
    if first == "how":
        return known.AMOUNTS.get(asked[1] if len(asked) > 1 else "", "")
    if first in known.YES_NO:
        return "whether"
    if not known.REASON.isdisjoint(words):
        return "why"
    if first in {"what", "which"}:
        return "who" if asked[1:2] == ("person",) else _kind_of_thing(words)
    return known.ASKING.get(first, "")


def _kind_of_thing(words: tuple[str, ...]) -> str:
    if not known.MARKS_WHEN.isdisjoint(words):
        return "when"
    if not known.MARKS_WHERE.isdisjoint(words):
        return ""
    return "what"


def _roles(words: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    come, go = set(), set()
    for number, word in enumerate(words):
        following = next(
            (w for w in words[number + 1 : number + 4] if w not in known.LIGHT and w not in known.FILLER), ""
        )
        if word == "from" and following:
            come.add(stem(following))
        elif word in {"to", "into"} and following:
            go.add(stem(following))
            before = words[number - 1] if number else ""
            if before and before not in known.LIGHT and before not in known.FILLER:
                come.add(stem(before))
    return frozenset(come), frozenset(go)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(stem(name) for name in names))


def _poles() -> dict[str, list[tuple[int, int]]]:
    poles: dict[str, list[tuple[int, int]]] = {}
    for number, axis in enumerate(known.AXES):
        for place, pole in enumerate(axis):
            for word in pole:
                poles.setdefault(word, []).append((number, place))
    return poles


def _groups() -> dict[str, frozenset[int]]:
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(known.SAME):
        for word in group:
            groups.setdefault(stem(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in groups.items()}


_POLES = _poles()
_GROUPS = _groups()
