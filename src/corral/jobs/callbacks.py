"""Tells others that a job has ended: takes what the outbox holds, signs it, sends it, and tries again for a day."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, rfc3339
from corral.errors import OutboundFailed, OutboundRefused, StoreUnavailable, ValidationFailed
from corral.jobs.bell import Bell
from corral.jobs.grouping import Grouping
from corral.jobs.job import Callback, Delivered, Delivery, JobInfo
from corral.jobs.outage import Outage
from corral.jobs.signing import keys_of, sign
from corral.jobs.states import TERMINAL
from corral.jobs.store import JobRecords, OutboxStore
from corral.outbound.client import Answer, Outbound
from corral.settings.sections import JobSettings

_log = logging.getLogger("corral.jobs")

RESULT_MAX = 262_144
"""A larger result is left out of a callback; its receiver asks for it."""

_CONCURRENCY = 32
_POLL_S = 5.0
_RETRY_FIRST_S, _RETRY_FACTOR, _RETRY_MAX_S = 5.0, 3.0, 3600.0
_GONE = 410
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Callbacks:
    """Sends what is due, many at once, from any process that may: each is sent by one of them at a time."""

    def __init__(
        self,
        outbox: OutboxStore,
        records: JobRecords,
        settings: JobSettings,
        *,
        own: Mapping[str, Callable[[JobInfo], Awaitable[None]]] | None = None,
        outbound: Outbound | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
        poll_s: float = _POLL_S,
    ) -> None:
        """`own` are the house's own receivers, by what stands in the place of an address: such callbacks are not sent anywhere.

        Raises `ConfigError` for secrets or networks in the settings that cannot be used.
        """
        self._outbox = outbox
        self._records = records
        self._own = own or {}
        self._keys = keys_of(settings.callback_secret)
        self._for_s = settings.callback_for_s
        self._outbound = outbound or Outbound(settings.callback_allow, body_max=RESULT_MAX * 2 + 65_536)
        self._clock = clock
        self._chance = chance
        self._poll_s = poll_s
        self._outage = Outage(chance)
        self._settling: Grouping[Delivered, bool] = Grouping("callbacks", outbox.settle, self._outage)
        self._bell = Bell()
        self._unwatch: Callable[[], None] | None = None
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    # -- life

    async def start(self) -> None:
        """Begin, where anything can be told: with a secret, or with receivers in the house. Again, it does nothing."""
        if self._task is None and (self._keys or self._own):
            self._unwatch = self._outbox.watch(self._bell.ring)
            self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Take nothing more; what is being sent is finished first."""
        self._draining = True
        self._bell.ring()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._outbound.timeout_s)
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._outbound.timeout_s)

    async def stop(self) -> None:
        """End now; what was being sent is sent again later. Calling it again does nothing."""
        self._draining = True
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        tasks = [task for task in (self._task, *self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._settling.finish(1.0)
        await self._outbound.stop()

    # -- the work

    async def _run(self) -> None:
        failures = 0
        while not self._draining:
            try:
                pause_s = await self._take()
                failures = 0
                self._outage.over("take callbacks")
            except StoreUnavailable as error:
                self._outage.began("take callbacks", error)
                pause_s = self._outage.pause_s(failures)
                failures += 1
            except Exception:  # noqa: BLE001 - one row like no other must not end all callbacks
                _log.exception("Callbacks could not be taken, will try again.")
                pause_s = self._poll_s
            if pause_s > 0:
                await self._bell.wait(pause_s)

    async def _take(self) -> float:
        """Begin to send what is due; the seconds until the next look."""
        free = _CONCURRENCY - len(self._sending)
        if free <= 0:
            return self._poll_s  # whoever is done rings
        # The lease covers what a call may take, and the time that its outcome may wait for the store.
        deliveries, next_s = await self._outbox.take(limit=free, lease_s=self._outbound.timeout_s * 4)
        for delivery in deliveries:
            task = asyncio.create_task(self._deliver(delivery))
            self._sending.add(task)
            task.add_done_callback(self._sent)
        if len(deliveries) >= free:
            return 0.0 if len(self._sending) < _CONCURRENCY else self._poll_s
        return self._poll_s if next_s is None else min(self._poll_s, max(next_s, 0.001))

    def _sent(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._sending) >= _CONCURRENCY
        self._sending.discard(task)
        if was_full:
            self._bell.ring()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            outcome = await self._outcome(delivery)
        except StoreUnavailable as error:
            self._outage.began("read a job", error)
            return  # its lease runs out, and it is sent then
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this one, it is noted with it
            _log.exception("The callback %s of job %s could not be sent.", delivery.id, delivery.job_id)
            outcome = self._again(delivery, f"{type(error).__name__}", None)
        if not outcome.ok and outcome.retry_in_s is None:
            _log.warning(
                "The callback %s of job %s is given up after %d attempts: %s",
                *(delivery.id, delivery.job_id, delivery.attempts, outcome.answer),
            )
        await self._settling.add(outcome)

    async def _outcome(self, delivery: Delivery) -> Delivered:
        job = await self._records.get(delivery.tenant, delivery.job_id)
        self._outage.over("read a job")
        if job is None:
            return self._given_up(delivery, "The job is gone.")
        if job.status not in TERMINAL:
            return self._given_up(delivery, "The job runs once more; its next end is told.")
        own = self._own.get(delivery.callback.url)
        if own is not None:
            await own(job)
            return Delivered(id=delivery.id, token=delivery.token, ok=True, answer="")
        return await self._posted(delivery, job)

    async def _posted(self, delivery: Delivery, job: JobInfo) -> Delivered:
        if not self._keys:
            return self._again(delivery, "There is no secret to sign it with (`jobs.callback_secret`).", None)
        body = body_of(job)
        headers = {**delivery.callback.headers, **sign(self._keys, delivery.id, int(self._clock.now()), body)}
        try:
            answer = await self._outbound.post(delivery.callback.url, body, headers)
        except OutboundRefused as error:
            return self._given_up(delivery, error.message)
        except OutboundFailed as error:
            return self._again(delivery, error.message, None)
        return self._answered(delivery, answer)

    def _answered(self, delivery: Delivery, answer: Answer) -> Delivered:
        if 200 <= answer.status < 300:  # noqa: PLR2004 - success, in HTTP
            return Delivered(id=delivery.id, token=delivery.token, ok=True, answer=str(answer.status))
        if answer.status == _GONE:
            return self._given_up(delivery, "410: its receiver wants no more.")
        return self._again(delivery, str(answer.status), self._wished_s(answer))

    def _given_up(self, delivery: Delivery, answer: str) -> Delivered:
        return Delivered(id=delivery.id, token=delivery.token, ok=False, answer=answer)

    def _again(self, delivery: Delivery, answer: str, wished_s: float | None) -> Delivered:
        """Try again later, unless it has been tried for long enough."""
        power = min(max(delivery.attempts - 1, 0), 20)  # the attempt that just failed counts
        pause_s = min(_RETRY_MAX_S, _RETRY_FIRST_S * _RETRY_FACTOR**power) * (0.75 + self._chance() / 2)
        left_s = delivery.created_at + self._for_s - self._clock.now()
        if pause_s > left_s:
            return self._given_up(delivery, answer)
        pause_s = max(pause_s, min(wished_s or 0.0, left_s))
        return Delivered(id=delivery.id, token=delivery.token, ok=False, answer=answer, retry_in_s=pause_s)

    def _wished_s(self, answer: Answer) -> float | None:
        """What `Retry-After` asks for, in seconds or as a date."""
        written = answer.headers.get("retry-after", "").strip()
        if written.isascii() and written.isdigit():
            return float(written[:12])
        try:
            moment = parsedate_to_datetime(written)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - self._clock.now()


def callback_check(settings: JobSettings) -> Callable[[Callback], None]:
    """What to ask before a job with a callback is taken in: raises `ValidationFailed` for one that can never be sent.

    Raises `ConfigError` for secrets or networks in the settings that cannot be used.
    """
    keys, outbound = keys_of(settings.callback_secret), Outbound(settings.callback_allow)

    def check(callback: Callback) -> None:
        if not keys:
            _refuse(
                "/callback", "Callbacks are off: the server has no secret to sign them with (jobs.callback_secret)."
            )
        for name in callback.headers:
            if name.lower() in _SIGNED:
                _refuse("/callback/headers", f"The header {name} is written by the server itself.")
        try:
            outbound.check(callback.url, callback.headers)
        except OutboundRefused as error:
            _refuse("/callback", error.message)

    return check


def _refuse(pointer: str, message: str) -> None:
    raise ValidationFailed(message, errors=[{"pointer": pointer, "message": message}])


def body_of(job: JobInfo) -> bytes:
    """What a receiver gets: the job as it ended, without its input, and without a result that is too large."""
    result, left_out = job.result, False
    if result is not None and len(bytes(result)) > RESULT_MAX:
        result, left_out = None, True
    ended = "failed" if job.status == "discarded" else job.status  # putting it away is not how it ended
    ended_at = job.finished_at if job.finished_at is not None else job.created_at
    data: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "agent": job.agent,
        "version": job.version,
        "queue": job.queue,
        "session_id": job.session_id,
        "user_id": job.user_id,
        "tags": job.tags,
        "batch_id": job.batch_id,
        "attempt": job.attempt,
        "failures": job.failures,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "result": result,
        "error": None if job.error is None else {"code": job.error.code, "message": job.error.message},
    }
    if left_out:
        data["result_left_out"] = True
    return msgspec.json.encode({"type": f"job.{ended}", "timestamp": rfc3339(ended_at), "data": data})
