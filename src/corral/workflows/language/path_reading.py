"""Reads a JSONPath once, into steps that can be walked often. The dialect is that of the reference service (Jayway's)."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from corral.workflows.language import path_steps
from corral.workflows.language.kept import once
from corral.workflows.language.path_steps import Step, Test
from corral.workflows.language.text_reader import SPACE, TextReader

TEXT_MAX = 10_000
NESTED_MAX = 50

_ROOT = re.compile(r"\$\$|\$(?P<variable>[^\W\d]\w*)?")
_CALL = re.compile(r"\.(\w+)\(")
_NAME = re.compile(r"[^.\[\]()\s'\",?*]+")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_INTEGER = re.compile(r"-?\d{1,9}")
_SLICE = re.compile(r"(-?\d{1,9})?\s*:\s*(-?\d{1,9})?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_WORD = re.compile(r"[A-Za-z]+")
_COMPARE = re.compile(r"==|!=|<=|>=|=~|<|>|(?:nin|in|subsetof|anyof|noneof|contains|size|empty)\b")
_PATTERN = re.compile(r"/((?:[^/\\]|\\.)*)/([imsux]*)")


class PathInvalid(ValueError):
    """This is no JSONPath."""


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """A path that was read."""

    text: str
    root: str
    """`$`, `$$`, `@`, or a variable's name with its `$`."""
    keys: tuple[str | int, ...] | None
    """Of a path that names exactly one value by names and indexes alone; none: it has to be walked step by step."""
    steps: tuple[Step, ...] = ()
    definite: bool = True
    """It names one value: its result is that value, and not a list of all that was found."""
    function: Callable[[Any], Any] | None = None

    @property
    def is_reference(self) -> bool:
        """Whether a value can be put where it points."""
        return self.keys is not None and self.function is None


def _read(text: str) -> Path:
    if len(text) > TEXT_MAX:
        raise PathInvalid(f"A path has at most {TEXT_MAX} characters.")
    reader = _Reader(text)
    path = reader.path(_ROOT)
    if reader.at != len(text):
        raise PathInvalid(f"Unexpected character at {reader.at}: {text[reader.at :]!r}")
    return path


read_path = once(_read)
"""Read a path. Raises `PathInvalid`; the same text is read once."""


