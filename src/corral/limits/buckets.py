"""The arithmetic of a provider's limits: what is shared by all workers, and what one of them may take of it.

Two token buckets (requests, tokens) and slots for calls at a time. A worker takes a part of each as a lease. What is in a
bucket and what is out on leases is never more than the bucket holds; so in any stretch of time, workers together begin
no more than the limit allows, whatever the order of their exchanges and whichever of them die. A lease that is not
renewed in time is gone: its slots are free again, its tokens are lost.
"""

from __future__ import annotations

import math

import msgspec

MINUTE_S = 60.0
LEARNT_MIN = 0.1
"""However often a provider refuses, so much of the limit is tried."""
_CUT = 0.75
_CUT_APART_S = 1.0
"""Refusals that come so close together tell one thing."""
_RECOVERED_PER_S = 0.01
_FROZEN_S = 1.0
"""How long a refusal keeps everybody away that does not say how long."""
_FROZEN_MAX_S = 600.0
_BELIEVED_FROM = 0.02
"""A provider's count is believed where it is lower than ours by so much of the bucket."""
_LEASES_MAX = 10_000
_ROUNDING_S = 0.001
"""Asking a moment too early is asking twice."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator allows."""

    concurrency: int | None = 50
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokens_capacity: float | None = None
    """Most tokens that may have gathered; none: one minute's."""
    cache_read_counts: bool = True
    """Whether tokens that a provider reads from its prefix cache count; with Anthropic and Bedrock they do not."""

    @property
    def is_metered(self) -> bool:
        """Whether there is more to count than calls at a time."""
        return self.tokens_per_minute is not None or self.requests_per_minute is not None

    @property
    def tokens_max(self) -> float:
        """What the bucket of tokens holds."""
        if self.tokens_capacity is not None:
            return self.tokens_capacity
        return math.inf if self.tokens_per_minute is None else self.tokens_per_minute

    @property
    def requests_max(self) -> float:
        """What the bucket of requests holds."""
        return math.inf if self.requests_per_minute is None else self.requests_per_minute


class Lease(msgspec.Struct, array_like=True):
    """What one worker has taken, and what it waits for."""

    seq: int = 0
    until: float = 0.0
    tokens: float = 0.0
    requests: float = 0.0
    slots: int = 0
    since: float = 0.0
    """Waiting since then; 0: it does not wait."""
    need_tokens: float = 0.0
    need_requests: float = 0.0
    need_slots: int = 0


class State(msgspec.Struct, array_like=True):
    """What all workers know together of one limit."""

    at: float
    tokens: float
    requests: float
    learnt: float = 1.0
    """How much of the limit the provider seems to grant."""
    cut_at: float = 0.0
    frozen_until: float = 0.0
    seen_tokens: float = 0.0
    """The provider's own limit per minute, if it is lower than ours; 0: not said."""
    seen_requests: float = 0.0
    leases: dict[str, Lease] = {}


class Heard(msgspec.Struct, kw_only=True):
    """What a provider said since the last exchange."""

    refused: bool = False
    retry_after_s: float | None = None
    tokens_left: float | None = None
    requests_left: float | None = None
    tokens_limit: float | None = None
    requests_limit: float | None = None


class Ask(msgspec.Struct, kw_only=True):
    """One worker's side of an exchange."""

    holder: str
    seq: int
    """Counted by the holder: an exchange that was made already, and whose answer was lost, is not made again."""
    lease_s: float
    back_tokens: float = 0.0
    """Of its lease, not used; below zero: used too much."""
    back_requests: float = 0.0
    keep_tokens: float = 0.0
    """Of those, to stay in the lease: calls use them while the exchange is made."""
    keep_requests: float = 0.0
    refund: float = 0.0
    """Tokens that calls turned out not to take; below zero: that they took more than was set aside."""
    used: int = 0
    """Slots that it goes on using: of calls that run, and a few that may begin while the exchange is made."""
    need_tokens: float = 0.0
    """Of the call that waits first: this, or nothing."""
    need_requests: float = 0.0
    need_slots: int = 0
    want_tokens: float = 0.0
    """Of all that wait, and of those that will come."""
    want_requests: float = 0.0
    want_slots: int = 0
    """With those used."""
    heard: Heard | None = None


