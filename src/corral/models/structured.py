"""Answers as objects: a type's JSON schema goes out, and what comes back becomes an instance of it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from corral.errors import CorralError
from corral.messages import Message, ModelReply, OutputFormat, as_parts

T = TypeVar("T")


class AnswerMisfit(CorralError):
    """The model's answer does not have the shape that was asked for, also when it was asked to mend it."""

    status = 502
    code = "answer_misfit"
    retryable = True


class Shape(Generic[T]):
    """A type that answers take: a msgspec struct, a dataclass, a TypedDict, or a pydantic model (known by its methods)."""

    def __init__(self, kind: type[T]) -> None:
        """Raises `TypeError` for a type that JSON does not know."""
        self._kind = kind
        self._is_pydantic = callable(getattr(kind, "model_validate_json", None))
        schema: dict[str, Any] = kind.model_json_schema() if self._is_pydantic else _schema(kind)  # type: ignore[attr-defined]  # pydantic's
        name = "".join(char if char.isalnum() or char in "-_" else "_" for char in getattr(kind, "__name__", "answer"))
        self.format = OutputFormat(schema=_closed(schema), name=name[:64] or "answer", strict=_is_strict(schema))

    def read(self, reply: ModelReply) -> T:
        """The instance. Raises `ValueError` that says what is wrong."""
        text = _bare(reply.text)
        if self._is_pydantic:
            return self._kind.model_validate_json(text)  # type: ignore[attr-defined, no-any-return]  # pydantic's
        try:
            return msgspec.json.decode(text, type=self._kind, strict=False)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(str(error)) from error

    def repair(self, reply: ModelReply, error: ValueError) -> list[Message]:
        """What to say to a model whose answer did not fit."""
        wrong = f"Your answer does not fit the schema: {str(error)[:1000]}\nSay it again as JSON that fits, and nothing else."
        said = [reply.as_message()] if reply.text else []
        return [*said, Message(role="user", content=as_parts(wrong))]


def _schema(kind: type) -> dict[str, Any]:
    try:
        schema = msgspec.json.schema(kind)
    except TypeError as error:
        raise TypeError(f"An answer cannot be a {kind!r}: {error}") from error
    # What stands behind one reference at the top is put there: providers want an object, not a reference.
    reference = schema.get("$ref")
    if isinstance(reference, str):
        named = schema["$defs"]
        top = reference.rpartition("/")[2]
        others = named if reference in str(named) else {name: one for name, one in named.items() if name != top}
        schema = dict(named[top])
        if others:
            schema["$defs"] = others
    return schema


def _closed(schema: Any) -> Any:
    """The same, with objects that have properties closed to others, as strict providers want."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(one) for name, one in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _is_strict(schema: Any) -> bool:
    """Whether every property of every object is required: providers promise no less."""
    if isinstance(schema, list):
        return all(_is_strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict) and set(properties) - set(schema.get("required", ())):
        return False
    if schema.get("type") == "object" and not isinstance(properties, dict):
        return False
    return all(_is_strict(one) for one in schema.values())


def _bare(text: str) -> str:
    """The JSON of an answer that wraps it in a fence."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    return text