class _Reader(TextReader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nested = 0

    def _need(self, literal: str) -> None:
        if not self.token(literal):
            raise PathInvalid(f"{literal!r} is missing at {self.at}.")

    def path(self, root_form: re.Pattern[str]) -> Path:
        """A path, up to where it can go on no more."""
        begin = self.at
        root = self.take(root_form)
        if root is None:
            raise PathInvalid("A path begins with '$'.")
        keys: list[str | int] | None = []
        steps: list[Step] = []
        definite = True
        function: Callable[[Any], Any] | None = None
        while function is None:
            function = self._function()
            if function is not None:
                break
            part = self._part()
            if part is None:
                break
            key, step, one = part
            keys = [*keys, key] if keys is not None and key is not None else None
            definite = definite and one
            steps.append(step)
        return Path(
            text=self.text[begin : self.at],
            root=root.group(),
            keys=None if keys is None else tuple(keys),
            steps=tuple(steps),
            definite=definite,
            function=function,
        )

    def _function(self) -> Callable[[Any], Any] | None:
        found = self.take(_CALL)
        if found is None:
            return None
        function = path_steps.FUNCTIONS.get(found.group(1))
        if function is None:
            raise PathInvalid(f"There is no function {found.group(1)!r} at a path's end.")
        arguments: list[Any] = []
        while not self.token(")"):
            if arguments:
                self._need(",")
            self.take(SPACE)
            arguments.append(self._literal())
        return lambda value: function(value, *arguments)

    def _part(self) -> tuple[str | int | None, Step, bool] | None:
        """The key it is (none: it is no plain key), the step, and whether it finds one value."""
        if self.text.startswith("..", self.at):
            self.at += 2 if self.text.startswith("[", self.at + 2) else 1
            return None, path_steps.deep, False
        if self.text.startswith("[", self.at):
            self.at += 1
            return self._bracket()
        if self.text.startswith(".", self.at):
            self.at += 1
            if self.text.startswith("*", self.at):
                self.at += 1
                return None, path_steps.every, False
            if self.text.startswith("[", self.at):
                self.at += 1
                return self._bracket()
            name = self.take(_NAME)
            if name is None:
                raise PathInvalid(f"A name is missing at {self.at}.")
            return name.group(), path_steps.named((name.group(),)), True
        return None

    def _bracket(self) -> tuple[str | int | None, Step, bool]:
        self.take(SPACE)
        if self.token("*"):
            self._need("]")
            return None, path_steps.every, False
        if self.token("?"):
            self._need("(")
            test = self._either()
            self._need(")")
            self._need("]")
            return None, path_steps.filtered(test), False
        self.take(SPACE)
        span = self.take(_SLICE)
        if span is not None:
            self._need("]")
            start, stop = (int(part) if part else None for part in span.groups())
            return None, path_steps.sliced(start, stop), False
        return self._names() if self.text[self.at : self.at + 1] in {"'", '"'} else self._indexes()

    def _names(self) -> tuple[str | int | None, Step, bool]:
        names = [self._string()]
        while self.token(","):
            self.take(SPACE)
            names.append(self._string())
        self._need("]")
        if len(names) == 1:
            return names[0], path_steps.named((names[0],)), True
        if self.at == len(self.text):
            return None, path_steps.merged(tuple(names)), True
        return None, path_steps.named(tuple(names)), False

    def _indexes(self) -> tuple[str | int | None, Step, bool]:
        indexes = [self._index()]
        while self.token(","):
            self.take(SPACE)
            indexes.append(self._index())
        self._need("]")
        one = len(indexes) == 1
        return indexes[0] if one else None, path_steps.numbered(tuple(indexes)), one

    def _index(self) -> int:
        found = self.take(_INTEGER)
        if found is None:
            raise PathInvalid(f"A name in quotes, a number, '*' or a filter is missing at {self.at}.")
        return int(found.group())

    def _string(self) -> str:
        found = self.take(_QUOTED)
        if found is None:
            raise PathInvalid(f"Text in quotes is missing at {self.at}.")
        inner = found.group(1) if found.group(1) is not None else found.group(2)
        return re.sub(r"\\(.)", r"\1", inner)

    def _either(self) -> Test:
        self._nested += 1
        if self._nested > NESTED_MAX:
            raise PathInvalid(f"A filter is nested at most {NESTED_MAX} deep.")
        tests = [self._both()]
        while self.token("||"):
            tests.append(self._both())
        self._nested -= 1
        return tests[0] if len(tests) == 1 else lambda item, document: any(test(item, document) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self.token("&&"):
            tests.append(self._single())
        return tests[0] if len(tests) == 1 else lambda item, document: all(test(item, document) for test in tests)

    def _single(self) -> Test:
        self.take(SPACE)
        if self.text.startswith("!", self.at) and not self.text.startswith("!=", self.at):
            self.at += 1
            self._nested += 1
            if self._nested > NESTED_MAX:
                raise PathInvalid(f"A filter is nested at most {NESTED_MAX} deep.")
            inner = self._single()
            self._nested -= 1
            return lambda item, document: not inner(item, document)
        if self.token("("):
            inner = self._either()
            self._need(")")
            return inner
        left = self._operand()
        self.take(SPACE)
        sign = self.take(_COMPARE)
        if sign is None:
            return lambda item, document: left(item, document) is not MISSING
        self.take(SPACE)
        if sign.group() == "=~":
            return self._matches(left)
        right = self._operand()
        compare = COMPARISONS[sign.group()]
        return lambda item, document: compare(left(item, document), right(item, document))

    def _matches(self, left: Callable[[Any, Any], Any]) -> Test:
        from corral.workflows.language import regexes  # noqa: PLC0415 - few paths have patterns

        found = self.take(_PATTERN)
        if found is None:
            raise PathInvalid(f"A pattern such as /.*/i is missing at {self.at}.")
        try:
            pattern = regexes.compiled(
                found.group(1), ignore_case="i" in found.group(2), multiline="m" in found.group(2)
            )
        except regexes.PatternInvalid as invalid:
            raise PathInvalid(str(invalid)) from None

        def test(item: Any, document: Any) -> bool:
            value = left(item, document)
            return isinstance(value, str) and pattern.fullmatch(value) is not None

        return test

    def _operand(self) -> Callable[[Any, Any], Any]:
        self.take(SPACE)
        head = self.text[self.at : self.at + 1]
        if head in {"@", "$"}:
            path = self.path(re.compile(r"@|\$"))
            from_item = head == "@"
            return lambda item, document: found_by(path, item if from_item else document, document)
        value = self._literal()
        return lambda _item, _document: value

    def _literal(self) -> Any:
        head = self.text[self.at : self.at + 1]
        if head in {"'", '"'}:
            return self._string()
        if head in {"[", "{"}:
            try:
                value, self.at = json.JSONDecoder().raw_decode(self.text.replace("'", '"'), self.at)
            except (ValueError, RecursionError):
                raise PathInvalid(f"The list at {self.at} is not JSON.") from None
            return value
        number = self.take(_NUMBER)
        if number is not None:
            return json.loads(number.group())
        word = self.take(_WORD)
        if word is None or word.group() not in {"true", "false", "null"}:
            raise PathInvalid(f"A value is missing at {self.at}.")
        return {"true": True, "false": False, "null": None}[word.group()]


MISSING: Any = object()
"""What a filter's path finds where there is nothing."""


def found_by(path: Path, value: Any, document: Any) -> Any:
    """What a path finds from a value on; `MISSING` where it names one value that is not there."""
    found = [value]
    for step in path.steps:
        found = step(found, document)
    result = (found[0] if found else MISSING) if path.definite else found
    if path.function is None or result is MISSING:
        return result
    return path.function(result)


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 is 1.0, true is not 1, and what is missing equals nothing."""
    if left is MISSING or left != right:
        return False
    if isinstance(left, dict):
        return all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(left: Any, right: Any) -> bool:
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right))
        return (numbers or (isinstance(left, str) and isinstance(right, str))) and compare(left, right)

    return test


def _holds(many: Any, one: Any) -> bool:
    if isinstance(many, str):
        return isinstance(one, str) and one in many
    return isinstance(many, list) and any(same(item, one) for item in many)


def _lists(left: Any, right: Any) -> bool:
    return isinstance(left, list) and isinstance(right, list)


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda left, right: not same(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": lambda left, right: isinstance(right, list) and _holds(right, left),
    "nin": lambda left, right: not (isinstance(right, list) and _holds(right, left)),
    "contains": _holds,
    "subsetof": lambda left, right: _lists(left, right) and all(_holds(right, one) for one in left),
    "anyof": lambda left, right: _lists(left, right) and any(_holds(right, one) for one in left),
    "noneof": lambda left, right: _lists(left, right) and not any(_holds(right, one) for one in left),
    "size": lambda left, right: isinstance(left, list | str) and same(len(left), right),
    "empty": lambda left, right: isinstance(left, list | str) and (not left) is right,
}
"""The comparisons of filters. Different types are never in order, and equal only when they are the same."""
