"""How far a run may go: limits, and telling when it goes round in circles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from corral.agents.event import UsageSeen
from corral.agents.failing import (
    CostExceeded,
    HandOffsExceeded,
    LoopDetected,
    StepsExceeded,
    TimeExceeded,
    TokensExceeded,
    ToolCallsExceeded,
)
from corral.agents.journal import RunState
from corral.settings.agent_sections import AgentSettings

T = TypeVar("T")

_PERIOD_MAX = 3
_CYCLES = 2
"""Going to and fro between several is no progress when it comes a second time; the same call may well be worth a third try."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run of an agent may go. What is none is as the settings say (`agents.steps`, …)."""

    steps: int | None = None
    """Questions to its model."""
    tool_calls: int | None = None
    seconds: float | None = None
    """From when it began or went on; what it waits for people does not count."""
    tokens: int | None = None
    """Read and written."""
    usd: float | None = None
    hand_offs: int | None = None
    repeats: int | None = None
    """The same calls with the same results so many times in a row; 0: never stopped for that."""
    repairs: int | None = None
    """How often an answer that does not fit may be mended."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for what can never be kept."""
        for name in ("steps", "tool_calls", "seconds", "tokens", "usd"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(
                    f"A limit of {value!r} {name} stops every run before it begins: it is more than 0, or none."
                )
        for name in ("hand_offs", "repeats", "repairs"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"`{name}` is 0 or more, not {value!r}.")


class Bounds:
    """The limits of one run, with nothing left open."""

    __slots__ = ("deadline", "hand_offs", "repairs", "repeats", "seconds", "steps", "tokens", "tool_calls", "usd")

    def __init__(self, limits: Limits, settings: AgentSettings, *, now: float) -> None:
        """`now` is on the monotonic clock: when the run begins, or goes on."""
        self.steps = _either(limits.steps, settings.steps)
        self.tool_calls = _either(limits.tool_calls, settings.tool_calls)
        self.seconds = _either(limits.seconds, settings.seconds)
        self.tokens = _either(limits.tokens, settings.tokens)
        self.usd = _either(limits.usd, settings.usd)
        self.hand_offs = _either(limits.hand_offs, settings.hand_offs)
        self.repeats = _either(limits.repeats, settings.repeats)
        self.repairs = _either(limits.repairs, settings.repairs)
        self.deadline = now + self.seconds

    def check_time(self, now: float) -> None:
        """Raise if time is up."""
        if now >= self.deadline:
            raise TimeExceeded(
                f"The agent took longer than {self.seconds:g} s: raise `seconds` of its limits if it may."
            )

    def check_spent(self, state: RunState) -> None:
        """Raise if the run may not go on because of what it has taken. A price that is not known costs nothing here."""
        if self.tokens is not None and state.usage.total > self.tokens:
            raise TokensExceeded(f"The agent used {state.usage.total} tokens, and may use {self.tokens} in one run.")
        if self.usd is not None and state.cost_usd > self.usd:
            raise CostExceeded(f"The agent cost {state.cost_usd:.4f} USD, and may cost {self.usd:g} in one run.")
        if state.hand_offs > self.hand_offs:
            raise HandOffsExceeded(f"The work was handed on {state.hand_offs} times; it may be {self.hand_offs} times.")

    def check_step(self, state: RunState) -> None:
        """Raise if no further question may be asked."""
        if state.step >= self.steps:
            raise StepsExceeded(
                f"The agent took {state.step} steps and was not done: raise `steps` of its limits, or give it less to do at once."
            )
        circle = going_round(state.turns, self.repeats)
        if circle:
            raise LoopDetected(
                f"The agent {circle}, each time with the same result. Its last tools: {', '.join(state.tools_called[-5:])}."
            )

    def check_calls(self, state: RunState) -> None:
        """Raise if the calls that are pending are more than may be made."""
        wanted = state.tool_calls + len(state.pending)
        if wanted > self.tool_calls:
            raise ToolCallsExceeded(
                f"The agent wants its {wanted}. call of a tool, and may make {self.tool_calls} in one run."
            )


class Together:
    """What several agents took of their common limits: of a team, whoever of its members asked."""

    __slots__ = ("_limits", "_name", "_steps", "_tokens", "_usd")

    def __init__(self, name: str, limits: Limits) -> None:
        """Nothing yet."""
        self._name = name
        self._limits = limits
        self._usd = 0.0
        self._tokens = 0
        self._steps = 0

    def add(self, seen: UsageSeen) -> None:
        """One of them asked a model. Raises if they may not go on. A price that is not known costs nothing here."""
        limits = self._limits
        self._steps += 1
        self._tokens += seen.usage.total
        self._usd += seen.cost_usd or 0.0
        if limits.usd is not None and self._usd > limits.usd:
            raise CostExceeded(
                f"{self._name} spent ${self._usd:.4f} with all its members, and may spend ${limits.usd:g}."
            )
        if limits.tokens is not None and self._tokens > limits.tokens:
            raise TokensExceeded(
                f"{self._name} used {self._tokens} tokens with all its members, and may use {limits.tokens}."
            )
        if limits.steps is not None and self._steps > limits.steps:
            raise StepsExceeded(f"{self._name} asked models {self._steps} times, and may ask {limits.steps} times.")


def going_round(turns: Sequence[object], repeats: int) -> str:
    """How the run goes round in circles, in words; empty: it does not. A turn is what its calls and their results come to."""
    if not repeats or not turns or (repeats > 1 and turns[-1] not in turns[-1 - _PERIOD_MAX : -1]):
        return ""
    last = turns[-max(repeats, _PERIOD_MAX * _CYCLES) :]
    if len(last) >= repeats and all(turn == last[-1] for turn in last[-repeats:]):
        return f"made the same call {repeats} times" if repeats > 1 else "made a call"
    for period in range(2, _PERIOD_MAX + 1):
        window = last[-period * _CYCLES :]
        if len(window) == period * _CYCLES and window[:period] == window[period:]:
            return f"went to and fro between {period} calls, {_CYCLES} times"
    return ""


def _either(own: T | None, house: T) -> T:
    return house if own is None else own
