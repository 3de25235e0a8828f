"""The numbers of tools: `corral_tools_*`."""

from __future__ import annotations

from corral.messages import ToolReply
from corral.observability.metrics import Metrics
from corral.tools.stack import Use

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ToolCounting:
    """Counts calls, and what they took."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._calls = m.counter("corral_tools_calls_total", "Calls of tools, by how they ended.", "tool", "outcome")
        self._duration = m.histogram(
            "corral_tools_duration_seconds", "How long calls of tools took.", "tool", bounds=_SECONDS
        )
        self._retries = m.counter("corral_tools_retries_total", "Attempts after the first.", "tool")
        self._abandoned = m.counter(
            "corral_tools_abandoned_total", "Calls that were given up and went on all the same.", "tool"
        )
        self._spilled = m.counter("corral_tools_spilled_total", "Results too long for a conversation.", "tool")
        self._hung = m.gauge("corral_tools_hung_threads", "Threads in the middle of calls that were given up.").value()
        self._cost = m.counter("corral_tools_cost_usd_total", "What tools cost, where they say.", "tool")

    def over(self, use: Use, reply: ToolReply | None, seconds: float) -> None:
        """A call is over. Kept and replayed results count, and took no time of the tool's."""
        name = use.tool.name
        if reply is None:
            outcome = "cancelled"
        elif reply.fault is not None:
            outcome = reply.fault.code
        else:
            outcome = reply.cached or "ok"
        self._calls.value(name, outcome).value += 1
        if reply is not None and reply.cached:
            return
        self._duration.distribution(name).observe(seconds)
        if reply is not None and reply.cost_usd:
            self._cost.value(name).value += reply.cost_usd

    def retried(self, tool: str) -> None:
        """A tool is called once more."""
        self._retries.value(tool).value += 1

    def lost(self, tool: str) -> None:
        """A call was given up and goes on all the same."""
        self._abandoned.value(tool).value += 1

    def spilled(self, tool: str) -> None:
        """A result was too long."""
        self._spilled.value(tool).value += 1

    def hung(self, threads: int) -> None:
        """So many threads are in the middle of calls that nobody waits for."""
        self._hung.set(threads)
