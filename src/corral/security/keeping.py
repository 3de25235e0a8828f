"""Keeps the audit evidence: signs how far it has come, checks what it signs, and leaves a signed word where old entries went."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError
from corral.messages import AuditEntry
from corral.observability.metrics import Metrics
from corral.security.chain import BEGINNING
from corral.security.counting import ChainCounting
from corral.security.signing import AuditKeys
from corral.security.store import AuditHead, AuditLog, AuditPrefix, AuditStretch, Checkpoint
from corral.security.verifying import Broken, Verdict, Verifier
from corral.settings.audit_sections import AuditChainSettings

_log = logging.getLogger("corral.security")

_TENANTS_MAX = 10_000
"""Tenants whose checkpoints are waited for; of others the next round finds that they are due."""
_ROUND_TENANTS = 1000
"""Tenants that one round looks at; the next goes on behind them."""
_PAUSE_S = 5.0
"""Before what the store did not answer is tried again."""


class Anchor(Protocol):
    """A place outside of the store."""

    def add(self, one: Checkpoint) -> None:
        """Put a checkpoint there, soon. Never waits, and never raises."""
        ...


class Keeper:
    """Signs checkpoints when enough was written or enough time has gone by, and looks at the newest part of all once an hour."""

    def __init__(
        self,
        log: AuditLog,
        keys: AuditKeys,
        settings: AuditChainSettings,
        *,
        keep_s: float,
        metrics: Metrics | None = None,
        anchor: Anchor | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Entries older than `keep_s` go. `chance` gives numbers from 0 to 1: workers do not all look at the same time."""
        self._store = log
        self._keys = keys
        self._settings = settings
        self._keep_s = keep_s
        self._anchor = anchor
        self._clock = clock
        self._chance = chance
        self._counting = ChainCounting(metrics or Metrics())
        self.verifier = Verifier(log, keys)
        self._fresh: dict[str, int] = {}
        self._chained: dict[str, AuditStretch] = {}
        """What this process itself chained behind the last checkpoint of each tenant, as far as nobody else came between."""
        self._due: set[str] = set()
        self._ring = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: set[str] = set()
        self._behind = ""

    # -- life

    async def start(self) -> None:
        """Begin. Calling it again does nothing."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._sign_what_is_due()), asyncio.create_task(self._look_around())]

    async def drain(self) -> None:
        """Nothing waits for it: what was not signed yet is found by the next round, in whatever process."""

    async def stop(self) -> None:
        """End now. Calling it again does nothing."""
        tasks, self._tasks = self._tasks, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- signing

    def written(self, entries: Sequence[AuditEntry], chained: Sequence[AuditStretch] = ()) -> None:
        """These are in the store now, and so they were chained. Called on the event loop."""
        for stretch in chained:
            self._follow(stretch)
        for entry in entries:
            tenant = entry.tenant
            if tenant not in self._fresh and len(self._fresh) >= _TENANTS_MAX:
                continue
            count = self._fresh[tenant] = self._fresh.get(tenant, 0) + 1
            if count >= self._settings.checkpoint_entries:
                self._due.add(tenant)
        if self._due:
            self._ring.set()
        if self._fresh and self._timer is None and self._tasks:
            self._timer = asyncio.get_running_loop().call_later(self._settings.checkpoint_s, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._due.update(self._fresh)
        self._ring.set()

    async def _sign_what_is_due(self) -> None:
        while True:
            await self._ring.wait()
            self._ring.clear()
            while self._due:
                tenant = self._due.pop()
                self._fresh.pop(tenant, None)
                try:
                    await self.mark(tenant)
                except CorralError as error:
                    _log.warning("The audit of %r could not be signed, will be tried again: %s", tenant, error)
                    self._due.add(tenant)
                    await asyncio.sleep(_PAUSE_S)
                except Exception:  # noqa: BLE001 - one tenant's must not end all others'; the next round comes by again
                    _log.exception("The audit of %r could not be signed.", tenant)

    async def mark(self, tenant: str) -> Checkpoint | None:
        """Sign how far a tenant's audit has come; none: there is nothing new.

        What this process chained itself is signed as it was chained, so that whoever changes it from then on is found by the
        signature. Where others wrote as well, all that came since the last time is read and checked before: a chain that is
        broken is not signed.
        """
        head = await self._store.head(tenant)
        if head is None or not head.chained or head.signed >= head.chained or not head.hash:
            return None
        last, own = await self._last(head)
        stretch = self._chained.get(tenant)
        if stretch is not None and (stretch.after, stretch.before) == (last, own) and stretch.number > last:
            number, own = stretch.number, stretch.hash
        else:
            try:
                walk = await self.verifier.walk(tenant, last, own, head.chained)
            except Broken as broken:
                self._alarm(Verdict(tenant=tenant, ok=False, number=broken.number, fault=broken.fault))
                return None
            number, own = walk.number, walk.hash
        signed = await self._signed(tenant, number, own)
        self._go_on_behind(signed)
        if await self._store.keep(signed):
            self._counting.signed()
            if self._anchor is not None:
                self._anchor.add(signed)
        return signed

    def _follow(self, stretch: AuditStretch) -> None:
        """More was chained here. Where it does not begin at the end of what is known, somebody else has written as well."""
        known = self._chained.get(stretch.tenant)
        if known is None and len(self._chained) >= _TENANTS_MAX:
            return
        if known is not None and (known.number, known.hash) == (stretch.after, stretch.before):
            stretch = msgspec.structs.replace(stretch, after=known.after, before=known.before)
        self._chained[stretch.tenant] = stretch

    def _go_on_behind(self, signed: Checkpoint) -> None:
        """The next checkpoint comes behind this one."""
        known = self._chained.get(signed.tenant)
        if known is not None and known.after <= signed.number <= known.number:
            self._chained[signed.tenant] = msgspec.structs.replace(known, after=signed.number, before=signed.hash)

    async def _last(self, head: AuditHead) -> tuple[int, bytes]:
        """From where on entries were not looked at yet: behind the last checkpoint, else from the beginning."""
        if head.signed > head.swept:
            for one in await self._store.checkpoints(head.tenant, after=head.signed - 1, limit=2):
                if one.kind == "head" and one.number == head.signed:
                    return one.number, one.hash
        return head.swept, head.swept_hash or BEGINNING

    async def _signed(self, tenant: str, number: int, own: bytes, *, swept: bool = False) -> Checkpoint:
        await asyncio.to_thread(self._keys.read, make=True)
        bare = Checkpoint(
            tenant=tenant, number=number, hash=own, at=self._clock.now(), kind="swept" if swept else "head"
        )
        return self._keys.signed(bare)

    # -- sweeping

    async def expire(self) -> int:
        """Sweep what is old, a little of it; a signed word stays, so that the rest can still be checked. Returns how many went."""
        swept = 0
        for prefix in await self._store.expired(before=self._clock.now() - self._keep_s):
            swept += await self._sweep(prefix)
        return swept

    async def _sweep(self, prefix: AuditPrefix) -> int:
        if not prefix.hash:
            return await self._store.sweep(prefix, None)
        head = await self._store.head(prefix.tenant)
        if head is None or head.swept >= prefix.number:
            return 0
        try:
            walk = await self.verifier.walk(prefix.tenant, head.swept, head.swept_hash, prefix.number)
        except Broken as broken:  # what may be needed as evidence is not swept
            self._alarm(Verdict(tenant=prefix.tenant, ok=False, number=broken.number, fault=broken.fault))
            return 0
        stub = await self._signed(prefix.tenant, walk.number, walk.hash, swept=True)
        return await self._store.sweep(prefix, stub)

    # -- looking

    async def verify(self, tenant: str, *, newest: int | None = None) -> Verdict:
        """What is known of a tenant's audit; who watches hears when it is not what it was."""
        verdict = await self.verifier.verify(tenant, newest=newest)
        self._counting.verified(self._clock.now())
        if verdict.number is not None:
            self._alarm(verdict)
        elif tenant in self._broken and newest is None:
            self._broken.discard(tenant)
            self._counting.broken(len(self._broken))
        if verdict.untrusted:
            _log.warning(
                "Checkpoints of the audit of %r are signed by keys that are not believed here (%s): give all machines one "
                "`security.audit_chain.key`, or list the other's public key in `security.audit_chain.trusted`.",
                tenant,
                ", ".join(verdict.untrusted),
            )
        return verdict

    def _alarm(self, verdict: Verdict) -> None:
        self._broken.add(verdict.tenant)
        self._counting.broken(len(self._broken))
        _log.error(
            "The audit of %r is broken at entry %s: %s. Keep the store as it is, and compare with an export or with "
            "checkpoints from outside: `corral audit verify`.",
            verdict.tenant,
            verdict.number,
            verdict.fault,
        )

    async def _look_around(self) -> None:
        pause_s = self._settings.checkpoint_s  # those that were here before may have left something unsigned
        while True:
            try:
                await self._seal()
                await asyncio.sleep(pause_s * (0.5 + self._chance() / 2))
                await self.look_at_the_newest()
                pause_s = self._settings.verify_every_s
            except CorralError as error:
                _log.warning("The audit could not be checked, will be tried again: %s", error)
                await asyncio.sleep(_PAUSE_S)
            except Exception:  # noqa: BLE001 - the next round may succeed
                _log.exception("The audit could not be checked.")
                await asyncio.sleep(_PAUSE_S)

    async def _seal(self) -> None:
        """Take in what was written before there was a chain."""
        while await self._store.seal():
            pass

    async def look_at_the_newest(self) -> int:
        """Check the newest entries of the next tenants, sign what nobody signed; returns how many tenants were looked at."""
        heads = await self._store.heads(after=self._behind, limit=_ROUND_TENANTS)
        self._behind = heads[-1].tenant if len(heads) == _ROUND_TENANTS else ""
        left = self._settings.verify_entries
        for looked, head in enumerate(heads):
            if left <= 0:
                self._behind = heads[looked - 1].tenant
                return looked
            verdict = await self.verify(head.tenant, newest=min(left, self._settings.verify_entries))
            left -= verdict.entries
            if verdict.number is None and head.signed < head.chained and head.tenant not in self._fresh:
                with contextlib.suppress(Broken):
                    await self.mark(head.tenant)
        return len(heads)
