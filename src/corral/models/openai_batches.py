"""OpenAI's batches: a file of calls goes up, a file of answers comes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ModelFailed, ModelStreamBroken
from corral.messages import ModelCall
from corral.models.openai_account import Account
from corral.models.provider_batches import BatchAnswer, BatchHandle, BatchState, refused
from corral.models.transport import HttpAnswer, Transport
from corral.models.wire.openai_chat import chat_body
from corral.models.wire.openai_chat_reply import ChatAnswer
from corral.models.wire.openai_errors import failure, told

_OK, _MOVED = 200, 300
_ENDPOINT = "/v1/chat/completions"
_UPLOAD_S = 300.0


class _Counts(msgspec.Struct, frozen=True):
    total: int = 0
    completed: int = 0
    failed: int = 0


class _Batch(msgspec.Struct, frozen=True):
    id: str
    status: str = "in_progress"
    request_counts: _Counts | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Any = None


class _File(msgspec.Struct, frozen=True):
    id: str


class _Response(msgspec.Struct, frozen=True):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct, frozen=True):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


class OpenAIBatches:
    """The batches of one account."""

    def __init__(self, name: str, at: Account, transport: Transport, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """The account and the connections of the provider of that name."""
        self.name = name
        self._at = at
        self._transport = transport
        self._clock = clock

    async def submit(self, calls: Sequence[ModelCall]) -> BatchHandle:
        """Upload, then begin. If the second fails, the file stays there and costs nothing."""
        lines = b"\n".join(
            msgspec.json.encode(
                {
                    "custom_id": str(number),
                    "method": "POST",
                    "url": _ENDPOINT,
                    "body": chat_body(call, self._at.dialect),
                }
            )
            for number, call in enumerate(calls)
        )
        body, kind = _form(lines)
        headers = {**self._at.headers, "content-type": kind}
        uploaded = msgspec.json.decode(await self._post("files", body, headers), type=_File)
        begin = {"input_file_id": uploaded.id, "endpoint": _ENDPOINT, "completion_window": "24h"}
        begun = msgspec.json.decode(
            await self._post("batches", msgspec.json.encode(begin), self._at.headers), type=_Batch
        )
        return BatchHandle(provider=self.name, id=begun.id, models=[call.model for call in calls])

    async def poll(self, handle: BatchHandle) -> BatchState:
        """How far it is."""
        batch = await self._batch(handle)
        counts = batch.request_counts or _Counts()
        match batch.status:
            case "completed" | "expired":
                state: Any = "done"
            case "failed":
                state = "failed"
            case "cancelled":
                state = "cancelled"
            case _:
                state = "running"
        reason = "" if batch.errors is None else msgspec.json.encode(batch.errors).decode()[:1000]
        return BatchState(
            state=state, total=len(handle.models), answered=counts.completed, failed=counts.failed, reason=reason
        )

    async def collect(self, handle: BatchHandle) -> Mapping[int, BatchAnswer]:
        """Both files: of answers, and of calls that failed."""
        batch = await self._batch(handle)
        answers: dict[int, BatchAnswer] = {}
        for file in (batch.error_file_id, batch.output_file_id):
            if file:
                body = await self._get(f"files/{file}/content")
                for line in body.splitlines():
                    if line.strip():
                        self._read(line, handle, answers)
        return answers

    async def cancel(self, handle: BatchHandle) -> None:
        """Ask no more of it."""
        await self._post(f"batches/{handle.id}/cancel", b"{}", self._at.headers)

    def _read(self, line: bytes, handle: BatchHandle, answers: dict[int, BatchAnswer]) -> None:
        try:
            said = _decode_line(line)
            number = int(said.custom_id)
            model = handle.models[number]
        except (msgspec.DecodeError, ValueError, IndexError) as error:
            raise ModelStreamBroken(f"{self.name} sent what is no line of this batch: {error}") from None
        if said.response is None:
            answers[number] = BatchAnswer(code="model_failed", error=msgspec.json.encode(said.error).decode()[:500])
            return
        body = bytes(said.response.body)
        try:
            if not _OK <= said.response.status_code < _MOVED:
                raise failure(said.response.status_code, {}, body, self._clock.now())
            answer = ChatAnswer()
            answer.whole(body)
            reply = msgspec.structs.replace(answer.reply(), provider=self.name, created_at=self._clock.now())
        except ModelFailed as error:
            answers[number] = refused(self._told(error, model))
        else:
            answers[number] = BatchAnswer(reply=msgspec.structs.replace(reply, model=reply.model or model))

    async def _batch(self, handle: BatchHandle) -> _Batch:
        return msgspec.json.decode(await self._get(f"batches/{handle.id}"), type=_Batch)

    async def _get(self, what: str) -> bytes:
        return self._checked(await self._transport.get(self._url(what), self._at.headers))

    async def _post(self, what: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        return self._checked(await self._transport.post(self._url(what), body, headers, timeout_s=_UPLOAD_S))

    def _url(self, what: str) -> str:
        return f"{self._at.base}{'/openai' if self._at.deployments else ''}/{what}{self._at.query}"

    def _checked(self, came: HttpAnswer) -> bytes:
        if not _OK <= came.status < _MOVED:
            raise self._told(failure(came.status, came.headers, came.body, self._clock.now()), "")
        return came.body

    def _told(self, error: ModelFailed, model: str) -> ModelFailed:
        return told(error, provider=self.name, model=model, secrets=self._at.secrets, partial=None)


def _form(lines: bytes) -> tuple[bytes, str]:
    """The upload as a form: its purpose, and the file."""
    boundary = f"corral-{new_id()}"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="calls.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return head.encode() + lines + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