class Grant(msgspec.Struct, kw_only=True):
    """The store's side of it."""

    tokens: float = 0.0
    requests: float = 0.0
    slots: int = 0
    wait_s: float | None = None
    """What is needed will be there about then; none: it was granted, or nothing was needed."""
    frozen_s: float = 0.0
    """The provider wants to be left alone for so long."""
    tokens_left: float = 0.0
    """In the bucket."""
    tokens_per_s: float = 0.0
    """As fast as it fills at present."""
    requests_left: float = 0.0
    requests_per_s: float = 0.0
    waiting: int = 0
    """Workers that wait, without this one."""
    holders: int = 1
    """Workers that take part, with this one."""
    slots_fair: int = 0
    """More than these are to be given back when they come free."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(State)


def opened(body: bytes, rule: Rule, now: float) -> State:
    """The state that was kept; a full bucket if there was none."""
    if not body:
        return State(now, _finite(rule.tokens_max), _finite(rule.requests_max))
    return _decoder.decode(body)


def closed(state: State) -> bytes:
    """The state as it is kept."""
    return _encoder.encode(state)


def exchange(state: State, rule: Rule, ask: Ask, now: float) -> Grant:
    """Take back what a worker did not use, hear what it learnt, and give it what there is of what it wants."""
    mine = state.leases.get(ask.holder)
    if mine is not None and mine.seq == ask.seq:
        return _granted(state, rule, ask, mine, now)
    _fill(state, rule, now)
    mine = state.leases.pop(ask.holder, None)
    if mine is not None and mine.until <= now:
        mine = None
    state.tokens += min(ask.back_tokens, 0.0 if mine is None else mine.tokens)
    state.requests += min(ask.back_requests, 0.0 if mine is None else mine.requests)
    state.tokens += ask.refund
    if ask.heard is not None:
        _hear(state, rule, ask.heard, now)
    _clip(state, rule)
    lease = _lease(state, rule, ask, mine, now)
    if len(state.leases) < _LEASES_MAX and (lease.slots or lease.tokens or lease.requests or lease.since):
        state.leases[ask.holder] = lease
    return _granted(state, rule, ask, lease, now)


def tokens_per_s(state: State, rule: Rule) -> float:
    """As fast as the bucket of tokens fills now."""
    if rule.tokens_per_minute is None:
        return 0.0
    most = min(rule.tokens_per_minute, state.seen_tokens or rule.tokens_per_minute)
    return most * state.learnt / MINUTE_S


def requests_per_s(state: State, rule: Rule) -> float:
    """As fast as the bucket of requests fills now."""
    if rule.requests_per_minute is None:
        return 0.0
    most = min(rule.requests_per_minute, state.seen_requests or rule.requests_per_minute)
    return most * state.learnt / MINUTE_S


def _fill(state: State, rule: Rule, now: float) -> None:
    """Let the time pass: buckets fill, leases end, caution wears off."""
    passed = max(0.0, now - state.at)
    state.at = max(state.at, now)
    if passed:
        state.tokens += passed * tokens_per_s(state, rule)
        state.requests += passed * requests_per_s(state, rule)
        state.learnt = min(1.0, state.learnt + passed * _RECOVERED_PER_S)
    for holder in [holder for holder, lease in state.leases.items() if lease.until <= now]:
        del state.leases[holder]


def _clip(state: State, rule: Rule) -> None:
    """What is in the bucket and what is out on leases is together no more than it holds."""
    tokens_out = sum(lease.tokens for lease in state.leases.values())
    requests_out = sum(lease.requests for lease in state.leases.values())
    state.tokens = min(state.tokens, _finite(rule.tokens_max) - tokens_out)
    state.requests = min(state.requests, _finite(rule.requests_max) - requests_out)


def _hear(state: State, rule: Rule, heard: Heard, now: float) -> None:
    if heard.refused:
        pause_s = _FROZEN_S if heard.retry_after_s is None else heard.retry_after_s
        state.frozen_until = max(state.frozen_until, now + min(pause_s, _FROZEN_MAX_S))
        # Whatever we thought had gathered, the provider has nothing left.
        state.tokens, state.requests = min(state.tokens, 0.0), min(state.requests, 0.0)
        if now - state.cut_at >= _CUT_APART_S:
            state.learnt = max(LEARNT_MIN, state.learnt * _CUT)
            state.cut_at = now
    if rule.tokens_per_minute is not None:
        if heard.tokens_limit:
            state.seen_tokens = heard.tokens_limit
        if heard.tokens_left is not None and heard.tokens_left + _BELIEVED_FROM * rule.tokens_max < state.tokens:
            state.tokens = heard.tokens_left
    if rule.requests_per_minute is not None:
        if heard.requests_limit:
            state.seen_requests = heard.requests_limit
        if (
            heard.requests_left is not None
            and heard.requests_left + _BELIEVED_FROM * rule.requests_max < state.requests
        ):
            state.requests = heard.requests_left


def _lease(state: State, rule: Rule, ask: Ask, mine: Lease | None, now: float) -> Lease:
    """All of what the first call needs and as much as is fair of the rest, or nothing: half a call's tokens help nobody."""
    waiting_since = mine.since if mine is not None and mine.since else now
    before = (waiting_since, ask.holder)
    earlier = [lease for name, lease in state.leases.items() if lease.since and (lease.since, name) < before]
    among = 1 + len(state.leases)
    keep_tokens, keep_requests = (0.0, 0.0) if mine is None else (ask.keep_tokens, ask.keep_requests)
    lease = Lease(seq=ask.seq, until=now + ask.lease_s, slots=_slots(state, rule, ask, earlier))
    need_tokens = ask.need_tokens if rule.tokens_per_minute is not None else 0.0
    need_requests = ask.need_requests if rule.requests_per_minute is not None else 0.0
    tokens = state.tokens - sum(other.need_tokens for other in earlier)
    requests = state.requests - sum(other.need_requests for other in earlier)
    slots_fit = lease.slots >= ask.used + ask.need_slots
    if slots_fit and now >= state.frozen_until and tokens >= need_tokens and requests >= need_requests:
        if rule.tokens_per_minute is not None:
            lease.tokens = max(keep_tokens, _share(need_tokens, ask.want_tokens, tokens / among))
        if rule.requests_per_minute is not None:
            lease.requests = max(keep_requests, _share(need_requests, ask.want_requests, requests / among))
    else:
        lease.slots, lease.tokens, lease.requests = ask.used, keep_tokens, keep_requests
        if need_tokens or need_requests or ask.need_slots:
            lease.since = waiting_since
            lease.need_tokens, lease.need_requests, lease.need_slots = need_tokens, need_requests, ask.need_slots
    state.tokens -= lease.tokens
    state.requests -= lease.requests
    return lease


