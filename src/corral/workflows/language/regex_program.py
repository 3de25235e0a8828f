"""A regular expression as a program of small steps, which can be counted; and how much the standard engine may have to do for it.

The standard library reads the pattern; what it read is a tree. The program is run with a stack of its own: text of any length
needs no recursion, and a step that leads nowhere goes back to the last choice.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from itertools import zip_longest
from re import _constants as sre  # type: ignore[attr-defined]  # what the parser names its nodes
from re import _parser as sre_parser  # type: ignore[attr-defined]  # the only reader of the dialect
from typing import Any, TypeAlias

PROGRAM_MAX = 4_000
"""Steps of one program: counted repetitions are written out."""

Taker: TypeAlias = Callable[[str], bool]


class PatternInvalid(ValueError):
    """This is no regular expression that can be matched here."""


def tree_of(text: str, flags: int) -> Any:
    """What the standard library reads of a pattern. Raises `re.error`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return sre_parser.parse(text, flags)


def growth_of(tree: Any) -> tuple[int, int]:
    """How the standard engine's cost may grow: with which power of the text's length for one place, and with which factor.

    A power below zero: beyond any measure, as with repetitions in repetitions.
    """
    return _growth(tree, tail=True)


def _growth(tree: Any, *, tail: bool) -> tuple[int, int]:
    degree, factor = 0, 1
    items = list(tree)
    for number, (kind, value) in enumerate(items):
        last = tail and number == len(items) - 1
        more, times = _growth_of_one(kind, value, last=last)
        if more < 0:
            return -1, 1
        degree, factor = degree + more, min(factor * times, 10**9)
    return degree, factor


def _growth_of_one(  # noqa: PLR0911 - one return for each kind of node
    kind: Any, value: Any, *, last: bool
) -> tuple[int, int]:
    if kind in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
        least, most, inner = value
        if _growth(inner, tail=False) != (0, 1):
            return -1, 1
        if least == most or (last and kind is sre.MAX_REPEAT):
            return 0, 1
        return (1, 1) if most is sre.MAXREPEAT else (0, most - least + 1)
    if kind is sre.SUBPATTERN:
        return _growth(value[3], tail=last)
    if kind is sre.BRANCH:
        growths = [_growth(one, tail=last) for one in value[1]]
        if min(growths)[0] < 0:
            return -1, 1
        return max(degree for degree, _ in growths), min(sum(factor for _, factor in growths), 10**9)
    if kind in {sre.ASSERT, sre.ASSERT_NOT}:
        return _growth(value[1], tail=False)
    if kind in {sre.GROUPREF, sre.GROUPREF_EXISTS, sre.ATOMIC_GROUP}:
        return -1, 1
    return 0, 1


TAKE, SPLIT, JUMP, SAVE, AT, LOOK, BACK, MARK, MOVED, DONE = range(10)
"""Take a character · try here, then there · go on there · note a place · be at an edge · look around · what a group matched ·
note where a repetition begins · has it moved since · matched."""


class Program:
    """A pattern, ready to be run."""

    def __init__(self, code: list[tuple[int, Any, Any]], *, slots: int, groups: int) -> None:
        """`slots`: how many places are noted; `groups`: how many of them, from the first, are told."""
        self._code = code
        self._slots = slots
        self.groups = groups
        self._first = _firsts(code)

    def next_start(self, text: str, at: int) -> int:
        """The next place from here where a match may begin; beyond the text where there is none."""
        if self._first is None:
            return at
        for place in range(at, len(text)):
            one = text[place]
            for takes in self._first:
                if takes(one):
                    return place
        return len(text) + 1

    def match(  # noqa: C901, PLR0912 - one loop over all kinds of steps is what makes it quick
        self, text: str, at: int, steps: int, *, full: bool = False
    ) -> tuple[tuple[int, ...] | None, int]:
        """The match that begins here, as the places noted, and the steps that are left: none are when it took too long."""
        places: list[int] = [-1] * self._slots
        places[0] = at
        choices: list[tuple[int, int, list[int]]] = [(0, at, places)]
        while choices:
            pc, at, places = choices.pop()
            while steps > 0:
                steps -= 1
                kind, this, that = self._code[pc]
                pc += 1
                if kind == TAKE:
                    if at >= len(text) or not this(text[at]):
                        break
                    at += 1
                elif kind == SPLIT:
                    choices.append((that, at, places))
                    pc = this
                elif kind == JUMP:
                    pc = this
                elif kind in {SAVE, MARK}:
                    places = [*places]
                    places[this] = at
                elif kind == DONE:
                    if full and at != len(text):
                        break
                    places = [*places]
                    places[1] = at
                    return tuple(places[: self.groups]), steps
                elif kind == LOOK:
                    seen, steps = _looked(this, text, at, steps)
                    if seen is None:
                        break
                    places = [mine if its < 0 else its for mine, its in zip_longest(places, seen, fillvalue=-1)]
                else:
                    at, steps = _other(kind, this, that, (text, at, places, steps))
                    if at < 0:
                        break
            if steps <= 0:
                return None, 0
        return None, steps


