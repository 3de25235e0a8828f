"""A `TurnStore` against a model of it: whatever is done in whatever order, both agree on every answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.clock import new_id
from corral.errors import CorralError, SessionBusy, SessionQueueFull, TurnLost
from corral.sessions.event import SessionKey
from corral.testing.contracts.setting import Contract, said, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.backends.stores import Stores
    from corral.sessions.store import TurnPolicy

_LEASE_S = 3600.0
_TURNS = st.sampled_from("abcde")
_WAITING_MAX = 3


class Step(NamedTuple):
    """One thing somebody does; `alive`: its lease is long, or else over at once."""

    what: str
    turn: str
    policy: TurnPolicy = "enqueue"
    alive: bool = True


_JOIN = st.builds(
    Step,
    what=st.just("join"),
    turn=_TURNS,
    policy=st.sampled_from(["enqueue", "enqueue", "reject", "interrupt", "rollback"]),
    alive=st.sampled_from([True, True, True, False]),
)
_OTHER = st.builds(
    Step,
    what=st.sampled_from(["claim", "leave", "leave with words", "append", "renew", "delete"]),
    turn=_TURNS,
    alive=st.sampled_from([True, True, False]),
)
_STEPS = st.lists(_JOIN | _OTHER, max_size=25)


@dataclass
class Ticket:
    """A place in the model's line."""

    turn: str
    alive: bool


@dataclass
class Model:
    """The line as its promise reads, without any database."""

    line: list[Ticket] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)

    def do(self, step: Step, words: str) -> Any:
        """The answer that the store must give, or the error class that it must raise."""
        action: Callable[[Step, str], Any] = getattr(self, "_" + step.what.replace(" ", "_"))
        return action(step, words)

    def _find(self, turn: str) -> Ticket | None:
        return next((ticket for ticket in self.line if ticket.turn == turn), None)

    def _holds(self, turn: str) -> bool:
        return bool(self.line) and self.line[0].turn == turn

    def _join(self, step: Step, words: str) -> Any:
        if self._find(step.turn):
            return self._claim(step, words)
        live = sum(ticket.alive for ticket in self.line)
        if step.policy == "reject" and live:
            return SessionBusy
        if step.policy in ("enqueue", "reject"):
            if live and live - 1 >= _WAITING_MAX:
                return SessionQueueFull
            self.line = [ticket for ticket in self.line if ticket.alive]
        else:
            voided = {ticket.turn for ticket in self.line}
            if step.policy == "rollback":
                self.said = [(turn, text) for turn, text in self.said if turn not in voided]
            self.line = []
        self.line.append(Ticket(step.turn, step.alive))
        return len(self.line) == 1

    def _claim(self, step: Step, _: str) -> Any:
        mine = self._find(step.turn)
        if mine is None:
            return TurnLost
        place = self.line.index(mine)
        if any(ticket.alive for ticket in self.line[:place]):
            return False
        self.line = self.line[place:]
        return True

    def _leave(self, step: Step, _: str) -> Any:
        self.line = [ticket for ticket in self.line if ticket.turn != step.turn]

    def _leave_with_words(self, step: Step, words: str) -> Any:
        if not self._holds(step.turn):
            return TurnLost
        self.said.append((step.turn, words))
        return self._leave(step, words)

    def _append(self, step: Step, words: str) -> Any:
        if not self._holds(step.turn):
            return TurnLost
        self.said.append((step.turn, words))
        return None

    def _renew(self, step: Step, _: str) -> Any:
        mine = self._find(step.turn)
        if mine is None:
            return [step.turn]
        mine.alive = step.alive
        return []

    def _delete(self, *_: object) -> Any:
        self.line, self.said = [], []


async def _really(stores: Stores, key: SessionKey, step: Step, words: str) -> Any:
    lease_s = _LEASE_S if step.alive else 0.0
    try:
        match step.what:
            case "join":
                return await stores.turns.join(
                    key, step.turn, policy=step.policy, lease_s=lease_s, waiting_max=_WAITING_MAX
                )
            case "claim":
                return await stores.turns.claim(key, step.turn)
            case "leave":
                return await stores.turns.leave(key, step.turn)
            case "leave with words":
                return await stores.turns.leave(key, step.turn, drafts=[said(words)])
            case "append":
                await stores.sessions.append(key, [said(words)], turn=step.turn)
            case "renew":
                return await stores.turns.renew([(key, step.turn)], lease_s=lease_s)
            case "delete":
                await stores.sessions.delete(key.tenant, session_id=key.session_id)
    except CorralError as error:
        return type(error)


class TurnModelContract(Contract):
    """Any sequence of steps, by two processes in turn."""

    async def test_store_and_model_agree(self, stores: Stores, other_stores: Stores) -> None:
        async def play(steps: list[Step]) -> None:
            key = SessionKey("acme", new_id())
            model = Model()
            for number, step in enumerate(steps):
                words = f"{number}"
                expected = model.do(step, words)
                assert await _really((stores, other_stores)[number % 2], key, step, words) == expected, step
                assert await texts(stores, key) == [text for _, text in model.said]

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(_STEPS)
        def explore(steps: list[Step]) -> None:
            asyncio.run(play(steps))

        await asyncio.to_thread(explore)
