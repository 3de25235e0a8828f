"""JSONata: `{% $states.input.total * 1.2 %}`.

An expression sees `$states` and the variables, and nothing else. Expressions come from strangers: each evaluation is bounded in
steps, time, depth and memory (`jsonata_bounds.py`), and whatever goes wrong in it is a `States.QueryEvaluationError` that says
which expression of which field it was. The library is loaded with the first expression.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET

from corral.workflows.failing import QUERY_EVALUATION, StateFailed
from corral.workflows.language import regexes
from corral.workflows.language.kept import Kept
from corral.workflows.language.paths import as_text
from corral.workflows.language.scope import Scope

Expected: TypeAlias = Literal["array", "boolean", "number", "object", "string"]

TEXT_MAX = 20_000
KEPT_MAX = 100_000
"""Characters of all expressions that are kept read."""
CAUSE_MAX = 32_768
NESTED_MAX = 400

_VARIABLE = re.compile(r"\$(\w+)")
_FIELD = re.compile(r"\$states\s*\.\s*(\w+)")
_PLAIN = re.compile(r"\$[^\W\d]\w*(?:\.(?!(?:and|or|in|true|false|null|function)\b)[^\W\d]\w*)*")
_NODES_MAX = 600_000


class Unreadable(ValueError):
    """This is no JSONata."""


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """An expression that was read."""

    code: str
    tree: Any
    variables: frozenset[str]
    """Names that it might mean."""
    fields: frozenset[str] | None
    """Of `$states`; none: it uses it in another way, and may see all."""
    names: tuple[str, ...] = ()
    """Of an expression that only goes from a variable down by names: `$states.input.order`."""


def is_expression(text: Any) -> bool:
    """Whether this is an expression, and not a literal: it begins with `{%` and ends with `%}`."""
    return isinstance(text, str) and text.startswith("{%") and text.endswith("%}") and len(text) >= len("{%%}")


def fault_of(text: str) -> str | None:
    """What is wrong with an expression's form; none: it can be evaluated."""
    try:
        _read(text)
    except Unreadable as unreadable:
        return str(unreadable)
    return None


def tree_of(text: str) -> Any:
    """The syntax tree, for who looks at an expression without evaluating it. Raises `Unreadable`."""
    return _read(text).tree


def evaluate(text: str, scope: Scope, *, field: str, expected: Expected | None = None) -> Any:
    """What an expression with its `{% %}` gives, as plain JSON. Raises `StateFailed`, which tells the field.

    `expected`: what it has to be.
    """
    code = text[2:-2].strip()
    try:
        read = _read(text)
        found = _down(read.names, scope) if read.names else UNSET
        if found is UNSET:
            found = _run(read, scope)
    except Unreadable as unreadable:
        raise _failed(code, field, f"threw an error during evaluation. {unreadable}") from None
    except _Threw as threw:
        raise _failed(code, field, f"threw an error during evaluation. {threw}") from None
    except _Unsupported:
        raise _failed(code, field, "returned an unsupported result type.") from None
    if found is UNSET:
        raise _failed(code, field, "returned nothing (undefined).")
    kind = kind_of(found)
    if expected is not None and kind != expected:
        what = f"Expected '{expected}', but was '{kind}' for value: {as_text(found)}"
        raise _failed(code, field, f"returned an unexpected result type. {what}")
    return found


def _down(names: tuple[str, ...], scope: Scope) -> Any:
    """The short way down objects; `UNSET` where it meets anything else."""
    first, *rest = names
    if first == "states":
        if not rest:
            return UNSET
        value = _of_states(rest.pop(0), scope)
    else:
        value = scope.variables.get(first, UNSET)
    for name in rest:
        value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
    return value


def _of_states(name: str, scope: Scope) -> Any:
    match name:
        case "input":
            return scope.input
        case "context":
            return scope.context if isinstance(scope.context, dict) else UNSET
        case "result":
            return scope.result
        case "errorOutput":
            return scope.error_output
    return UNSET


def kind_of(value: Any) -> str:
    """How JSON calls the type of a value."""
    return "null" if value is None else _KINDS[type(value)]


_KINDS: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}


def _failed(code: str, field: str, what: str) -> StateFailed:
    cause = f"The JSONata expression '{code}' specified for the field '{field}' {what}"
    return StateFailed(QUERY_EVALUATION, cause[:CAUSE_MAX], prefixed=True, evaluation=True, location=field)


class _Threw(Exception):
    """Evaluating failed; the text is code and message, as JSONata gives them."""


class _Unsupported(Exception):
    """The result is no JSON."""


def _read(text: str) -> _Read:
    if len(text) > TEXT_MAX:
        raise Unreadable(f"A JSONata expression has at most {TEXT_MAX} characters.")
    return _kept.get(text)


