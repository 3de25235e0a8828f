"""How limits stand, as headers: `RateLimit-*` for everybody, `x-ratelimit-*` for clients of OpenAI's API."""

from __future__ import annotations

import math
from collections.abc import Sequence

from corral.limits.rates import Passed

Header = tuple[bytes, bytes]


def headers_of(stands: Sequence[Passed]) -> list[Header]:
    """`RateLimit-*` of the limit with the least left, and the policies of all."""
    if not stands:
        return []
    tight = _tightest(stands)
    policies = ", ".join(f"{one.rule.rate.limit:g};w={one.rule.rate.window_s:g};name={one.rule.name}" for one in stands)
    return [
        (b"ratelimit-limit", b"%d" % tight.rule.rate.limit),
        (b"ratelimit-remaining", b"%d" % _left(tight)),
        (b"ratelimit-reset", b"%d" % math.ceil(tight.standing.reset_s)),
        (b"ratelimit-policy", policies.encode()),
    ]


def openai_headers_of(stands: Sequence[Passed]) -> list[Header]:
    """As OpenAI says it, for requests and for tokens."""
    headers: list[Header] = []
    for unit in ("requests", "tokens"):
        some = [one for one in stands if one.rule.rate.unit == unit]
        if some:
            tight = _tightest(some)
            kind = unit.encode()
            headers += [
                (b"x-ratelimit-limit-" + kind, b"%d" % tight.rule.rate.limit),
                (b"x-ratelimit-remaining-" + kind, b"%d" % _left(tight)),
                (b"x-ratelimit-reset-" + kind, _duration(tight.standing.reset_s)),
            ]
    return headers


def _tightest(stands: Sequence[Passed]) -> Passed:
    """The one that refuses, else the one with the least left of what it allows."""
    return min(stands, key=lambda one: (one.standing.passes, one.standing.remaining / one.rule.rate.limit))


def _left(one: Passed) -> int:
    return int(one.standing.remaining) if one.standing.passes else 0


def _duration(seconds: float) -> bytes:
    """`6m12s`, `120ms`."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    said = f"{hours}h" * bool(hours) + f"{minutes}m" * bool(hours or minutes) + f"{rest}s"
    return said.encode()
