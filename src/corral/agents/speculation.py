"""Speculation: what the model will probably ask for next is fetched while it still thinks."""

from __future__ import annotations

from collections import OrderedDict

from corral.agents.ahead import Ahead
from corral.agents.payback import Outcome, Payback
from corral.agents.speculating import SpeculationCounting
from corral.agents.transitions import Transitions
from corral.clock import SYSTEM_CLOCK, Clock
from corral.messages import Caller, CallModel, CallTool
from corral.tools.toolbox import Toolbox

_PAYBACKS_MAX = 500


class Speculation:
    """Calls tools ahead for one agent, and learns which calls are worth it: `Agent(…, speculation=Speculation())`.

    Only tools that are marked both `read_only` and `idempotent` are ever called ahead, through the same layers as any call: what is
    forbidden is forbidden, and audited. A result is used for the very same call alone; all else is thrown away. A tool
    whose calls ahead do not pay is left alone for a while, and tried again.
    """

    def __init__(
        self,
        *,
        chance_min: float = 0.5,
        at_once: int = 3,
        running_max: int = 64,
        hits_min: float = 0.3,
        usd_per_s_max: float = 0.01,
        seen_min: int = 2,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`chance_min`: how likely a call must be; `at_once`: calls ahead in one run, `running_max` in all runs of this process.

        A tool is left alone when less than `hits_min` of its calls were of use, or when a saved second costs more than
        `usd_per_s_max`. `seen_min`: how often something must have been seen to be a pattern.
        """
        self.chance_min = chance_min
        self.at_once = at_once
        self.seen_min = seen_min
        self.transitions = Transitions()
        self.running = 0
        """Calls ahead that run now, of all runs."""
        self._running_max = running_max
        self._hits_min = hits_min
        self._usd_per_s_max = usd_per_s_max
        self._clock = clock
        self._paybacks: OrderedDict[str, Payback] = OrderedDict()
        self.hits = 0
        self.misses = 0
        self.saved_s = 0.0
        self.wasted_usd = 0.0

    @property
    def hit_rate(self) -> float:
        """The share of all calls ahead that was of use; 0 before the first."""
        made = self.hits + self.misses
        return self.hits / made if made else 0.0

    def run(
        self,
        tools: Toolbox,
        *,
        ask: CallModel,
        call: CallTool,
        caller: Caller,
        tainted: tuple[str, ...] = (),
        counting: SpeculationCounting | None = None,
    ) -> Ahead:
        """For one run: around its way to the model and to its tools."""
        return Ahead(
            self, tools, ask=ask, call=call, caller=caller, tainted=tainted, counting=counting, clock=self._clock
        )

    def may(self, tools: Toolbox, name: str) -> bool:
        """Whether this tool may be called ahead now."""
        tool = tools.find(name)
        if tool is None or not (tool.marks.read_only and tool.marks.idempotent) or tool.marks.approval:
            return False
        return self.running < self._running_max and self.payback(name).on

    def payback(self, name: str) -> Payback:
        """What calls ahead of this tool are worth."""
        found = self._paybacks.get(name)
        if found is None:
            found = self._paybacks[name] = Payback(
                clock=self._clock, hits_min=self._hits_min, usd_per_s_max=self._usd_per_s_max
            )
            if len(self._paybacks) > _PAYBACKS_MAX:
                self._paybacks.popitem(last=False)
        return found

    def over(self, name: str, outcome: Outcome) -> None:
        """What became of one."""
        self.payback(name).add(outcome)
        if outcome.hit:
            self.hits += 1
            self.saved_s += outcome.saved_s
        else:
            self.misses += 1
            self.wasted_usd += outcome.wasted_usd
