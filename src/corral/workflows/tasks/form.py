"""Forms that people fill in: flat JSON schemas, checked when the question is asked, and what was filled in after that."""

from __future__ import annotations

from typing import Any

from corral.errors import ValidationFailed

FIELDS_MAX = 50
_TEXT_MAX = 10_000
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_WORDS = frozenset({"type", "title", "description", "enum", "default", "minimum", "maximum", "minLength", "maxLength"})
"""No `pattern`: who writes a definition could keep a worker busy with one."""


def form_faults(schema: Any) -> list[str]:
    """What makes a schema unfit for a form."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return ['a form is a JSON schema with "type": "object"']
    fields = schema.get("properties", {})
    if not isinstance(fields, dict) or len(fields) > FIELDS_MAX:
        return [f"`properties` of a form is a JSON object with at most {FIELDS_MAX} members"]
    found: list[str] = []
    required = schema.get("required", [])
    if not isinstance(required, list) or any(name not in fields for name in required):
        found.append("`required` of a form lists some of its properties")
    for name, field in fields.items():
        if not isinstance(field, dict) or field.get("type") not in _TYPES:
            found.append(f"the field {name!r} of a form has a `type` of {', '.join(_TYPES)}")
        elif unknown := sorted(set(field) - _WORDS):
            found.append(f"the field {name!r} of a form cannot say {', '.join(unknown)}")
    return found


def filled_in(schema: dict[str, Any], given: Any) -> dict[str, Any]:
    """What was filled in, with defaults. Raises `ValidationFailed` that lists every fault."""
    fields: dict[str, Any] = schema.get("properties", {})
    if not isinstance(given, dict):
        raise ValidationFailed("A form is filled in as a JSON object.")
    filled = {name: field["default"] for name, field in fields.items() if "default" in field} | given
    faults: list[dict[str, object]] = [
        {"pointer": f"/{name}", "message": "The form has no such field."} for name in filled if name not in fields
    ]
    for name, field in fields.items():
        if name not in filled:
            if name in schema.get("required", []):
                faults.append({"pointer": f"/{name}", "message": "This field is required."})
        elif message := _fault(field, filled[name]):
            faults.append({"pointer": f"/{name}", "message": message})
    if faults:
        raise ValidationFailed(errors=faults)
    return filled


def _fault(field: dict[str, Any], value: Any) -> str:
    kind = field["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return f"Expected a value of type {kind}."
    if "enum" in field and value not in field["enum"]:
        return f"Expected one of {', '.join(map(str, field['enum']))}."
    if isinstance(value, str):
        if not field.get("minLength", 0) <= len(value) <= field.get("maxLength", _TEXT_MAX):
            return f"Expected {field.get('minLength', 0)} to {field.get('maxLength', _TEXT_MAX)} characters."
    elif kind in {"integer", "number"} and (value < field.get("minimum", value) or value > field.get("maximum", value)):
        return f"Expected a number from {field.get('minimum', '…')} to {field.get('maximum', '…')}."
    return ""
