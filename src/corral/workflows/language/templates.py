"""Values with expressions in them: payload templates of JSONPath (`"x.$": "$.y"`), and JSONata at any depth (`"{% … %}"`)."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.failing import DATA_LIMIT, RUNTIME, StateFailed
from corral.workflows.language import intrinsics, jsonata, paths
from corral.workflows.language.definition import Language
from corral.workflows.language.scope import Scope

NESTED_MAX = 400
BYTES_MAX = 4_194_304
"""What the expressions of one template may give together, beyond the first few."""
FREE = 16


def evaluate(template: Any, scope: Scope, *, language: Language, field: str) -> Any:
    """A new value: literal parts as they were written, expressions replaced by what they give. Raises `StateFailed`.

    `field` is the name of the state's field, such as `Parameters` or `Output`: failures tell it.
    """
    put_in = _PutIn(field)
    if language == "JSONata":
        return _jsonata(template, scope, field, 0, put_in)
    return _payload(template, scope, 0, put_in)


class _PutIn:
    """What the expressions of one template gave: one document may be put in a thousand times, and must not grow too large by that."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._count = 0
        self._size = 0
        self._sizes: dict[int, int] = {}

    def __call__(self, value: Any) -> Any:
        """One more. Raises `StateFailed` when it is too much."""
        if isinstance(value, str | dict | list):
            self._count += 1
            if self._count > FREE:
                self._weigh(value)
        return value

    def _weigh(self, value: Any) -> None:
        if isinstance(value, str):
            size = len(value)
        else:
            size = self._sizes.get(id(value), -1)
            if size < 0:
                size = self._sizes[id(value)] = len(msgspec.json.encode(value))
        self._size += size
        if self._size > BYTES_MAX:
            raise StateFailed(
                DATA_LIMIT, f"The field '{self._field}' makes more than {BYTES_MAX} bytes.", prefixed=True
            )


def _payload(template: Any, scope: Scope, depth: int, put_in: _PutIn) -> Any:
    _check(depth)
    if isinstance(template, dict):
        made: dict[str, Any] = {}
        for key, value in template.items():
            if key.endswith(".$"):
                made[key[:-2]] = put_in(expression(value, scope, field=key))
            else:
                made[key] = _payload(value, scope, depth + 1, put_in)
        return made
    if isinstance(template, list):
        return [_payload(one, scope, depth + 1, put_in) for one in template]
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


def _jsonata(template: Any, scope: Scope, field: str, depth: int, put_in: _PutIn) -> Any:
    _check(depth)
    if isinstance(template, str):
        return put_in(jsonata.evaluate(template, scope, field=field)) if jsonata.is_expression(template) else template
    if isinstance(template, dict):
        return {key: _jsonata(value, scope, f"{field}/{key}", depth + 1, put_in) for key, value in template.items()}
    if isinstance(template, list):
        return [_jsonata(value, scope, f"{field}[{index}]", depth + 1, put_in) for index, value in enumerate(template)]
    return template


def _check(depth: int) -> None:
    if depth > NESTED_MAX:
        raise StateFailed(RUNTIME, f"A template is nested at most {NESTED_MAX} deep.", prefixed=True)
