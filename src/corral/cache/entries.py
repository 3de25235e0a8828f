"""A model's answer, or its refusal, as the bytes that are kept."""

from __future__ import annotations

import logging
import zlib

import msgspec

from corral.errors import ContentFiltered, ContextTooLong, ModelRequestInvalid
from corral.messages import ModelReply

_log = logging.getLogger("corral.cache")

VALUE_MAX_BYTES = 1_048_576
"""Larger values are not kept."""
_COMPRESS_BYTES = 4096
_PLAIN, _PACKED = b"\x00", b"\x01"

# What was kept for good reason is told again as it was; a call may be refused for other reasons on another day.
_PERMANENT = {kind.code: kind for kind in (ModelRequestInvalid, ContextTooLong, ContentFiltered)}
_UNFINISHED = frozenset({"content_filter", "pause", "other"})


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An error that would come again."""

    code: str
    message: str
    provider: str = ""
    model: str = ""
    provider_status: int = 0
    provider_code: str = ""

    def error(self) -> ModelRequestInvalid:
        """The error, to be raised."""
        return _PERMANENT[self.code](
            self.message,
            provider=self.provider,
            model=self.model,
            provider_status=self.provider_status,
            provider_code=self.provider_code,
        )


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag=True):
    reply: ModelReply


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer | Refusal).decode


def may_be_kept(reply: ModelReply) -> bool:
    """Whether the next who asks the same is well served with this answer: the model's own, whole, and not cut by a filter."""
    if reply.cached or not reply.content or reply.stop_reason in _UNFINISHED:
        return False
    for part in reply.content:  # noqa: SIM110 - a generator takes longer than what it looks for
        if "input_text" in part:  # arguments that are no JSON
            return False
    return True


def reply_value(reply: ModelReply) -> bytes | None:
    """An answer as bytes; none: it cannot be kept."""
    try:
        return packed(_encode(_Answer(reply)))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None


def refusal_value(error: ModelRequestInvalid) -> bytes | None:
    """A refusal as bytes; none: it is of a kind that may not come again."""
    if _PERMANENT.get(error.code) is not type(error):
        return None
    refusal = Refusal(
        error.code, error.message, error.provider, error.model, error.provider_status, error.provider_code
    )
    return packed(_encode(refusal))


def read_value(value: bytes) -> ModelReply | Refusal | None:
    """What was kept: a copy of its own for whoever asks. None: bytes that are not ours, as if nothing had been kept."""
    try:
        found = _decode(unpacked(value))
    except (msgspec.MsgspecError, zlib.error) as error:
        _log.warning("A kept value cannot be read, and is asked anew: %s", error)
        return None
    return found if isinstance(found, Refusal) else found.reply


def packed(value: bytes) -> bytes | None:
    """A value as it is kept, compressed if it is long; none: it is too long."""
    if len(value) <= _COMPRESS_BYTES:
        return _PLAIN + value
    return _PACKED + zlib.compress(value, 1) if len(value) <= VALUE_MAX_BYTES else None


def unpacked(value: bytes) -> bytes:
    """A value as it was. Never grows beyond what may be kept."""
    if value[:1] == _PACKED:
        return zlib.decompressobj().decompress(value[1:], VALUE_MAX_BYTES)
    return value[1:]
