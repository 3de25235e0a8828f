"""What an agent may be sent: the type its entrypoint asks for, and the plain limits every prompt has."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from corral.errors import ValidationFailed

Fault = dict[str, object]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class PayloadType:
    """A struct, dataclass, TypedDict or pydantic model that the payload is converted to before the agent sees it."""

    __slots__ = ("_convert", "_schema", "type")

    def __init__(self, kind: Any) -> None:
        """Prepare conversion to `kind`."""
        self.type = kind
        pydantic = hasattr(kind, "model_validate")
        self._convert: Callable[[Any, Any], Any] = _with_pydantic if pydantic else _with_msgspec
        self._schema: Callable[[Any], dict[str, Any]] = _pydantic_schema if pydantic else _msgspec_schema

    def convert(self, value: object) -> Any:
        """The payload as the agent wants it, or `ValidationFailed` that lists every fault."""
        return self._convert(self.type, value)

    def schema(self) -> dict[str, Any]:
        """JSON schema of the payload."""
        return self._schema(self.type)


def payload_type(fn: Callable[..., Any]) -> PayloadType | None:
    """The type of the first parameter when it is one that can be checked; plain `dict`, `str`, `Any` are not."""
    try:
        first = next(iter(inspect.signature(fn).parameters), "")
    except (TypeError, ValueError):
        return None
    while isinstance(fn, functools.partial):
        fn = fn.func
    target: Any = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004 - the method itself is wanted
    target = inspect.unwrap(target)
    annotation = getattr(target, "__annotations__", {}).get(first)
    try:
        # This one alone: another one may name what is only imported for type checkers.
        alone = types.SimpleNamespace(__annotations__={"payload": annotation})
        hint = typing.get_type_hints(alone, getattr(target, "__globals__", {}))["payload"]
    except Exception:  # noqa: BLE001 - an annotation may be any expression; what cannot be understood is not checked
        return None
    return PayloadType(hint) if _is_checkable(hint) else None


def _is_checkable(hint: Any) -> bool:
    if not isinstance(hint, type):
        return False
    if issubclass(hint, msgspec.Struct) or dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return True
    pydantic = sys.modules.get("pydantic")  # who annotates with a model has imported it
    return pydantic is not None and issubclass(hint, pydantic.BaseModel)


def _with_msgspec(kind: Any, value: object) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValidationFailed(errors=_every_fault(kind, value) or [_fault(str(error))]) from None


def _every_fault(kind: Any, value: object) -> list[Fault]:
    """Try each field alone: msgspec stops at the first fault, and people want them all."""
    info = msgspec.inspect.type_info(kind)
    if not isinstance(value, dict) or getattr(info, "array_like", False):
        return []
    faults: list[Fault] = []
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {field.encode_name: field for field in getattr(info, "fields", ())}
    for name, field in known.items():
        if name not in value:
            if field.required:
                faults.append({"pointer": f"/{name}", "message": "This field is required."})
            continue
        try:
            msgspec.convert(value[name], _without_required(hints.get(field.name, Any)))
        except msgspec.ValidationError as error:
            faults.append(_fault(str(error), f"/{name}"))
    if getattr(info, "forbid_unknown_fields", False):
        faults.extend({"pointer": f"/{n}", "message": "This field is not known."} for n in value if n not in known)
    return faults


def _without_required(hint: Any) -> Any:
    """The type inside of a TypedDict's `Required[…]` and `NotRequired[…]`."""
    inside = typing.get_origin(hint) in {typing.Required, typing.NotRequired}
    return typing.get_args(hint)[0] if inside else hint


def _fault(text: str, prefix: str = "") -> Fault:
    """`Expected `int`, got `str` - at `$.a[0]`` as a JSON pointer and a sentence."""
    message, _, where = text.partition(" - at `$")
    pointer = where.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
    return {"pointer": prefix + pointer, "message": message}


def _with_pydantic(kind: Any, value: object) -> Any:
    try:
        return kind.model_validate(value)
    except ValueError as error:
        details = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        faults: list[Fault] = [
            {"pointer": "".join(f"/{step}" for step in fault["loc"]), "message": fault["msg"]} for fault in details
        ]
        raise ValidationFailed(errors=faults) from None


def _msgspec_schema(kind: Any) -> dict[str, Any]:
    return msgspec.json.schema(kind, schema_hook=lambda custom: {"title": custom.__name__})


def _pydantic_schema(kind: Any) -> dict[str, Any]:
    schema: dict[str, Any] = kind.model_json_schema()
    return schema


def check_limits(payload: object, *, prompt_chars_max: int, id_chars_max: int) -> None:
    """Refuse a prompt that is empty or too long, and ids that are no ids, naming every fault at once."""
    if not isinstance(payload, dict):
        return
    faults: list[Fault] = []
    for name in ("prompt", "message"):
        text = payload.get(name)
        if isinstance(text, str) and not 1 <= len(text) <= prompt_chars_max:
            said = "it is empty" if not text else f"it has {len(text)} characters"
            faults.append(
                {"pointer": f"/{name}", "message": f"1 to {prompt_chars_max} characters are allowed; {said}."}
            )
    no_id = f"An id is a text of 1 to {id_chars_max} characters, none of them a control character."
    faults.extend(
        {"pointer": f"/{name}", "message": no_id}
        for name in ("session_id", "user_id")
        if payload.get(name) is not None and not is_id(payload[name], id_chars_max)
    )
    if faults:
        raise ValidationFailed(errors=faults)


def is_id(value: object, chars_max: int) -> bool:
    """Whether a value can name a session or a user: text of bounded length without control characters."""
    return isinstance(value, str) and 1 <= len(value) <= chars_max and _CONTROL.search(value) is None