def _firsts(code: list[tuple[int, Any, Any]]) -> list[Taker] | None:
    """What may take a match's first character; none: it may begin anywhere."""
    takers: list[Taker] = []
    waiting, seen = [0], {0}
    while waiting:
        pc = waiting.pop()
        kind, this, that = code[pc]
        if kind == TAKE:
            takers.append(this)
            continue
        if kind in {DONE, LOOK, BACK, MOVED}:
            return None
        following = {SPLIT: [this, that], JUMP: [this]}.get(kind, [pc + 1])
        waiting += [one for one in following if one not in seen]
        seen.update(following)
    return takers


def _other(kind: int, this: Any, that: Any, here: tuple[str, int, list[int], int]) -> tuple[int, int]:
    """The rarer steps: where to go on (below zero: nowhere), and the steps left."""
    text, at, places, steps = here
    if kind == AT:
        return (at if this(text, at) else -1), steps
    if kind == MOVED:
        return (at if places[this] != at else -1), steps
    begin, end = places[2 * this], places[2 * this + 1]
    if begin < 0 or end < 0:
        return -1, steps
    matched = text[begin:end]
    return (at + len(matched) if that(text[at : at + len(matched)], matched) else -1), steps - len(matched)


def _looked(look: tuple[Program, int, bool], text: str, at: int, steps: int) -> tuple[tuple[int, ...] | None, int]:
    """What stands before or behind: the places it noted, or none where that is not as it is wanted; and the steps left."""
    inner, width, wanted = look
    found: tuple[int, ...] | None = None
    if at >= width:
        found, steps = inner.match(text[:at] if width else text, at - width, steps, full=bool(width))
    if not wanted:
        return (() if found is None else None), steps
    return (None if found is None else (-1, -1, *found[2:])), steps


def program_of(tree: Any) -> Program:
    """Write a program. Raises `PatternInvalid` where it would be too long, or the pattern has something that is not run here."""
    return _Writer(tree.state.flags, groups=2 * tree.state.groups).program(tree)


