"""Checks of what is evaluated: paths, calls and templates of JSONPath, expressions of JSONata, and numbers that may be either."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from corral.workflows.language import intrinsics, jsonata, paths
from corral.workflows.language.checks.value import Check, Where, an, is_number, is_whole, moment, text
from corral.workflows.language.fault import JSONATA, JSONATA_UNKNOWN, type_of
from corral.workflows.language.names import names_in
from corral.workflows.language.path_reading import PathInvalid, read_path

_OPENS = "{%"
_NO_PATH = "Value must be a valid JSONPath."
_NO_REFERENCE = "Value is not a Reference Path"
_CODE = re.compile(r"^[A-Z]\d{4}: ")
_QUOTED = (
    (re.compile(r"^Expected (\S+), got (\S+)$"), r'Expected "\1", got "\2"'),
    (re.compile(r"^Expected (\S+) before end of expression$"), r'Expected "\1" before end of expression'),
    (
        re.compile(r"^The symbol (\S+) cannot be used as a unary operator$"),
        r'The symbol "\1" cannot be used as a unary operator',
    ),
)
_FIELDS_OF_STATES = frozenset({"input", "result", "errorOutput", "context"})


def between(least: float, most: float | None = None, *, whole: bool = True) -> Check:
    """A number within bounds; in JSONata, an expression as well."""
    name = "INTEGER" if whole else "NUMBER"
    fits = is_whole if whole else is_number

    def check(value: Any, where: Where) -> None:
        if isinstance(value, str) and where.language == "JSONata":
            expression(value, where)
        elif not fits(value):
            where.fault(f"Expected value of type [{name}]", hint=f"This is {an(type_of(value))}.")
        elif value < least:
            where.fault(f"Minimum value is {least if whole else float(least)}")
        elif most is not None and value > most:
            where.fault(f"Maximum value is {most if whole else float(most)}")

    return check


def literal(check: Check) -> Check:
    """Never an expression, in either language."""

    def checked(value: Any, where: Where) -> None:
        check(value, msgspec.structs.replace(where, language="JSONPath"))

    return checked


def timestamp(value: Any, where: Where) -> None:
    """A point in time with its zone; in JSONata, an expression as well."""
    if where.language == "JSONata" and isinstance(value, str) and value.startswith(_OPENS):
        expression(value, where)
    else:
        moment(value, where)


def condition(value: Any, where: Where) -> None:
    """What decides a rule: true, false, or an expression."""
    if isinstance(value, bool):
        return
    if isinstance(value, str):
        expression(value, where)
    else:
        where.fault("Expected value of type [STRING, BOOLEAN]", hint=f"This is {an(type_of(value))}.")


def expression(value: str, where: Where) -> None:
    """A JSONata expression, and nothing else."""
    if not jsonata.is_expression(value):
        where.fault("JSONata string must start with {% and end with %}", hint="Write it as `{% … %}`.")
        return
    where.findings.count(len(value))
    wrong = jsonata.fault_of(value)
    if wrong is not None:
        where.fault(_worded(wrong) if value.strip("{%} \n\t") else "Unexpected end of expression", code=JSONATA)
        return
    names = names_in(value)
    if names.root:
        where.fault("Reference to '$$' is not supported.", code=JSONATA_UNKNOWN, hint="Begin with $states.input.")
    for name in names.bare:
        where.fault(
            f"Reference to '{name}' at the top level is not supported.",
            code=JSONATA_UNKNOWN,
            hint=f"Begin with $states.input, or write ${name} for a variable."
            if name.isidentifier()
            else "Begin with $states.input.",
        )
    for field in names.states:
        if field not in _FIELDS_OF_STATES or (field == "errorOutput" and not where.catching):
            where.fault(f"Field '$states.{field}' does not exist.", code=JSONATA_UNKNOWN)


def _worded(wrong: str) -> str:
    """What a parser said, as the reference service does: without its code, and with letters of the expression quoted."""
    said = _CODE.sub("", wrong)
    for form, quoted in _QUOTED:
        said = form.sub(quoted, said)
    return said


def jsonata_text(value: Any, where: Where) -> None:
    """A string; what looks like an expression has to be one."""
    text(value, where)
    if isinstance(value, str) and value.startswith(_OPENS):
        expression(value, where)


def template(value: Any, where: Where) -> None:
    """JSON in which something is evaluated, at any depth."""
    if where.language == "JSONata":
        _jsonata_template(value, where)
    else:
        _path_template(value, where)


def _jsonata_template(value: Any, where: Where) -> None:
    match value:
        case str() if value.startswith(_OPENS):
            expression(value, where)
        case dict():
            for key, inner in value.items():
                _jsonata_template(inner, where.at(key))
        case list():
            for index, inner in enumerate(value):
                _jsonata_template(inner, where.at(index))


def _path_template(value: Any, where: Where) -> None:
    match value:
        case dict():
            for key, inner in value.items():
                if key.endswith(".$"):
                    _evaluated(key, inner, where)
                else:
                    _forgotten(key, inner, where)
                    _path_template(inner, where.at(key))
        case list():
            for index, inner in enumerate(value):
                _path_template(inner, where.at(index))


def _evaluated(key: str, value: Any, where: Where) -> None:
    message = f"The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call"
    if not isinstance(value, str):
        where.fault(
            message, hint=f"This is {an(type_of(value))}; a constant stands in a field whose name ends without `.$`."
        )
    elif (wrong := _evaluable(value)) is not None:
        where.fault(message, hint=wrong)


def _evaluable(value: str) -> str | None:
    """What is wrong with a path or a call; none: it can be evaluated."""
    return intrinsics.fault_of(value) if intrinsics.is_call(value) else paths.fault_of(value)


def _forgotten(key: str, value: Any, where: Where) -> None:
    if isinstance(value, str) and (value.startswith(("$.", "$$.")) or intrinsics.is_call(value)):
        where.at(key).warn(
            "NO_DOLLAR",
            f"The field '{key}' looks like a path or a call, but is taken as it stands.",
            hint=f"Write '{key}.$' if it is to be evaluated.",
        )


def path(value: Any, where: Where) -> None:
    """A JSONPath into the input, the context or a variable."""
    text(value, where)
    if isinstance(value, str) and (wrong := paths.fault_of(value)) is not None:
        where.fault(_NO_PATH, hint=wrong)


def path_or_null(value: Any, where: Where) -> None:
    """The same, or null for nothing at all."""
    if value is not None:
        path(value, where)


def path_or_call(value: Any, where: Where) -> None:
    """A JSONPath or an intrinsic function."""
    text(value, where)
    if isinstance(value, str) and (wrong := _evaluable(value)) is not None:
        where.fault("Value must be a valid JSONPath or a valid intrinsic function call", hint=wrong)


def reference(value: Any, where: Where) -> None:
    """A path to exactly one place: in the input, or in a variable."""
    _reference(value, where, context=False)


def reference_or_context(value: Any, where: Where) -> None:
    """The same, or a place in the context object."""
    _reference(value, where, context=True)


def _reference(value: Any, where: Where, *, context: bool) -> None:
    text(value, where)
    if not isinstance(value, str):
        return
    if not value.startswith("$"):
        where.fault(f"{_NO_REFERENCE}: Reference path didn't start with '$'")
    elif not _is_reference(value) or (value.startswith("$$") and not context):
        where.fault(_NO_REFERENCE, hint="It names exactly one place: no wildcards, filters, slices or `..`.")


def _is_reference(value: str) -> bool:
    try:
        return read_path(value).is_reference
    except PathInvalid:
        return False


def result_path(value: Any, where: Where) -> None:
    """Where in the input a result is put; null: nowhere."""
    if value is None:
        return
    text(value, where)
    if not isinstance(value, str):
        return
    if not value.startswith("$"):
        where.fault(f"{_NO_REFERENCE}: Reference path didn't start with '$'")
    elif not paths.is_reference_path(value):
        where.fault(_NO_REFERENCE, hint="It names exactly one place in the input, such as `$.result`.")
