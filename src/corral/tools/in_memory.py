"""What came of calls, where there is no service and no store: remembered by this process alone, and no longer than it lives."""

from __future__ import annotations

from collections import OrderedDict

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import IdempotencyKeyReused
from corral.tools.store import Begun, Claim, Ended, Running, Unknown


class _Effect:
    __slots__ = ("begun_at", "expires_at", "fingerprint", "lease_until", "reply", "token", "tool", "ttl_s")

    def __init__(self, fingerprint: str, tool: str, now: float, lease_s: float, ttl_s: float) -> None:
        self.fingerprint = fingerprint
        self.tool = tool
        self.token = new_id()
        self.begun_at = now
        self.lease_until = now + lease_s
        self.ttl_s = ttl_s
        self.expires_at = now + ttl_s
        self.reply: bytes | None = None


class EffectsInMemory:
    """`ToolEffects` for a script. Bounded: when there are too many, the oldest that ended go first."""

    def __init__(self, *, keys_max: int = 10_000, clock: Clock = SYSTEM_CLOCK) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[tuple[str, str], _Effect] = OrderedDict()
        self._keys_max = keys_max
        self._now = clock.now

    async def begin(
        self, tenant: str, key: str, fingerprint: str, *, tool: str, lease_s: float, ttl_s: float, take_over: bool
    ) -> Claim:
        """Claim a key."""
        now = self._now()
        known = self._known.get((tenant, key))
        again = False
        if known is not None and (known.expires_at > now or (known.reply is None and known.lease_until > now)):
            if known.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            if known.reply is not None:
                return Ended(known.reply)
            if known.lease_until > now:
                return Running(known.lease_until - now)
            if not take_over:
                return Unknown(known.tool, known.begun_at)
            again = True
        self._known.pop((tenant, key), None)
        if len(self._known) >= self._keys_max:
            self._make_room()
        made = self._known[tenant, key] = _Effect(fingerprint, tool, now, lease_s, ttl_s)
        return Begun(made.token, again)

    def _make_room(self) -> None:
        for place, effect in self._known.items():
            if effect.reply is not None:
                del self._known[place]
                return
        self._known.popitem(last=False)

    async def renew(self, tenant: str, key: str, token: str, *, lease_s: float) -> bool:
        """Keep a claim alive."""
        effect = self._claimed(tenant, key, token)
        if effect is None:
            return False
        effect.lease_until = self._now() + lease_s
        return True

    async def finish(self, tenant: str, key: str, token: str, reply: bytes) -> bool:
        """Remember what came of it."""
        effect = self._known.get((tenant, key))
        if effect is None or effect.token != token:
            return False
        effect.reply = reply
        effect.expires_at = self._now() + effect.ttl_s
        return True

    async def lose(self, tenant: str, key: str, token: str) -> None:
        """Nobody will know."""
        effect = self._claimed(tenant, key, token)
        if effect is not None:
            effect.lease_until = self._now()

    async def give_up(self, tenant: str, key: str, token: str) -> None:
        """Nothing has happened."""
        if self._claimed(tenant, key, token) is not None:
            del self._known[tenant, key]

    async def expire(self, *, limit: int = 1000) -> int:
        """Sweep."""
        now = self._now()
        gone = [
            place
            for place, effect in self._known.items()
            if effect.expires_at <= now and (effect.reply is not None or effect.lease_until <= now)
        ][:limit]
        for place in gone:
            del self._known[place]
        return len(gone)

    def _claimed(self, tenant: str, key: str, token: str) -> _Effect | None:
        effect = self._known.get((tenant, key))
        return effect if effect is not None and effect.token == token and effect.reply is None else None
