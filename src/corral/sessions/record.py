"""What was said in a turn, collected while it happens, for agents that do not keep their conversation themselves."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corral.messages import as_parts
from corral.sessions.event import Draft

RECORD_MAX_BYTES = 1_000_000
"""A longer prompt or reply is cut off here, and its metadata says `truncated`."""

_PROMPT_NAMES = ("prompt", "message", "input", "text")
_REPLY_NAMES = ("result", "response", "output", "message", "text")
_PIECE_NAMES = ("text", "delta", "data")

_decode = msgspec.json.Decoder().decode


class Transcript:
    """One turn: what was sent, and the reply as a value or piece by piece."""

    __slots__ = ("_actor", "_length", "_payload", "_pieces", "_truncated", "_value")

    def __init__(self, payload: object, *, actor: str = "") -> None:
        """A turn that begins with `payload`, sent by `actor`."""
        self._payload = payload
        self._actor = actor
        self._value: object = None
        self._pieces: list[str | bytes] = []
        self._length = 0
        self._truncated = False

    def reply(self, value: object) -> None:
        """The agent answered with a value."""
        self._value = value

    def add(self, piece: object) -> None:
        """The agent yielded a piece of its answer. It is kept as it is now: the agent may change it afterwards."""
        if self._truncated:
            return
        kept = piece if isinstance(piece, str) else _json(piece)
        room = RECORD_MAX_BYTES - self._length
        if len(kept) > room:
            self._truncated = True
            if isinstance(kept, bytes):
                return
            kept = kept[:room]
        self._length += len(kept)
        self._pieces.append(kept)

    def drafts(self) -> list[Draft]:
        """The turn as events: what the user said and what the assistant replied, as far as either said anything."""
        drafts = [_prompt(self._payload, self._actor)]
        if self._pieces or self._truncated:
            pieces = [piece if isinstance(piece, str) else _decode(piece) for piece in self._pieces]
            drafts.append(_reply(_joined(pieces), self._actor, truncated=self._truncated))
        else:
            drafts.append(_reply(self._value, self._actor))
        return [draft for draft in drafts if draft is not None]


def drafts_of_turn(payload: object, reply: object, actor: str = "") -> list[Draft]:
    """The events of a turn that had `payload` and was answered with the value `reply`."""
    transcript = Transcript(payload, actor=actor)
    transcript.reply(reply)
    return transcript.drafts()


def _prompt(payload: object, actor: str) -> Draft | None:
    if payload is None:
        return None
    plain = payload if isinstance(payload, str | dict | list) else _decode(_json(payload))
    if isinstance(plain, dict):
        said = _named_text(plain, _PROMPT_NAMES)
        plain = _last_of_user(plain) if said is None else plain[said]
    return _draft("user", plain, actor)


def _last_of_user(payload: dict[Any, Any]) -> object:
    messages = payload.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user" and message.get("content"):
                return message["content"]
    return payload


def _reply(value: object, actor: str, *, truncated: bool = False) -> Draft | None:
    if value is None:
        return None
    plain = value if isinstance(value, str | dict | list) else _decode(_json(value))
    if not isinstance(plain, dict):
        return _draft("assistant", plain, actor, truncated=truncated)
    said = _named_text(plain, _REPLY_NAMES)
    if said is None:
        return _draft("assistant", plain, actor, truncated=truncated)
    rest = {name: part for name, part in plain.items() if name != said}
    return _draft("assistant", plain[said], actor, rest=rest, truncated=truncated)


def _joined(pieces: list[Any]) -> Any:
    """Texts joined, a lone object as it is, anything else as the list it was."""
    texts = [_piece_text(piece) for piece in pieces]
    if None not in texts:
        return "".join(text for text in texts if text is not None)
    return pieces[0] if len(pieces) == 1 else pieces


def _piece_text(piece: object) -> str | None:
    if isinstance(piece, str):
        return piece
    said = _named_text(piece, _PIECE_NAMES) if isinstance(piece, dict) else None
    return None if said is None else piece[said]  # type: ignore[index]  # a name was found in it


def _named_text(value: dict[Any, Any], names: tuple[str, ...]) -> str | None:
    """The first of `names` under which `value` has a text."""
    return next((name for name in names if isinstance(value.get(name), str)), None)


def _draft(
    role: Literal["user", "assistant"],
    content: object,
    actor: str,
    *,
    rest: dict[Any, Any] | None = None,
    truncated: bool = False,
) -> Draft:
    parts, cut = _bounded(content)
    metadata: dict[str, Any] = {}
    if rest:
        raw = _json(rest)
        if len(raw) <= RECORD_MAX_BYTES:
            metadata["reply"] = _decode(raw)
        else:
            cut = True
    if cut or truncated:
        metadata["truncated"] = True
    return Draft(role=role, content=parts, actor=actor, metadata=metadata)


def _bounded(content: object) -> tuple[list[dict[str, Any]], bool]:
    """Content as parts that every store can keep; True when something had to be cut off."""
    if not isinstance(content, str):
        raw = _json(content)
        if len(raw) <= RECORD_MAX_BYTES:
            return as_parts(_decode(raw)), False
        content = raw[:RECORD_MAX_BYTES].decode(errors="ignore")
        return as_parts(content), True
    text = _unbroken(content)
    if len(text) * 4 <= RECORD_MAX_BYTES or len(raw := text.encode()) <= RECORD_MAX_BYTES:
        return as_parts(text), False
    return as_parts(raw[:RECORD_MAX_BYTES].decode(errors="ignore")), True


def _unbroken(text: str) -> str:
    """Text that UTF-8 can carry: halves of a character that came in two pieces are put together, lone ones replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _json(value: object) -> bytes:
    """JSON of whatever an agent was sent or answered with; what has no JSON is kept as its text."""
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except Exception:  # noqa: BLE001 - a user's own model may raise anything; a turn is recorded all the same
        return msgspec.json.encode(_unbroken(_text(value)))


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's own __str__ may raise anything
        return f"<{type(value).__name__}>"