def _parsed(text: str) -> _Read:
    from corral.workflows.language.jsonata_library import Jsonata  # noqa: PLC0415 - only where JSONata is used

    code = text[2:-2].strip()
    if not code:
        raise Unreadable("Empty expression: write something between {% and %}.")
    try:
        tree = Jsonata.get_parser().parse(code, _pattern)
    except RecursionError:
        raise Unreadable("The expression is nested too deep.") from None
    except regexes.PatternInvalid as invalid:
        raise Unreadable(str(invalid)) from None
    except Exception as error:  # noqa: BLE001 - whatever the parser stumbles over is no JSONata
        raise Unreadable(_message(error) or "Syntax error") from None
    uses = len(re.findall(r"\$states\b", code))
    fields = _FIELD.findall(code)
    return _Read(
        code=code,
        tree=tree,
        variables=frozenset(_VARIABLE.findall(code)) - {"states"},
        fields=frozenset(fields) if len(fields) == uses else None,
        names=tuple(code[1:].split(".")) if _PLAIN.fullmatch(code) else (),
    )


_kept = Kept(_parsed, characters=KEPT_MAX)


def _pattern(text: str, flags: Any) -> regexes.Pattern:
    return regexes.compiled(text, ignore_case=flags.case_insensitive, multiline=flags.multiline)


def _run(read: _Read, scope: Scope) -> Any:
    """Plain JSON, or `UNSET` for what is undefined."""
    from corral.workflows.language.jsonata_bounds import OverBounds  # noqa: PLC0415 - only where JSONata is used
    from corral.workflows.language.jsonata_evaluation import Evaluation  # noqa: PLC0415 - as above

    run = Evaluation(chance=scope.chance, now=scope.clock())
    try:
        found = run.run(read.tree, _names(read, scope))
        return UNSET if found is None else _Plain().of(found, 0)
    except OverBounds as over:
        raise _Threw(f"{over.code}: {over}") from None
    except regexes.TooMuch as much:
        raise _Threw(f"D1012: {much}") from None
    except (_Unsupported, StateFailed):
        raise
    except RecursionError:
        raise _Threw("D1011: Stack overflow. Check for non-terminating recursive function.") from None
    except Exception as error:  # noqa: BLE001 - the library raises whatever its Python raises: all of it is the expression's fault
        raise _Threw(_message(error)) from None


def _names(read: _Read, scope: Scope) -> dict[str, Any]:
    """What the expression can see, as far as it looks."""
    from corral.workflows.language.jsonata_values import with_nulls  # noqa: PLC0415 - only where JSONata is used

    states: dict[str, Any] = {}
    for name, value in (
        ("input", scope.input),
        ("context", scope.context),
        ("result", scope.result),
        ("errorOutput", scope.error_output),
    ):
        if value is not UNSET and (read.fields is None or name in read.fields):
            states[name] = with_nulls(value)
    names = {name: with_nulls(scope.variables[name]) for name in read.variables if name in scope.variables}
    names["states"] = states
    return names


def _message(error: Exception) -> str:
    """An error of the library as people read it: its code and its text."""
    code = getattr(error, "error", None)
    if not isinstance(code, str):
        return f"{type(error).__name__}: {error}"[:CAUSE_MAX]
    texts: dict[str, str] = getattr(type(error), "error_codes", {})
    template = texts.get(code)
    if template is None:
        return code
    if template == "{{{message}}}":
        return f"{code}: {getattr(error, 'current', '')}"[:CAUSE_MAX]
    given = [getattr(error, name, None) for name in ("current", "expected", "extra")]
    given = [one for one in given if one is not None]
    filled = re.sub(
        r"\{\{\w+\}\}",
        lambda _place: str(given.pop(0))[:200] if given else "",
        template.replace("Object", "function").replace("{{{token}}}", "{{token}}"),
    )
    return f"{code}: {filled}"


_SCALARS = (str, bool, int)


class _Plain:
    """Makes plain JSON of what the library gives. What stands in many places is counted at each."""

    def __init__(self) -> None:
        from corral.workflows.language.jsonata_library import Utils  # noqa: PLC0415 - only where JSONata is used

        self._null = Utils.NULL_VALUE
        self._left = _NODES_MAX

    def of(self, value: Any, depth: int) -> Any:
        """The same, of Python's own types."""
        self._left -= 1
        if self._left < 0 or depth > NESTED_MAX:
            raise _Threw("D1013: The result is too large, or nested too deep.")
        if value is None or isinstance(value, _SCALARS):
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _Threw(f"D1001: Number out of range: {value}")
            return value
        if isinstance(value, dict):
            return {key: self.of(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.of(one, depth + 1) for one in value]
        if value is self._null:
            return None
        raise _Unsupported
