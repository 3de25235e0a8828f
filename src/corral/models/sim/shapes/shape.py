"""What a language is to the server: how it asks, how it is answered, and how it says that something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from corral.messages import Delta, ModelCall
from corral.models.sim.buckets import Verdict
from corral.models.sim.refusal import Refused
from corral.models.sim.turn import Turn

Header = tuple[bytes, bytes]
JSON_TYPE: Header = (b"content-type", b"application/json")
T = TypeVar("T")

to_json = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """One request."""

    path: str
    headers: dict[bytes, bytes]
    body: bytes
    model: str = ""
    """If the path names it."""
    strict: bool = False
    """Refuse what the provider would not know."""

    def header(self, name: bytes) -> str:
        """One header; empty if it is not there."""
        return self.headers.get(name, b"").decode("latin-1")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in our words, and what of the provider's is needed for the answer."""

    call: ModelCall
    stream: bool = False
    choices: int = 1
    """How many answers are wanted."""
    detail: Any = None
    """The request as it was read; the language's own."""


class Written(msgspec.Struct, frozen=True):
    """A complete response."""

    status: int
    headers: list[Header]
    body: bytes


class Stream(Protocol):
    """One streamed answer, piece by piece."""

    def begin(self) -> bytes:
        """Before the first piece."""
        ...

    def piece(self, delta: Delta) -> bytes:
        """The next piece."""
        ...

    def end(self) -> bytes:
        """After the last one."""
        ...

    def malformed(self) -> bytes:
        """A piece that is broken within."""
        ...

    def failed(self, refused: Refused) -> bytes:
        """An error instead of the rest."""
        ...


class Shape(Protocol):
    """One way to ask for an answer."""

    kind: str
    """For the counts."""
    stream_type: bytes
    """The content type of streams."""

    def read(self, asked: Asked) -> Question:
        """What is asked, or `Refused`."""
        ...

    def whole(self, question: Question, turns: Sequence[Turn]) -> bytes:
        """The body of an answer that is not streamed; one turn for each answer that was wanted."""
        ...

    def stream(self, question: Question, turns: Sequence[Turn]) -> Stream:
        """A streamed answer."""
        ...

    def headers(self, number: str, verdict: Verdict, retry_after_s: float | None = None) -> list[Header]:
        """Of every response: its id, and what is left of the limits."""
        ...

    def refuse(self, refused: Refused, model: str, number: str) -> Written:
        """An error."""
        ...


def body_of(asked: Asked, loose: type[T], strict: type[T]) -> T:
    """The request's body; fields that are unknown are passed over, or refused by those who are strict."""
    try:
        return msgspec.json.decode(asked.body or b"null", type=strict if asked.strict else loose)
    except msgspec.ValidationError as error:
        raise Refused("invalid", str(error), param=_field(str(error))) from None
    except msgspec.DecodeError as error:
        raise Refused("invalid", f"We could not parse the JSON body of your request: {error}") from None


def _field(message: str) -> str:
    """The field that a message of msgspec's is about."""
    if "required field `" in message or "unknown field `" in message:
        return message.split("field `")[1].split("`", maxsplit=1)[0]
    return message.rpartition("`$.")[2].rstrip("`") if "`$." in message else ""


def known(value: Any, kind: type[T], what: str) -> T:
    """A value that must be of a kind, or `Refused` naming what it is."""
    if not isinstance(value, kind):
        raise Refused(
            "invalid", f"Invalid type for '{what}': expected {kind.__name__}, got {type(value).__name__}.", param=what
        )
    return value


def data_url(url: str) -> dict[str, Any]:
    """An image's address as fields of a part: its content, if the address is all of it."""
    if url.startswith("data:"):
        kind, _, data = url[5:].partition(",")
        return {"media_type": kind.partition(";")[0] or "application/octet-stream", "data": data}
    return {"url": url}


def seconds(value: float) -> str:
    """A span of time as OpenAI's headers have it: `1s`, `6m0s`, `120ms`."""
    if value < 1:
        return f"{round(value * 1000)}ms"
    minutes, rest = divmod(round(value, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