class _Writer:
    """Writes one program."""

    def __init__(self, flags: int, *, groups: int) -> None:
        self._flags = flags
        self._ignore_case = bool(flags & re.IGNORECASE)
        self._code: list[tuple[int, Any, Any]] = []
        self._groups = groups
        self._slots = groups

    def program(self, tree: Any) -> Program:
        self._all(tree)
        self._add(DONE)
        return Program(self._code, slots=self._slots, groups=self._groups)

    def _add(self, kind: int, this: Any = None, that: Any = None) -> int:
        if len(self._code) >= PROGRAM_MAX:
            raise PatternInvalid("A regular expression repeats too much: write it with smaller counts.")
        self._code.append((kind, this, that))
        return len(self._code) - 1

    def _all(self, tree: Any) -> None:
        for kind, value in tree:
            self._one(kind, value)

    def _one(self, kind: Any, value: Any) -> None:
        if kind in {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}:
            self._add(TAKE, self._taker(kind, value))
        elif kind in {sre.MAX_REPEAT, sre.MIN_REPEAT}:
            self._repeat(value, greedy=kind is sre.MAX_REPEAT)
        elif kind is sre.SUBPATTERN:
            self._group(value)
        elif kind is sre.BRANCH:
            self._branch(value[1])
        elif kind is sre.AT:
            self._add(AT, _edge(value, multiline=bool(self._flags & re.MULTILINE)))
        elif kind in {sre.ASSERT, sre.ASSERT_NOT}:
            self._look(value, wanted=kind is sre.ASSERT)
        elif kind is sre.GROUPREF:
            folded = self._ignore_case
            self._add(BACK, value, lambda one, other: one.casefold() == other.casefold() if folded else one == other)
        else:
            raise PatternInvalid(f"This part of a regular expression is not supported: {str(kind).lower()}")

    def _group(self, value: Any) -> None:
        number, added, removed, inner = value
        if added or removed:
            raise PatternInvalid("A regular expression's flags are given for the whole of it.")
        if number is None:
            self._all(inner)
            return
        self._add(SAVE, 2 * number)
        self._all(inner)
        self._add(SAVE, 2 * number + 1)

    def _branch(self, branches: list[Any]) -> None:
        ends = []
        for number, branch in enumerate(branches):
            split = self._add(SPLIT) if number < len(branches) - 1 else -1
            begin = len(self._code)
            self._all(branch)
            if split >= 0:
                ends.append(self._add(JUMP))
                self._code[split] = (SPLIT, begin, len(self._code))
        for end in ends:
            self._code[end] = (JUMP, len(self._code), None)

    def _repeat(self, value: tuple[int, int, Any], *, greedy: bool) -> None:
        least, most, inner = value
        for _time in range(least):
            self._all(inner)
        if most is sre.MAXREPEAT:
            self._endless(inner, greedy=greedy)
            return
        splits = []
        for _time in range(most - least):
            splits.append(self._add(SPLIT))
            self._all(inner)
        for split in splits:
            self._code[split] = _choice(split + 1, len(self._code), greedy=greedy)

    def _endless(self, inner: Any, *, greedy: bool) -> None:
        mark = self._slots
        self._slots += 1
        begin = self._add(SPLIT)
        self._add(MARK, mark)
        self._all(inner)
        self._add(MOVED, mark)
        self._add(JUMP, begin)
        self._code[begin] = _choice(begin + 1, len(self._code), greedy=greedy)

    def _look(self, value: tuple[int, Any], *, wanted: bool) -> None:
        direction, inner = value
        width = 0
        if direction < 0:
            least, most = inner.getwidth()
            if least != most:
                raise PatternInvalid("Looking back needs a fixed width.")
            width = least
        writer = _Writer(self._flags, groups=self._groups)
        self._add(LOOK, (writer.program(inner), width, wanted))

    def _taker(self, kind: Any, value: Any) -> Taker:
        if kind is sre.ANY:
            return (lambda _one: True) if self._flags & re.DOTALL else (lambda one: one != "\n")
        if not self._ignore_case:
            return _taker_of(kind, value)
        negated = kind is sre.NOT_LITERAL or (kind is sre.IN and value[0][0] is sre.NEGATE)
        if negated:
            plain = _taker_of(sre.LITERAL, value) if kind is sre.NOT_LITERAL else _taker_of(sre.IN, value[1:])
        else:
            plain = _taker_of(kind, value)
        return lambda one: (plain(one) or plain(one.lower()) or plain(one.upper())) is not negated


def _choice(inside: int, after: int, *, greedy: bool) -> tuple[int, Any, Any]:
    return (SPLIT, inside, after) if greedy else (SPLIT, after, inside)


def _taker_of(kind: Any, value: Any) -> Taker:
    if kind is sre.LITERAL:
        letter = chr(value)
        return lambda one: one == letter
    if kind is sre.NOT_LITERAL:
        letter = chr(value)
        return lambda one: one != letter
    negated = bool(value) and value[0][0] is sre.NEGATE
    members = [_member(*one) for one in value[negated:]]
    return lambda one: any(member(one) for member in members) is not negated


def _member(kind: Any, value: Any) -> Taker:
    if kind is sre.RANGE:
        first, last = map(chr, value)
        return lambda one: first <= one <= last
    if kind is sre.CATEGORY:
        return _CATEGORIES[value]
    return _taker_of(kind, value)


def _is_word(one: str) -> bool:
    return one.isalnum() or one == "_"


_CATEGORIES: dict[Any, Taker] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda one: not one.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda one: not one.isspace(),
    sre.CATEGORY_WORD: _is_word,
    sre.CATEGORY_NOT_WORD: lambda one: not _is_word(one),
}


def _at_word_edge(text: str, at: int) -> bool:
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return before is not after


def _edge(kind: Any, *, multiline: bool) -> Callable[[str, int], bool]:
    if kind is sre.AT_BEGINNING and multiline:
        return lambda text, at: at == 0 or text[at - 1] == "\n"
    if kind is sre.AT_END and multiline:
        return lambda text, at: at == len(text) or text[at] == "\n"
    return {
        sre.AT_BEGINNING: lambda _text, at: at == 0,
        sre.AT_BEGINNING_STRING: lambda _text, at: at == 0,
        sre.AT_END: lambda text, at: at == len(text) or (at == len(text) - 1 and text[at] == "\n"),
        sre.AT_END_STRING: lambda text, at: at == len(text),
        sre.AT_BOUNDARY: _at_word_edge,
        sre.AT_NON_BOUNDARY: lambda text, at: not _at_word_edge(text, at),
    }[kind]
