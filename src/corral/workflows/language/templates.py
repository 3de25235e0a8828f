"""Values with expressions in them: payload templates of JSONPath (`"x.$": "$.y"`), and JSONata at any depth (`"{% … %}"`)."""

from __future__ import annotations

from typing import Any

from corral.workflows.failing import RUNTIME, StateFailed
from corral.workflows.language import intrinsics, jsonata, paths
from corral.workflows.language.definition import Language
from corral.workflows.language.scope import Scope

NESTED_MAX = 400


def evaluate(template: Any, scope: Scope, *, language: Language, field: str) -> Any:
    """A new value: literal parts as they were written, expressions replaced by what they give. Raises `StateFailed`.

    `field` is the name of the state's field, such as `Parameters` or `Output`: failures tell it.
    """
    if language == "JSONata":
        return _jsonata(template, scope, field, 0)
    return _payload(template, scope, 0)


def _payload(template: Any, scope: Scope, depth: int) -> Any:
    _check(depth)
    if isinstance(template, dict):
        made: dict[str, Any] = {}
        for key, value in template.items():
            if key.endswith(".$"):
                made[key[:-2]] = expression(value, scope, field=key)
            else:
                made[key] = _payload(value, scope, depth + 1)
        return made
    if isinstance(template, list):
        return [_payload(one, scope, depth + 1) for one in template]
    return template


def expression(text: Any, scope: Scope, *, field: str) -> Any:
    """What a path or an intrinsic function gives: the value of a key that ends with `.$`, of `ErrorPath`, of `CausePath`."""
    if not isinstance(text, str):
        raise StateFailed(
            RUNTIME,
            f"The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call",
            prefixed=True,
        )
    if intrinsics.is_call(text):
        return intrinsics.call(text, scope)
    return paths.find(text, scope, field=field)


def _jsonata(template: Any, scope: Scope, field: str, depth: int) -> Any:
    _check(depth)
    if isinstance(template, str):
        return jsonata.evaluate(template, scope, field=field) if jsonata.is_expression(template) else template
    if isinstance(template, dict):
        return {key: _jsonata(value, scope, f"{field}/{key}", depth + 1) for key, value in template.items()}
    if isinstance(template, list):
        return [_jsonata(value, scope, f"{field}[{index}]", depth + 1) for index, value in enumerate(template)]
    return template


def _check(depth: int) -> None:
    if depth > NESTED_MAX:
        raise StateFailed(RUNTIME, f"A template is nested at most {NESTED_MAX} deep.", prefixed=True)
