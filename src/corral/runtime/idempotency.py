"""A retried request is one run: whoever asks again with the same key gets the first run's answer, live or kept.

A run with a key is not tied to its client. It goes on in a task of its own; clients follow it, may leave, and find it
again within a grace time: the SDK that gives up after 60 silent seconds and asks again meets the run it started.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from corral.errors import AgentFailed, CorralError, DeadlineExceeded, IdempotencyKeyReused
from corral.runtime.followed import FollowedRun
from corral.runtime.invocation import Invocation
from corral.runtime.pipeline import Proceed
from corral.runtime.reply import Reply, is_response
from corral.runtime.store import Begun, Finished, InvocationStore
from corral.settings.sections import RuntimeSettings

_log = logging.getLogger("corral.runtime")

_LEASE_S = 30.0
_ASK_AGAIN_S = (0.02, 0.05, 0.1, 0.25)

_RunKey = tuple[str, str]


class KeptReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer as it is stored: exactly one of value text, stream pieces, HTTP response or error."""

    text: str | None = None
    pieces: list[str] | None = None
    status: int = 200
    headers: list[tuple[str, str]] = []
    body: bytes | None = None
    error: str | None = None
    detail: Any = None
    timeout: bool = False
    degraded: bool = False


class Idempotency:
    """The stage, and the runs of this worker that it watches over."""

    def __init__(self, store: InvocationStore, settings: RuntimeSettings) -> None:
        """Answers are kept in `store`."""
        self._store = store
        self._settings = settings
        self._runs: dict[_RunKey, FollowedRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewer: asyncio.Task[None] | None = None

    async def stage(self, call: Invocation, proceed: Proceed) -> Reply:
        """Join the run of this key, repeat its kept answer, or start it."""
        key = call.context.idempotency_key
        if not key:
            return await proceed(call)
        call.client_may_leave = True
        run_key, fingerprint = (call.context.tenant, key), fingerprint_of(call)
        pause = iter(_ASK_AGAIN_S)
        wait_s = 0.0
        while True:
            run = self._runs.get(run_key)
            if run is not None:
                if run.fingerprint != fingerprint:
                    raise IdempotencyKeyReused
                return await run.reply()
            claim = await self._store.begin(
                *run_key, fingerprint, lease_s=_LEASE_S, ttl_s=self._settings.idempotency_ttl_s
            )
            if isinstance(claim, Finished):
                return repeated(msgspec.msgpack.decode(claim.reply, type=KeptReply))
            if isinstance(claim, Begun):
                return await self._start(run_key, fingerprint, claim.token, call, proceed).reply()
            # Another worker is running it. That is rare (a retry that the balancer sent elsewhere), so asking is enough.
            wait_s = next(pause, wait_s)
            self._check_deadline(call)
            await asyncio.sleep(wait_s)

    def _check_deadline(self, call: Invocation) -> None:
        latest = call.started_at + self._settings.timeout_s
        if call.now() > min(latest, call.context.deadline or latest):
            raise DeadlineExceeded

    def _start(self, run_key: _RunKey, fingerprint: str, token: str, call: Invocation, proceed: Proceed) -> FollowedRun:
        settings = self._settings
        run = FollowedRun(
            call,
            fingerprint,
            token,
            grace_s=settings.rejoin_grace_s,
            held_bytes_max=settings.idempotency_reply_max_bytes,
        )
        self._runs[run_key] = run
        task = asyncio.create_task(self._execute(run_key, run, proceed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._renewer is None or self._renewer.done():
            self._renewer = asyncio.create_task(self._renew())
        return run

    async def _execute(self, run_key: _RunKey, run: FollowedRun, proceed: Proceed) -> None:
        """Run to the end, with or without followers, then keep the answer or give the key back."""
        kept: KeptReply | None = None
        try:
            kept = await self._answer(run, proceed)
            run.finished(None)
        except asyncio.CancelledError:
            run.finished(run.call.cancelled_error())
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the followers, who raise it
            kept = kept_error(error)
            run.finished(error)
        finally:
            try:
                await asyncio.shield(self._keep(run_key, run, kept))
            finally:
                del self._runs[run_key]

    async def _answer(self, run: FollowedRun, proceed: Proceed) -> KeptReply | None:
        reply = await proceed(run.call)
        run.started(reply)
        if reply.stream is None:
            return kept_value(reply)
        try:
            async for text in reply.stream:
                await run.add(text)
        finally:
            await reply.stream.aclose()  # type: ignore[attr-defined]  # every stream that leaves the pipeline has it
        return KeptReply(pieces=run.pieces.all()) if run.pieces.complete else None

    async def _keep(self, run_key: _RunKey, run: FollowedRun, kept: KeptReply | None) -> None:
        encoded = b"" if kept is None else msgspec.msgpack.encode(kept, enc_hook=str)
        try:
            if kept is not None and len(encoded) <= self._settings.idempotency_reply_max_bytes:
                await self._store.finish(*run_key, run.token, encoded)
            else:
                await self._store.abandon(*run_key, run.token)
        except CorralError as error:
            _log.warning("The answer to the idempotency key %r could not be kept: %s", run_key[1], error)

    async def _renew(self) -> None:
        while self._runs:
            await asyncio.sleep(_LEASE_S / 3)
            for (tenant, key), run in list(self._runs.items()):
                try:
                    await self._store.renew(tenant, key, run.token, lease_s=_LEASE_S)
                except CorralError:
                    continue  # the store is away; the lease outlasts two missed renewals

    async def stop(self) -> None:
        """Wait for the last answers to be kept; runs have been cancelled or have ended before."""
        if self._renewer is not None:
            self._renewer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def fingerprint_of(call: Invocation) -> str:
    """What must be equal for two requests to be one: the agent, the session and the payload."""
    payload = call.payload if call.sent is None else call.sent
    what = [call.agent.name, call.context.session_id, payload]
    return hashlib.blake2b(msgspec.json.encode(what, order="deterministic"), digest_size=16).hexdigest()


def kept_value(reply: Reply) -> KeptReply | None:
    """An answer in the form it is stored in; none for a response whose body is not at hand."""
    response = reply.response
    if response is None:
        return KeptReply(text=reply.text, degraded=reply.degraded)
    body = getattr(response, "body", None)
    if not is_response(response) or not isinstance(body, bytes):
        return None
    return KeptReply(status=response.status_code, headers=list(response.headers.items()), body=body)


def kept_error(error: BaseException) -> KeptReply | None:
    """The agent's own failure is an answer too, and so is its running out of time: it was paid for once."""
    if isinstance(error, AgentFailed):
        return KeptReply(error=error.said, status=error.answer_status, detail=error.detail)
    if isinstance(error, DeadlineExceeded):
        return KeptReply(error=error.message, timeout=True)
    return None


def repeated(kept: KeptReply) -> Reply:
    """The reply that a kept answer stands for."""
    if kept.timeout:
        raise DeadlineExceeded(kept.error)
    if kept.error is not None:
        failed = AgentFailed(kept.error)
        failed.answer_status, failed.detail = kept.status, kept.detail
        raise failed
    if kept.pieces is not None:
        reply = Reply(stream=_all(kept.pieces))
    elif kept.body is not None:
        from starlette.responses import Response  # noqa: PLC0415 - only agents that build responses need it

        reply = Reply(response=Response(kept.body, kept.status, dict(kept.headers)))
    else:
        reply = Reply(text=kept.text)
    reply.degraded, reply.replayed = kept.degraded, True
    return reply


async def _all(pieces: list[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
