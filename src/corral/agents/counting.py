"""The numbers of agents: `corral_agents_*`."""

from __future__ import annotations

from corral.agents.journal import RunState
from corral.observability.metrics import Distribution, Metrics, Value

STEPS = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0)
_AGENTS_MAX = 200


class AgentCounting:
    """Counts runs, and what they took."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._runs = m.counter(
            "corral_agents_runs_total",
            "Runs of agents that ended or paused, by how: `done`, `paused`, `cancelled`, or why they failed.",
            "agent",
            "outcome",
        )
        self._seconds = m.histogram("corral_agents_run_seconds", "How long runs worked.", "agent")
        self._steps = m.histogram("corral_agents_steps", "Steps of runs that ended.", "agent", bounds=STEPS)
        self._calls = m.counter("corral_agents_tool_calls_total", "Calls of tools by runs that ended.", "agent")
        self._running = m.gauge("corral_agents_running", "Runs that work now.", "agent")
        self._teams = m.counter(
            "corral_agents_team_runs_total",
            "Runs of teams and planners, by how they work together and how it ended.",
            "pattern",
            "outcome",
        )
        self._by_agent: dict[str, tuple[Distribution, Distribution, Value, Value]] = {}
        self._ends: dict[tuple[str, str], Value] = {}

    def began(self, agent: str) -> None:
        """A run begins to work, or goes on."""
        self._of(agent)[3].value += 1

    def ended(self, agent: str, outcome: str, state: RunState, seconds: float) -> None:
        """It has stopped working, for good or for now."""
        took, steps, calls, running = self._of(agent)
        running.value -= 1
        took.observe(seconds)
        if outcome != "paused":
            steps.observe(state.step)
            calls.value += state.tool_calls
        key = (agent, outcome)
        count = self._ends.get(key)
        if count is None:
            count = self._ends[key] = self._runs.value(*key)
        count.value += 1

    def team(self, pattern: str, outcome: str) -> None:
        """Several worked on a request together, and are done with it or wait."""
        self._teams.value(pattern, outcome).value += 1

    def _of(self, agent: str) -> tuple[Distribution, Distribution, Value, Value]:
        found = self._by_agent.get(agent)
        if found is None:
            found = (
                self._seconds.distribution(agent),
                self._steps.distribution(agent),
                self._calls.value(agent),
                self._running.value(agent),
            )
            if len(self._by_agent) < _AGENTS_MAX:
                self._by_agent[agent] = found
        return found
