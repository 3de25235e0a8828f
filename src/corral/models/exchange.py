"""What is known of a call once it is over."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from corral.messages import EmbedCall, ModelCall, Usage


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a provider, or one answer that was kept: what is counted, billed and traced."""

    id: str
    provider: str
    model: str
    """`provider/model`."""
    started_at: float
    duration_s: float
    first_s: float | None = None
    """Until the first piece of a stream."""
    outcome: str = "ok"
    """`ok`, the code of an error, or `cancelled`: who asked did not wait for the end."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    """None: no price is known."""
    cached: str = ""
    """As in `ModelReply`; empty: the provider was asked."""


Record = Callable[[ModelCall | EmbedCall, Exchange], None]
"""Takes what is known of a call that is over. Quick, and never raises."""
