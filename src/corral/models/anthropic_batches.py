"""Anthropic's message batches: one request hands them in, one answer holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ModelStreamBroken
from corral.messages import ModelCall
from corral.models.provider_batches import BatchAnswer, BatchHandle, BatchState, refused
from corral.models.transport import HttpAnswer, Transport
from corral.models.wire import anthropic_errors as errors
from corral.models.wire import anthropic_reply as answers
from corral.models.wire.anthropic_request import request

_OK = 200
_UPLOAD_S = 300.0


class _Counts(msgspec.Struct, frozen=True):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class _Batch(msgspec.Struct, frozen=True):
    id: str
    processing_status: str = "in_progress"
    request_counts: _Counts = _Counts()


class _Failure(msgspec.Struct, frozen=True):
    error: answers.ErrorJson


class _Result(msgspec.Struct, frozen=True):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: _Failure | None = None


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    result: _Result


_decode_line = msgspec.json.Decoder(_Line).decode


class AnthropicBatches:
    """The batches of one account."""

    def __init__(
        self,
        name: str,
        *,
        root: str,
        headers: Mapping[str, str],
        options: Mapping[str, Any],
        transport: Transport,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`root` ends in `/v1`; the rest is as the provider of that name has it."""
        self.name = name
        self._root = root
        self._headers = headers
        self._options = options
        self._transport = transport
        self._clock = clock

    async def submit(self, calls: Sequence[ModelCall]) -> BatchHandle:
        """Hand them in."""
        asked = [request(call, self._options) for call in calls]
        body = {"requests": [{"custom_id": str(number), "params": one.body} for number, one in enumerate(asked)]}
        came = await self._transport.post(
            f"{self._root}/messages/batches", msgspec.json.encode(body), self._headers, timeout_s=_UPLOAD_S
        )
        batch = msgspec.json.decode(self._checked(came), type=_Batch)
        return BatchHandle(
            provider=self.name,
            id=batch.id,
            models=[call.model for call in calls],
            answer_tools={str(number): one.answer_tool for number, one in enumerate(asked) if one.answer_tool},
        )

    async def poll(self, handle: BatchHandle) -> BatchState:
        """How far it is. One that was cancelled or expired is done: some of it may have been answered."""
        came = await self._transport.get(f"{self._root}/messages/batches/{handle.id}", self._headers)
        batch = msgspec.json.decode(self._checked(came), type=_Batch)
        counts = batch.request_counts
        return BatchState(
            state="done" if batch.processing_status == "ended" else "running",
            total=len(handle.models),
            answered=counts.succeeded,
            failed=counts.errored + counts.canceled + counts.expired,
        )

    async def collect(self, handle: BatchHandle) -> Mapping[int, BatchAnswer]:
        """All lines; they come in any order."""
        came = await self._transport.get(f"{self._root}/messages/batches/{handle.id}/results", self._headers)
        found: dict[int, BatchAnswer] = {}
        for line in self._checked(came).splitlines():
            if line.strip():
                try:
                    said = _decode_line(line)
                    number = int(said.custom_id)
                    found[number] = self._answer(said.result, handle, number)
                except (msgspec.DecodeError, ValueError, IndexError) as error:
                    raise ModelStreamBroken(f"{self.name} sent what is no line of this batch: {error}") from None
        return found

    async def cancel(self, handle: BatchHandle) -> None:
        """Ask no more of it."""
        url = f"{self._root}/messages/batches/{handle.id}/cancel"
        self._checked(await self._transport.post(url, b"{}", self._headers))

    def _answer(self, result: _Result, handle: BatchHandle, number: int) -> BatchAnswer:
        model = handle.models[number]
        if result.type == "succeeded":
            reply, _ = answers.reply(bytes(result.message), handle.answer_tools.get(str(number), ""))
            now = self._clock.now()
            reply = msgspec.structs.replace(reply, provider=self.name, model=reply.model or model, created_at=now)
            return BatchAnswer(reply=reply)
        if result.error is not None:
            return refused(errors.failed(self.name, model, result.error.error))
        return BatchAnswer(code="model_failed", error=f"The call was not answered: {result.type}.")

    def _checked(self, came: HttpAnswer) -> bytes:
        if came.status != _OK:
            raise errors.failure(self.name, "", came.status, came.body, came.headers, self._clock.now())
        return came.body
