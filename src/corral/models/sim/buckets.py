"""What one key may ask of one model in a minute: token buckets, as providers have them."""

from __future__ import annotations

from typing import Literal

import msgspec

MINUTE_S = 60.0


class Bucket:
    """Fills at a steady rate up to its capacity. In any span of time it gives at most capacity + rate * span."""

    __slots__ = ("_at", "_begun", "_level", "capacity", "per_minute", "taken")

    def __init__(self, per_minute: float, capacity: float, now: float) -> None:
        """Full to begin with."""
        self.per_minute = per_minute
        self.capacity = capacity
        self.taken = 0.0
        """In all, less what was put back."""
        self._level = capacity
        self._begun = self._at = now

    def level(self, now: float) -> float:
        """What is in it."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.per_minute / MINUTE_S)
            self._at = now
        return self._level

    def wait_s(self, amount: float, now: float) -> float:
        """How long until `amount` is in it; infinite if it never will be."""
        missing = amount - self.level(now)
        if missing <= 0:
            return 0.0
        return missing * MINUTE_S / self.per_minute if amount <= self.capacity else float("inf")

    def take(self, amount: float, now: float) -> None:
        """Take what is known to be there (`wait_s` is 0)."""
        self._level = self.level(now) - amount
        self.taken += amount

    def put_back(self, amount: float, now: float) -> None:
        """Give back what was taken and not needed."""
        self._level = min(self.capacity, self.level(now) + amount)
        self.taken -= amount

    def allowed(self, now: float) -> float:
        """The most that could have been taken until now."""
        return self.capacity + (now - self._begun) * self.per_minute / MINUTE_S

    def full_in_s(self, now: float) -> float:
        """How long until it is full."""
        return (self.capacity - self.level(now)) * MINUTE_S / self.per_minute


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a call may go on, and what it is told about its limits."""

    wait_s: float = 0.0
    """0: it may; infinite: it never will."""
    kind: Literal["", "requests", "tokens"] = ""
    """What there was too little of."""
    requests: tuple[int, int, float] | None = None
    """Limit, left, and seconds until it is whole again."""
    tokens: tuple[int, int, float] | None = None


UNLIMITED = Verdict()


class Allowance:
    """The requests and tokens of one key with one model."""

    def __init__(self, rpm: float | None, tpm: float | None, burst_s: float, now: float) -> None:
        """`burst_s`: so many seconds' worth may gather."""
        self.requests = Bucket(rpm, max(1.0, rpm * burst_s / MINUTE_S), now) if rpm else None
        self.tokens = Bucket(tpm, max(1.0, tpm * burst_s / MINUTE_S), now) if tpm else None

    def admit(self, tokens: int, now: float) -> Verdict:
        """Take one request and so many tokens: both, or neither."""
        for kind, bucket, amount in (("requests", self.requests, 1), ("tokens", self.tokens, tokens)):
            wait = bucket.wait_s(amount, now) if bucket is not None else 0.0
            if wait > 0:
                return self._said(now, wait, "requests" if kind == "requests" else "tokens")
        if self.requests is not None:
            self.requests.take(1, now)
        if self.tokens is not None:
            self.tokens.take(tokens, now)
        return self._said(now)

    def put_back(self, tokens: int, now: float) -> None:
        """Give back tokens that were set aside and not written."""
        if self.tokens is not None:
            self.tokens.put_back(tokens, now)

    def _said(self, now: float, wait_s: float = 0.0, kind: Literal["", "requests", "tokens"] = "") -> Verdict:
        return Verdict(wait_s=wait_s, kind=kind, requests=_seen(self.requests, now), tokens=_seen(self.tokens, now))


def _seen(bucket: Bucket | None, now: float) -> tuple[int, int, float] | None:
    return None if bucket is None else (int(bucket.per_minute), int(bucket.level(now)), bucket.full_in_s(now))
