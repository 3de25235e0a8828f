"""What is wrong with a definition, and where: once as Step Functions writes the place, once as a JSON pointer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from corral.errors import ValidationFailed

Severity = Literal["ERROR", "WARNING"]

SCHEMA = "SCHEMA_VALIDATION_FAILED"
NO_JSON = "INVALID_JSON_DESCRIPTION"
NO_TARGET = "MISSING_TRANSITION_TARGET"
NO_END = "MISSING_END_STATE"
NESTED = "TOO_DEEPLY_NESTED"
STATE_NAME = "INVALID_STATE_NAME"
SAME_STATE = "DUPLICATE_STATE_NAME"
LABEL = "INVALID_LABEL_NAME"
SAME_LABEL = "DUPLICATE_LABEL_NAME"
VARIABLE_NAME = "INVALID_VARIABLE_NAME"
RESERVED_NAME = "RESERVED_VARIABLE_NAME"
JSONATA = "INVALID_JSONATA_EXPRESSION"
JSONATA_UNKNOWN = "UNSUPPORTED_JSONATA_EXPRESSION"

EXPRESSIONS_MAX = 262_144
"""Characters of JSONata in one definition: reading them takes some hundred times as long as reading JSON."""
FAULTS_MAX = 500
"""More than anybody reads: whoever sends a definition that is wrong everywhere gets an answer soon."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a definition."""

    severity: Severity = "ERROR"
    code: str = SCHEMA
    message: str
    location: str | None = None
    """As Step Functions writes it: `/States/Route/Choices[0]/Next`; none: it concerns no place."""
    pointer: str = ""
    """The same as a JSON pointer (RFC 6901): `/States/Route/Choices/0/Next`; empty: the whole document."""
    hint: str = ""
    """What to do about it."""

    @property
    def text(self) -> str:
        """What is wrong and what to do about it, for people."""
        said = f"{self.message.strip().rstrip('.')}."
        return f"{said} {self.hint}" if self.hint else said

    def __str__(self) -> str:
        """The same, with its place before it."""
        return f"{self.location}: {self.text}" if self.location else self.text


class DefinitionInvalid(ValidationFailed):
    """This is no definition of a state machine."""

    code = "invalid_definition"

    def __init__(self, faults: list[Fault]) -> None:
        """With everything that is wrong, warnings as well."""
        self.faults = faults
        super().__init__(
            f"The definition is invalid. {said(faults)}",
            errors=[
                {"pointer": fault.pointer, "message": fault.text, "code": fault.code, "severity": fault.severity}
                for fault in faults
            ],
        )


def errors_of(faults: Iterable[Fault]) -> list[Fault]:
    """Those that keep a definition from being used."""
    return [fault for fault in faults if fault.severity == "ERROR"]


def said(faults: Iterable[Fault]) -> str:
    """All errors in one line, as Step Functions puts them: `CODE: message at /place, CODE: …`."""
    return ", ".join(f"{fault.code}: {fault.message} at {fault.location or 'null'}" for fault in errors_of(faults))


def nearest(wrong: object, right: Iterable[str]) -> str:
    """A hint with the name that was probably meant; empty: none is near."""
    text = str(wrong)
    known = list(right)
    folded = {name.lower(): name for name in known}
    near = [folded[text.lower()]] if text.lower() in folded else difflib.get_close_matches(text, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


class Place:
    """Somewhere in a document. `place / "States" / "Route" / "Choices" / 0` is a step further each."""

    __slots__ = ("above", "step")

    def __init__(self, above: Place | None = None, step: str | int = "") -> None:
        """The whole document, or a step below another place."""
        self.above = above
        self.step = step

    def __truediv__(self, step: str | int) -> Place:
        """The place of a member or of an element."""
        return Place(self, step)

    @property
    def steps(self) -> list[str | int]:
        """From the document down."""
        steps: list[str | int] = []
        place = self
        while place.above is not None:
            steps.append(place.step)
            place = place.above
        return steps[::-1]

    @property
    def location(self) -> str:
        """As Step Functions writes it."""
        return "".join(f"[{step}]" if isinstance(step, int) else f"/{step}" for step in self.steps) or "/"

    @property
    def pointer(self) -> str:
        """As a JSON pointer."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)


class EnoughFaults(Exception):
    """So much is wrong that looking for more helps nobody."""


class Findings:
    """What was found so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.faults: list[Fault] = []
        self._letters = 0

    def count(self, letters: int) -> None:
        """So much of an expression is going to be read. Raises `EnoughFaults`."""
        self._letters += letters
        if self._letters > EXPRESSIONS_MAX:
            message = f"All expressions of a definition have at most {EXPRESSIONS_MAX} characters"
            self.add(None, message, hint="Move some of what is computed to functions, or to another workflow.")
            raise EnoughFaults

    def add(
        self,
        place: Place | None,
        message: str,
        *,
        code: str = SCHEMA,
        hint: str = "",
        field: str | None = None,
        severity: Severity = "ERROR",
    ) -> None:
        """One more. Raises `EnoughFaults`.

        `field`: the pointer goes a step further than the place that Step Functions names.
        """
        if len(self.faults) >= FAULTS_MAX:
            raise EnoughFaults
        self.faults.append(
            Fault(
                severity=severity,
                code=code,
                message=message,
                location=None if place is None else place.location,
                pointer="" if place is None else (place if field is None else place / field).pointer,
                hint=hint,
            )
        )


def type_of(value: Any) -> str:
    """What a value of JSON is, in one word."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
