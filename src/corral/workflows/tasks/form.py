"""Forms that people fill in: flat JSON schemas, checked when the question is asked, and what was filled in after that."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from corral.errors import ValidationFailed

_TEXT_MAX = 10_000
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}

Length = Annotated[int, Meta(ge=0, le=_TEXT_MAX)]


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One field. It has no `pattern`: who writes a definition could keep a worker busy with one."""

    type: Literal["string", "integer", "number", "boolean"]
    title: str = ""
    description: str = ""
    enum: Annotated[list[str | int | float | bool], Meta(min_length=1, max_length=200)] | None = None
    default: Any = UNSET
    minimum: float | None = None
    maximum: float | None = None
    min_length: Length = 0
    max_length: Length = _TEXT_MAX

    def fault(self, value: Any) -> str:
        """What is wrong with a value; empty: nothing is."""
        if type(value) not in _TYPES[self.type]:  # True is an int, but no number
            return f"Expected a value of type {self.type}."
        if self.enum is not None and value not in self.enum:
            return f"Expected one of {', '.join(map(str, self.enum))}."
        if isinstance(value, str):
            fits = self.min_length <= len(value) <= self.max_length
            return "" if fits else f"Expected {self.min_length} to {self.max_length} characters."
        if self.minimum is not None and value < self.minimum:
            return f"Expected {self.minimum:g} or more."
        if self.maximum is not None and value > self.maximum:
            return f"Expected {self.maximum:g} or less."
        return ""


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole form."""

    type: Literal["object"] = "object"
    title: str = ""
    description: str = ""
    properties: Annotated[dict[str, Field], Meta(max_length=50)] = {}
    required: list[str] = []

    def faults(self) -> list[str]:
        """What the fields alone do not say."""
        found = [
            f"the form requires {name!r}, which it does not have"
            for name in self.required
            if name not in self.properties
        ]
        for name, field in self.properties.items():
            if field.default is not UNSET and (fault := field.fault(field.default)):
                found.append(f"the `default` of the field {name!r} does not fit: {fault}")
        return found

    def filled_in(self, given: dict[str, Any]) -> dict[str, Any]:
        """What was filled in, with defaults. Raises `ValidationFailed` that lists every fault."""
        fields = self.properties
        filled = {name: field.default for name, field in fields.items() if field.default is not UNSET} | given
        faults: list[dict[str, object]] = [
            {"pointer": f"/{name}", "message": "The form has no such field."} for name in filled if name not in fields
        ]
        for name, field in fields.items():
            if name not in filled:
                if name in self.required:
                    faults.append({"pointer": f"/{name}", "message": "This field is required."})
            elif message := field.fault(filled[name]):
                faults.append({"pointer": f"/{name}", "message": message})
        if faults:
            raise ValidationFailed(errors=faults)
        return filled
