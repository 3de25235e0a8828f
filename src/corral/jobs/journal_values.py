"""What a journal keeps of a step: its result or its error as JSON, and large ones as the name of a blob."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from corral.errors import AgentFailed, CorralError, StepNotKept
from corral.jobs.job import ClaimedJob, Step
from corral.jobs.outage import Outage
from corral.jobs.retrying import origin
from corral.jobs.store import BlobStore
from corral.observability.redaction import redacted_text

_PLAIN = frozenset({str, int, bool, type(None)})


class _Failure(msgspec.Struct, omit_defaults=True):
    """The error of a step that is not to be tried again."""

    module: str
    name: str
    message: str
    arguments: list[Any] = []


_failures = msgspec.json.Decoder(_Failure)


def to_value(key: str, result: object) -> bytes:
    """A step's result as JSON. Raises `StepNotKept`, which says what to return instead."""
    try:
        return _encoder.encode(result)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise StepNotKept(
            f"Step {key!r} is done, but its result ({type(result).__name__}) cannot be kept as JSON: {error}. Return "
            "what JSON knows (text, numbers, lists, dicts, dataclasses), and open files or clients outside of steps."
        ) from None


def _plainer(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plainer)


def from_value(body: bytes) -> Any:
    """The result again."""
    return msgspec.json.decode(body)


def as_replayed(result: object, body: bytes) -> Any:
    """The result as a later attempt will get it: an agent must not see a tuple now and a list after a crash."""
    return result if type(result) in _PLAIN else from_value(body)


def to_failure(error: Exception) -> bytes:
    """A step's error as JSON."""
    own = origin(error)
    try:
        arguments = msgspec.json.decode(_encoder.encode(own.args))
        message = str(own).encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - a user's own error may hold anything
        arguments, message = [], type(own).__name__
    if isinstance(own, CorralError):
        arguments = [own.message]
    kind = type(own)
    return _encoder.encode(_Failure(kind.__module__, kind.__qualname__, redacted_text(message), arguments))


def from_failure(body: bytes) -> Exception:
    """The error again: of its own class where that is loaded and takes its arguments, so that `except` finds it."""
    failure = _failures.decode(body)
    kind: Any = sys.modules.get(failure.module)
    for part in failure.name.split("."):
        kind = getattr(kind, part, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            error = kind(*failure.arguments)
        except Exception:  # noqa: BLE001 - a class that wants other arguments
            error = None
        if error is not None:
            return error
    return AgentFailed(f"{failure.name}: {failure.message}")


class LargeValues:
    """Keeps values above a size apart."""

    def __init__(self, blobs: BlobStore, outage: Outage, *, inline_max_bytes: int) -> None:
        """Values of up to `inline_max_bytes` stay where they are."""
        self._blobs = blobs
        self._outage = outage
        self._inline_max_bytes = inline_max_bytes

    async def kept(self, job: ClaimedJob, body: bytes, name: Callable[[], str]) -> tuple[bytes, bool]:
        """What to write into the journal, and whether that is a reference. `name` must never come twice."""
        if len(body) <= self._inline_max_bytes:
            return body, False
        blob = f"{job.id}/{job.token}/{name()}"
        await self._outage.outlast("blobs", lambda: self._blobs.put(job.tenant, blob, body))
        return blob.encode(), True

    async def read(self, job: ClaimedJob, step: Step) -> bytes:
        """The value of a step."""
        if not step.is_reference:
            return step.value
        name = step.value.decode()
        body = await self._outage.outlast("blobs", lambda: self._blobs.get(job.tenant, name))
        if body is None:
            raise StepNotKept(f"The value of step {step.key!r} is gone: the blob {name!r} is not there any more.")
        return body
