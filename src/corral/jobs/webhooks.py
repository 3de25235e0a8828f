"""Addresses of an operator's that are told what happened: signed as callbacks are, by jobs, so that no word is lost with a worker."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import OutboundFailed
from corral.jobs.job import Backoff, JobDraft
from corral.jobs.running import RunningJob
from corral.jobs.signing import keys_of, sign
from corral.outbound.client import Outbound

GONE = 410
"""Its receiver wants no more."""

_BACKOFF = Backoff(initial_s=5.0, factor=3.0, max_s=3600.0)
_ATTEMPTS = 1000
"""It is the deadline that ends them."""
_FINE = range(200, 300)


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """The input of such a job: what is sent, and under which name."""

    id: str
    body: str
    about: str = ""
    """Where there are several addresses: what says which one it is."""


class Webhooks:
    """Sends such words."""

    def __init__(
        self,
        secret: str,
        allow: Sequence[str] = (),
        *,
        for_s: float = 86_400.0,
        outbound: Outbound | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`secret` signs, and `for_s` is how long one is tried. Raises `ConfigError` for secrets or networks that cannot be used."""
        self._keys = keys_of(secret)
        self._for_s = for_s
        self._outbound = outbound or Outbound(allow)
        self._now = clock.now

    @property
    def can_sign(self) -> bool:
        """Whether there is a secret."""
        return bool(self._keys)

    def check(self, url: str) -> None:
        """Raise `OutboundRefused` for an address that can never be called."""
        self._outbound.check(url, {})

    def draft(self, notice: Notice, *, tenant: str, handler: str, queue: str) -> JobDraft:
        """The job that sends it, under the notice's id: enqueued twice, it is one. `handler` stands in the place of an agent's name."""
        return JobDraft(
            id=notice.id,
            tenant=tenant,
            agent=handler,
            input=msgspec.json.encode(notice),
            queue=queue,
            max_attempts=_ATTEMPTS,
            backoff=_BACKOFF,
            deadline_s=self._for_s,
        )

    async def send(self, notice: Notice, url: str) -> int:
        """Send it now; the status, which is one of success, or `GONE`. Raises `OutboundRefused`, `OutboundFailed`."""
        body = notice.body.encode()
        headers = sign(self._keys, notice.id, int(self._now()), body)
        answer = await self._outbound.post(url, body, headers)
        if answer.status not in _FINE and answer.status != GONE:
            raise OutboundFailed(f"The webhook answered {answer.status}.")
        return answer.status

    async def stop(self) -> None:
        """End. Calling it again does nothing."""
        await self._outbound.stop()


def notice_of(job: RunningJob) -> Notice:
    """What a job is to send."""
    return msgspec.json.decode(job.claimed.input, type=Notice)
