"""Checks of single values. Each says what it found in the words of Step Functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import msgspec

from corral.workflows.language.definition import Language
from corral.workflows.language.fault import SCHEMA, Findings, Place, nearest, type_of

TIMESTAMP = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)"
)


class Where(msgspec.Struct, kw_only=True):
    """Where a value stands, and what has to be known about that to judge it."""

    findings: Findings
    place: Place
    language: Language = "JSONPath"
    kind: str = "STANDARD"
    catching: bool = False
    """In a Catch: there is `$states.errorOutput`."""
    mocked: bool = False
    """Somebody answers for the tasks: a resource only has to exist somewhere."""

    def at(self, step: str | int) -> Where:
        """A step further."""
        return msgspec.structs.replace(self, place=self.place / step)

    def fault(self, message: str, *, hint: str = "", code: str = SCHEMA, field: str | None = None) -> None:
        """Something is wrong here, or with a field of this object."""
        self.findings.add(self.place, message, hint=hint, code=code, field=field)

    def warn(self, code: str, message: str, *, hint: str = "") -> None:
        """Something here is probably not what was meant."""
        self.findings.add(self.place, message, hint=hint, code=code, severity="WARNING")


Check: TypeAlias = Callable[[Any, Where], None]


def is_number(value: Any) -> bool:
    """A number of JSON: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """A number without a fraction."""
    return is_number(value) and (isinstance(value, int) or value.is_integer())


def _typed(name: str, fits: Callable[[Any], bool]) -> Check:
    def check(value: Any, where: Where) -> None:
        if not fits(value):
            where.fault(f"Expected value of type [{name}]", hint=f"This is {an(type_of(value))}.")

    return check


def an(word: str) -> str:
    """A word with its article."""
    return word if word == "null" else f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


text = _typed("STRING", lambda value: isinstance(value, str))
boolean = _typed("BOOLEAN", lambda value: isinstance(value, bool))
number = _typed("NUMBER", is_number)
thing = _typed("OBJECT", lambda value: isinstance(value, dict))
array = _typed("ARRAY", lambda value: isinstance(value, list))


def anything(_value: Any, _where: Where) -> None:
    """Any JSON."""


def filled(check: Check) -> Check:
    """What `check` says, and then it must not be empty."""

    def checked(value: Any, where: Where) -> None:
        check(value, where)
        if value in ("", [], {}):
            where.fault("Value cannot be empty")

    return checked


def one_of(*words: str) -> Check:
    """One of these words, in this spelling."""

    def check(value: Any, where: Where) -> None:
        text(value, where)
        if isinstance(value, str) and value not in words:
            where.fault(f"Value should be one of the following: [{', '.join(words)}]", hint=nearest(value, words))

    return check


def moment(value: Any, where: Where) -> None:
    """A point in time with its zone."""
    text(value, where)
    if isinstance(value, str) and TIMESTAMP.fullmatch(value) is None:
        where.fault("String does not match RFC3339 timestamp", hint="Write it like 2030-01-31T12:00:00Z.")


def only_fields(value: dict[str, Any], allowed: Collection[str], where: Where) -> None:
    """Nothing stands here that has no place here."""
    for name in value:
        if name not in allowed:
            where.fault(f"Field '{name}' is not supported", hint=nearest(name, allowed), field=name)


def required(value: dict[str, Any], names: Collection[str], where: Where) -> None:
    """All of these are there."""
    missing = [name for name in names if name not in value]
    if missing:
        where.fault(f"These fields are required: [{', '.join(missing)}]")


def exactly_one(value: dict[str, Any], names: Collection[str], where: Where) -> None:
    """One of these is there, and no second one."""
    there = [name for name in names if name in value]
    if not there:
        where.fault(
            f"This object should have only one of the following fields: [{', '.join(names)}]",
            hint="There is none of them.",
        )
    elif len(there) > 1:
        where.fault(
            f"There should only be one of the following fields: [{', '.join(names)}]", hint=f"There are {_all(there)}."
        )


def at_most_one(value: dict[str, Any], names: Collection[str], where: Where) -> None:
    """Not two of these."""
    there = [name for name in names if name in value]
    if len(there) > 1:
        where.fault(
            f"There should only be one of the following fields: [{', '.join(names)}]", hint=f"There are {_all(there)}."
        )


def _all(names: Collection[str]) -> str:
    return " and ".join(repr(name) for name in names)
