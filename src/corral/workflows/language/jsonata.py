"""JSONata: `{% $states.input.total * 1.2 %}`."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.failing import QUERY_EVALUATION, StateFailed
from corral.workflows.language.scope import Scope


def is_expression(text: Any) -> bool:
    """Whether this is an expression, and not a literal: it begins with `{%` and ends with `%}`."""
    return isinstance(text, str) and text.startswith("{%") and text.endswith("%}") and len(text) >= len("{%%}")


def fault_of(text: str) -> str | None:
    """What is wrong with an expression; none: it can be evaluated."""
    import jsonata  # noqa: PLC0415 — only where JSONata is used

    try:
        jsonata.Jsonata(text[2:-2].strip())
    except Exception as error:  # noqa: BLE001 — whatever the parser says
        return str(error)
    return None


def evaluate(text: str, scope: Scope, *, field: str, expected: str | None = None) -> Any:
    """What an expression gives."""
    import jsonata  # noqa: PLC0415 — only where JSONata is used

    code = text[2:-2].strip()
    states: dict[str, Any] = {"input": scope.input, "context": scope.context}
    if scope.result is not msgspec.UNSET:
        states["result"] = scope.result
    if scope.error_output is not msgspec.UNSET:
        states["errorOutput"] = scope.error_output
    try:
        found = jsonata.Jsonata(code).evaluate(None, {**scope.variables, "states": states})
    except Exception as error:
        cause = f"The JSONata expression '{code}' specified for the field '{field}' threw an error during evaluation. {error}"
        raise StateFailed(QUERY_EVALUATION, cause, prefixed=True, evaluation=True, location=field) from None
    if found is None:
        cause = f"The JSONata expression '{code}' specified for the field '{field}' returned nothing (undefined)."
        raise StateFailed(QUERY_EVALUATION, cause, prefixed=True, evaluation=True, location=field)
    return found
