"""The arithmetic of a budget: what was spent of it, what workers hold of it, and what one of them may still take.

A worker holds money in the account before it spends it: what its calls in flight will probably cost, and a little more.
It says what it spent in one growing sum, so that saying it twice is saying it once. What a worker holds whose lease ran out
is free again; what it had said is spent.
"""

from __future__ import annotations

import math

import msgspec

NANO = 1_000_000_000
"""Of a dollar: money is counted in whole ones, so that sums are exact."""
_FORGET_S = 3600.0
"""After its lease, a worker that says nothing is forgotten."""
_ADVANCE = 8
"""No worker takes more in advance than this part of what is free: the nearer the end, the less."""

_NEAR = 0.9
"""A call that is refused further from the end asked for too much at once, and no more."""

_encode = msgspec.msgpack.Encoder().encode


class Amount(msgspec.Struct, frozen=True, array_like=True):
    """Money and tokens."""

    nano: int = 0
    """Of a dollar."""
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.nano + other.nano, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.nano - other.nano, self.tokens - other.tokens)

    @property
    def usd(self) -> float:
        """The money in dollars."""
        return self.nano / NANO


NOTHING = Amount()


def amount_of(usd: float | None, tokens: float = 0) -> Amount:
    """What dollars and tokens come to, rounded up; less than nothing is nothing."""
    return Amount(max(0, math.ceil((usd or 0.0) * NANO - 1e-6)), max(0, math.ceil(tokens)))


def shown_usd(usd: float) -> str:
    """Money for people: with cents, and more digits where it is less than those."""
    return f"${usd:,.2f}" if usd >= 1 or usd == round(usd, 2) else f"${usd:.6f}".rstrip("0")


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """How much may be spent; none: as much as one likes."""

    nano: int | None = None
    tokens: int | None = None

    @property
    def usd(self) -> float | None:
        """The money in dollars."""
        return None if self.nano is None else self.nano / NANO

    def level(self, spent: Amount) -> float:
        """Which part of it this is: of money or of tokens, whichever is nearer to its end."""
        parts = [_part(spent.nano, self.nano), _part(spent.tokens, self.tokens)]
        return max(parts)

    def cut(self, share: float) -> Terms:
        """A share of it."""
        if share == 1.0:
            return self
        nano, tokens = (None if one is None else math.floor(one * share) for one in (self.nano, self.tokens))
        return Terms(nano, tokens)


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """What one worker has to do with an account."""

    held: Amount
    until: float
    """What is held is free again then, by the store's clock."""
    said: Amount
    """What it has spent in all, as far as that is counted."""


class Account(msgspec.Struct, frozen=True, array_like=True):
    """One budget of one of those it is counted for, in one period."""

    spent: Amount = NOTHING
    holds: dict[str, Hold] = {}
    """By worker."""
    told: tuple[float, ...] = ()
    """The steps of which somebody was told."""

    def encoded(self) -> bytes:
        """As it is kept."""
        return _encode(self)

    def held(self, now: float, *, beside: str = "") -> Amount:
        """What workers hold together, without one of them."""
        held = NOTHING
        for worker, hold in self.holds.items():
            if worker != beside and hold.until > now:
                held += hold.held
        return held


decode_account = msgspec.msgpack.Decoder(Account).decode
encode_terms = _encode
decode_terms = msgspec.msgpack.Decoder(Terms).decode


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says to an account, and wants of it."""

    worker: str
    said: Amount
    """What it has spent in this account, in all."""
    counted: Amount
    """What of that the account had counted when it last answered."""
    using: Amount = NOTHING
    """What its calls in flight will probably cost."""
    need: Amount = NOTHING
    """For one more call: this, or nothing."""
    more: Amount = NOTHING
    """What it will probably need soon."""
    lease_s: float = 30.0
    steps: tuple[float, ...] = ()
    """At which parts of the terms somebody is told."""
    hard: float = 1.0
    """The step at which calls are refused: who is refused near it has reached it."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    given: bool
    """Whether what was needed was there."""
    held: Amount
    spent: Amount
    """By all."""
    others: Amount
    """What other workers hold."""
    news: tuple[float, ...] = ()
    """Steps that are reached, and of which nobody was told yet."""


def exchanged(account: Account, ask: Ask, *, terms: Terms, most: Terms, now: float) -> tuple[Account, Grant]:
    """An account after an ask, and what came of it.

    Steps are parts of `terms`; nothing is given beyond `most`. What was spent is counted whatever is given.
    """
    mine = account.holds.get(ask.worker)
    spent = account.spent + (ask.said - (ask.counted if mine is None else mine.said))
    others = account.held(now, beside=ask.worker)
    left = [
        None if limit is None else limit - gone
        for limit, gone in (
            (most.nano, spent.nano + others.nano + ask.using.nano),
            (most.tokens, spent.tokens + others.tokens + ask.using.tokens),
        )
    ]
    given = all(
        free is None or need <= max(free, 0) for free, need in zip(left, (ask.need.nano, ask.need.tokens), strict=True)
    )
    held = ask.using
    if given:
        advance = Amount(
            _advance(left[0], ask.need.nano, ask.more.nano), _advance(left[1], ask.need.tokens, ask.more.tokens)
        )
        held = held + ask.need + advance
    level = terms.level(spent)
    if not given and level >= ask.hard * _NEAR:
        level = max(level, ask.hard)
    news = tuple(at for at in ask.steps if at <= level and at not in account.told)
    holds = {worker: hold for worker, hold in account.holds.items() if hold.until + _FORGET_S > now}
    holds[ask.worker] = Hold(held, now + ask.lease_s, ask.said)
    return (
        Account(spent, holds, (*account.told, *news)),
        Grant(given=given, held=held, spent=spent, others=others, news=news),
    )


def _advance(free: int | None, need: int, more: int) -> int:
    return more if free is None else max(0, min(more, (free - need) // _ADVANCE))


def _part(spent: int, limit: int | None) -> float:
    if limit is None:
        return 0.0
    return spent / limit if limit else 1.0
