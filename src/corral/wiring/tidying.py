"""What the sweeper tidies away, in one list: every room's own, and how long it is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from corral.backends.stores import Stores
from corral.clock import SYSTEM_CLOCK, Clock, new_time_id
from corral.memory.library import ASIDE
from corral.settings.sections import Settings
from corral.workflows.forgetting import Forgetting

_HOUR_S = 3600.0
_KEYS_KEPT_S = 90 * 86_400.0
"""Keys that are over are listed for so long."""

Sweep = Callable[[], Awaitable[int]]


def what_expires(settings: Settings, stores: Stores, *, clock: Clock = SYSTEM_CLOCK) -> dict[str, Sweep]:
    """By name; each says how many went."""

    def older(sweep: Callable[..., Awaitable[int]], seconds: float) -> Sweep:
        return lambda: sweep(before=clock.now() - seconds)

    def hourly(sweep: Sweep) -> Sweep:
        """For what looks at every row: again at once while it finds some, and then not for an hour."""
        due_at = clock.monotonic()

        async def now_and_then() -> int:
            nonlocal due_at
            if clock.monotonic() < due_at:
                return 0
            gone = await sweep()
            if not gone:
                due_at = clock.monotonic() + _HOUR_S
            return gone

        return now_and_then

    async def aside() -> int:
        """Documents whose jobs have failed."""
        before = new_time_id(clock.now() - settings.memory.aside_keep_s)
        return await stores.blobs.expire(ASIDE, before=before)

    return {
        "sessions": stores.sessions.expire,
        "answers": stores.invocations.expire,
        "spans": older(stores.spans.expire, settings.observability.trace_ttl_s),
        "resources": stores.resources.expire,
        "effects": stores.tool_effects.expire,
        "artefacts": stores.tool_artefacts.expire,
        "costs": older(stores.ledger.forget, settings.limits.ledger_keep_s),
        "keys": older(stores.keys.expire, _KEYS_KEPT_S),
        "limits": hourly(stores.limits.forget),
        "budgets": stores.budgets.forget,
        "boards": stores.boards.forget,
        "memory": stores.memory.sweep,
        "aside": hourly(aside),
        "definitions": hourly(Forgetting(stores.definitions, clock=clock).sweep),
        "runs": older(stores.agent_runs.expire, settings.agents.kept_s),
    }
