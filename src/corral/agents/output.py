"""What a run answers with: text, or a value of a type, read out of the model's last answer."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Message, ModelReply, OutputFormat
from corral.models.structured import Shape


class Output:
    """Reads the answer of an agent."""

    __slots__ = ("_shape", "format")

    def __init__(self, kind: Any = None) -> None:
        """`kind` is a struct, dataclass, TypedDict or pydantic model; none: text. Raises `TypeError` for what JSON does not know."""
        self._shape: Shape[Any] | None = None if kind is None or kind is str else Shape(kind)
        self.format: OutputFormat | None = None if self._shape is None else self._shape.format

    @property
    def is_text(self) -> bool:
        """Whether the answer is the text itself."""
        return self._shape is None

    def read(self, reply: ModelReply) -> Any:
        """The answer. Raises `ValueError` that says what is wrong with it."""
        return reply.text if self._shape is None else self._shape.read(reply)

    def repair(self, reply: ModelReply, error: ValueError) -> list[Message]:
        """What to say to a model whose answer did not fit; the answer itself stands in the conversation already."""
        assert self._shape is not None  # noqa: S101 - text always fits
        return self._shape.repair(reply, error)[-1:]


def as_json(output: Any) -> Any:
    """A value as plain JSON, for journals and replies."""
    dump = getattr(output, "model_dump", None)
    return dump(mode="json") if callable(dump) else msgspec.to_builtins(output)
