"""How many agents one request may wake, in all the teams it goes through."""

from __future__ import annotations

import contextvars

from corral.agents.failing import AgentsExceeded


class Awake:
    """Counts. A team inside of another counts for both."""

    __slots__ = ("_above", "_most", "count")

    def __init__(self, most: int) -> None:
        """`most`: for this team; what is left of those above it binds it as well."""
        self._most = most
        self._above = _awake.get()
        self.count = 0

    @property
    def left(self) -> int:
        """How many more may be woken."""
        left = self._most - self.count
        return left if self._above is None else min(left, self._above.left)

    def wake(self, name: str) -> None:
        """One more. Raises `AgentsExceeded`."""
        if self.left <= 0:
            raise AgentsExceeded(
                f"{name} would be one agent more than this request may wake ({self._most}): raise `agents_max` of the team, or "
                "have fewer members do the work."
            )
        one: Awake | None = self
        while one is not None:
            one.count += 1
            one = one._above  # noqa: SLF001 - one of ours

    def enter(self, context: contextvars.Context) -> None:
        """Have what runs in this context count here."""
        context.run(_awake.set, self)


_awake: contextvars.ContextVar[Awake | None] = contextvars.ContextVar("corral_awake", default=None)