def _share(need: float, want: float, fair: float) -> float:
    """What is wanted, within what is fair; and never less than is needed, which is there."""
    return max(0.0, need, min(want, fair))


def _slots(state: State, rule: Rule, ask: Ask, earlier: list[Lease]) -> int:
    if rule.concurrency is None:
        return max(ask.used, ask.want_slots)
    most = _concurrency(state, rule)
    free = most - sum(lease.slots for lease in state.leases.values()) - sum(lease.need_slots for lease in earlier)
    wanted = ask.want_slots
    if any(lease.need_slots for lease in state.leases.values()):
        wanted = min(wanted, _fair(most, len(state.leases)))
    return max(ask.used, min(wanted, free))


def _concurrency(state: State, rule: Rule) -> int:
    """Where nothing else can be slowed down, a provider that refuses is asked less at a time."""
    most = rule.concurrency or 0
    return most if rule.is_metered else max(1, int(most * state.learnt))


def _fair(most: int, others: int) -> int:
    return max(1, most // (1 + others))


def _granted(state: State, rule: Rule, ask: Ask, lease: Lease, now: float) -> Grant:
    others = [other for name, other in state.leases.items() if name != ask.holder]
    before = (lease.since, ask.holder)
    earlier = [one for name, one in state.leases.items() if one.since and (one.since, name) < before]
    per_s, requests_s = tokens_per_s(state, rule), requests_per_s(state, rule)
    pressed = any(other.need_slots for other in others)
    most = ask.want_slots if rule.concurrency is None else _concurrency(state, rule)
    return Grant(
        tokens=lease.tokens,
        requests=lease.requests,
        slots=lease.slots,
        wait_s=_wait_s(state, lease, earlier, ask, now, per_s, requests_s) if lease.since else None,
        frozen_s=max(0.0, state.frozen_until - now),
        tokens_left=state.tokens,
        tokens_per_s=per_s,
        requests_left=state.requests,
        requests_per_s=requests_s,
        waiting=sum(1 for other in others if other.since),
        holders=1 + len(others),
        slots_fair=_fair(most, len(others)) if pressed else most,
    )


def _wait_s(
    state: State, lease: Lease, earlier: list[Lease], ask: Ask, now: float, per_s: float, requests_s: float
) -> float:
    wait_s = max(0.0, state.frozen_until - now)
    tokens = lease.need_tokens + sum(other.need_tokens for other in earlier) - state.tokens
    requests = lease.need_requests + sum(other.need_requests for other in earlier) - state.requests
    if tokens > 0 and per_s:
        wait_s = max(wait_s, tokens / per_s)
    if requests > 0 and requests_s:
        wait_s = max(wait_s, requests / requests_s)
    # Nobody knows when a call will end: for a slot, ask again before long.
    return wait_s + _ROUNDING_S if wait_s else ask.lease_s / 8


def _finite(most: float) -> float:
    return 0.0 if most == math.inf else most
