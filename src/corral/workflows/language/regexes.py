"""Patterns of text that others wrote, matched in bounded time.

The standard engine is used where a pattern's shape and the text's length promise that it ends soon. Everything else is matched
step by step by a small machine that counts its steps and gives up: no pattern, and no text, can hold a worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from corral.workflows.language import regex_program
from corral.workflows.language.regex_program import PatternInvalid, Program

__all__ = ["Match", "Pattern", "PatternInvalid", "TooMuch", "compiled"]

TEXT_MAX = 2_000
"""Characters of one pattern."""
STEPS_MAX = 250_000
"""Steps over one text, before it is given up."""
LINEAR = (0, 1)
"""The growth of a pattern that goes over a text once."""
CHARACTERS_A_STEP = 4
"""Characters that are looked at in the time of one step, where a match cannot begin."""
CHEAP = 2_000_000
"""What the standard engine may cost at most, in steps that it might take: a few hundredths of a second."""


class TooMuch(Exception):
    """Matching would take too long."""

    def __init__(self) -> None:
        super().__init__("A regular expression takes too long on this text: write it with fewer repetitions.")


class Match:
    """One place where a pattern matches: the part of the standard library's match that is wanted."""

    def __init__(self, text: str, spans: tuple[int, ...]) -> None:
        """`spans`: begin and end of the whole and of every group; -1: the group matched nothing."""
        self._text = text
        self._spans = spans

    def group(self, number: int = 0) -> str | None:
        """What a group matched; 0 is the whole."""
        begin, end = self._spans[2 * number], self._spans[2 * number + 1]
        return self._text[begin:end] if begin >= 0 and end >= 0 else None

    def groups(self) -> tuple[str | None, ...]:
        """What every group matched."""
        return tuple(self.group(number) for number in range(1, len(self._spans) // 2))

    def start(self) -> int:
        """Where it begins."""
        return self._spans[0]

    def end(self) -> int:
        """Where it ends."""
        return self._spans[1]


class Pattern:
    """A pattern that was read once. Its methods raise `TooMuch` instead of taking long."""

    def __init__(self, standard: re.Pattern[str], *, degree: int, factor: int) -> None:
        """`degree` and `factor`: how the standard engine's cost may grow with the text's length; a degree below zero: without measure."""
        self._standard = standard
        self._degree = degree
        self._factor = factor

    def search(self, text: str) -> Match | None:
        """The first match."""
        return next(self.finditer(text), None)

    def fullmatch(self, text: str) -> Match | None:
        """Whether the whole text matches."""
        if self._is_cheap(text):
            found = self._standard.fullmatch(text)
            return _of(found, text) if found is not None else None
        spans, _left = _run(self._program(), text, 0, STEPS_MAX, full=True)
        return None if spans is None else Match(text, spans)

    def finditer(self, text: str) -> Iterator[Match]:
        """Every match, from left to right."""
        if self._is_cheap(text):
            for found in self._standard.finditer(text):
                yield _of(found, text)
            return
        program, at, left = self._program(), 0, STEPS_MAX
        while at <= len(text):
            start = program.next_start(text, at)
            at, left = start, left - (start - at) // CHARACTERS_A_STEP
            if at > len(text):
                return
            spans, left = _run(program, text, at, left)
            if spans is None:
                at += 1
                continue
            yield Match(text, spans)
            at = spans[1] if spans[1] > spans[0] else spans[1] + 1

    def sub(self, replacement: Callable[[Match], str], text: str, count: int = 0) -> str:
        """The text with every match (or the first `count`) replaced."""
        made, at = [], 0
        for number, match in enumerate(self.finditer(text)):
            if count and number >= count:
                break
            made += [text[at : match.start()], replacement(match)]
            at = match.end()
        return "".join([*made, text[at:]])

    def split(self, text: str, maxsplit: int = 0) -> list[str]:
        """What stands between the matches."""
        made, at = [], 0
        for number, match in enumerate(self.finditer(text)):
            if maxsplit and number >= maxsplit:
                break
            made.append(text[at : match.start()])
            at = match.end()
        return [*made, text[at:]]

    def _is_cheap(self, text: str) -> bool:
        if (self._degree, self._factor) == LINEAR:
            return True
        return self._degree >= 0 and self._factor * max(1, len(text)) ** (self._degree + 1) <= CHEAP

    def _program(self) -> Program:
        return _program_of(self._standard.pattern, self._standard.flags & (re.IGNORECASE | re.MULTILINE))


@lru_cache(maxsize=32)
def _program_of(text: str, flags: int) -> Program:
    """Programs are much larger than patterns: few are kept."""
    return regex_program.program_of(regex_program.tree_of(text, flags))


def _run(program: Program, text: str, at: int, steps: int, *, full: bool = False) -> tuple[tuple[int, ...] | None, int]:
    if steps <= 0:
        raise TooMuch
    spans, left = program.match(text, at, steps, full=full)
    if left <= 0:
        raise TooMuch
    return spans, left - 1


def _of(found: re.Match[str], text: str) -> Match:
    return Match(text, tuple(edge for number in range(len(found.groups()) + 1) for edge in found.span(number)))


@lru_cache(maxsize=512)
def compiled(text: str, *, ignore_case: bool = False, multiline: bool = False) -> Pattern:
    """Read a pattern. Raises `PatternInvalid`; the same text is read once."""
    if len(text) > TEXT_MAX:
        raise PatternInvalid(f"A regular expression has at most {TEXT_MAX} characters.")
    flags = (re.IGNORECASE if ignore_case else 0) | (re.MULTILINE if multiline else 0)
    written = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", text)
    try:
        degree, factor = regex_program.growth_of(regex_program.tree_of(written, flags))
        if (degree, factor) != LINEAR:
            _program_of(written, flags)  # where it cannot be run here, that is said now
        return Pattern(re.compile(written, flags), degree=degree, factor=factor)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternInvalid(f"This is no regular expression: {error}") from None
