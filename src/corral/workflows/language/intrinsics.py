"""The functions of payload templates: `States.Format('{} of {}', $.name, $.place)`.

A call is read once and kept by its text. What a function makes of its arguments is bounded, as are the arguments: text built
of text that was built before ends with `States.IntrinsicFailure` long before it fills the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from corral.workflows.failing import INTRINSIC, RUNTIME, StateFailed
from corral.workflows.language import paths
from corral.workflows.language.intrinsic_functions import FUNCTIONS, IntrinsicRefused, Template
from corral.workflows.language.kept import once
from corral.workflows.language.path_reading import PathInvalid, read_path
from corral.workflows.language.scope import Scope
from corral.workflows.language.text_reader import SPACE, TextReader

TEXT_MAX = 10_000
NESTED_MAX = 10
ARGUMENTS_MAX = 1_000

_NAME = re.compile(r"States\.(\w+)\(")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?=\s*[,)])")
_WORD = re.compile(r"(?:true|false|null)(?=\s*[,)])")
_LITERAL = re.compile(r"'((?:[^'\\]|\\['{}\\])*)'", re.DOTALL)

Argument: TypeAlias = Callable[[Scope], Any]


class CallInvalid(ValueError):
    """This is no call of an intrinsic function."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was read."""

    text: str
    name: str
    arguments: tuple[Argument, ...]


def is_call(text: str) -> bool:
    """Whether this is to be read as a call, rather than as a path."""
    return text.startswith("States.")


def fault_of(text: str) -> str | None:
    """What is wrong with a call; none: it can be made."""
    try:
        read_call(text)
    except CallInvalid as invalid:
        return str(invalid)
    return None


def call(text: str, scope: Scope) -> Any:
    """What a call gives. Raises `StateFailed`: `States.IntrinsicFailure` where the function refuses its arguments."""
    try:
        read = read_call(text)
    except CallInvalid as invalid:
        raise StateFailed(
            INTRINSIC, f"The function '{text}' had the following error: {invalid}", prefixed=True
        ) from None
    try:
        return _made(read, scope)
    except IntrinsicRefused as refused:
        cause = f"The function '{refused.call or text}' had the following error: {refused}"
        raise StateFailed(INTRINSIC, cause, prefixed=True) from None
    except RecursionError:
        cause = f"The function '{text}' had the following error: The value is nested too deep"
        raise StateFailed(INTRINSIC, cause, prefixed=True) from None


def _made(read: Call, scope: Scope) -> Any:
    given = [argument(scope) for argument in read.arguments]
    function, least, most = FUNCTIONS[read.name]
    if not least <= len(given) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise IntrinsicRefused(f"Expected {expected} arguments, but got {len(given)}", read.text)
    try:
        if read.name in {"MathRandom", "UUID"}:
            return function(*given, chance=scope.chance)
        return function(*given)
    except IntrinsicRefused as refused:
        refused.call = refused.call or read.text
        raise


def _read(text: str) -> Call:
    if len(text) > TEXT_MAX:
        raise CallInvalid(f"A call has at most {TEXT_MAX} characters.")
    reader = _Reader(text)
    read = reader.call(1)
    if reader.at != len(text):
        raise CallInvalid(f"Unexpected text at {reader.at}: {text[reader.at :]!r}")
    return read


read_call = once(_read)
"""Read a call. Raises `CallInvalid`; the same text is read once."""


class _Reader(TextReader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._arguments = 0

    def call(self, depth: int) -> Call:
        if depth > NESTED_MAX:
            raise CallInvalid(f"Calls are nested at most {NESTED_MAX} deep.")
        begin = self.at
        name = self.take(_NAME)
        if name is None or name.group(1) not in FUNCTIONS:
            raise CallInvalid("It is not one of the intrinsic functions, such as States.Format('{}', $.name).")
        arguments: list[Argument] = []
        while not self.token(")"):
            if arguments and not self.token(","):
                raise CallInvalid(f"A ',' or ')' is missing at {self.at}.")
            self.take(SPACE)
            arguments.append(self._argument(depth))
            self._arguments += 1
            if self._arguments > ARGUMENTS_MAX:
                raise CallInvalid(f"A call has at most {ARGUMENTS_MAX} arguments.")
        return Call(text=self.text[begin : self.at], name=name.group(1), arguments=tuple(arguments))

    def _argument(self, depth: int) -> Argument:
        if self.text.startswith("States.", self.at):
            inner = self.call(depth + 1)
            return lambda scope: _made(inner, scope)
        head = self.text[self.at : self.at + 1]
        if head == "$":
            return self._path()
        if head == "'":
            return self._literal()
        number = self.take(_NUMBER)
        if number is not None:
            value = msgspec.json.decode(number.group())
            return lambda _scope: value
        word = self.take(_WORD)
        if word is None:
            raise CallInvalid(
                f"A value is missing at {self.at}: a path, text in single quotes, a number, true, false or null."
            )
        constant = {"true": True, "false": False, "null": None}[word.group()]
        return lambda _scope: constant

    def _literal(self) -> Argument:
        found = self.take(_LITERAL)
        if found is None:
            raise CallInvalid(
                f"The text at {self.at} does not end, or has an escape other than \\', \\{{, \\}} and \\\\."
            )
        literal = Template.of(found.group(1))
        return lambda _scope: literal

    def _path(self) -> Argument:
        end = _end_of_path(self.text, self.at)
        text = self.text[self.at : end].rstrip()
        try:
            read_path(text)
        except PathInvalid as invalid:
            raise CallInvalid(f"{text!r} is no path: {invalid}") from None
        self.at = end
        return lambda scope: _found(text, scope)


def _end_of_path(text: str, begin: int) -> int:
    """Where a path ends that is an argument: before a comma or bracket that is not its own."""
    depth, quote, at = 0, "", begin
    while at < len(text):
        one = text[at]
        if quote:
            if one == "\\":
                at += 1
            elif one == quote:
                quote = ""
        elif one in "'\"" and depth:
            quote = one
        elif one in "[(":
            depth += 1
        elif one in "])" and depth:
            depth -= 1
        elif one in ",)" and not depth:
            break
        at += 1
    return min(at, len(text))


def _found(path: str, scope: Scope) -> Any:
    try:
        return paths.look(path, scope)
    except paths.PathMissing:
        where = paths.as_text(scope.input)
        cause = f"The JSONPath argument for the field '{path}' could not be found in the input '{where}'"
        raise StateFailed(RUNTIME, cause, prefixed=True) from None
