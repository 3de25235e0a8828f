"""The numbers of workflows: `corral_workflows_*`."""

from __future__ import annotations

from collections.abc import Iterable

from corral.observability.metrics import Metrics
from corral.workflows.moving import Moved
from corral.workflows.store import ESCALATION, STOPPING

FIRST_TASK_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class Counting:
    """Counts what this process moves."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        """Declare them. Without `metrics` nobody looks."""
        m = metrics or Metrics()
        self._executions = m.counter(
            "corral_workflows_executions_total", "Executions, by how they stand.", "kind", "status"
        )
        self._transitions = m.counter("corral_workflows_transitions_total", "States that were entered.", "kind")
        self._moves = m.counter(
            "corral_workflows_moves_total",
            "Transactions that moved an execution, by whether they were the first to.",
            "outcome",
        )
        self._tasks = m.counter("corral_workflows_tasks_total", "Tasks that were given out, by who does them.", "kind")
        self._escalations = m.counter(
            "corral_workflows_escalations_total", "Questions that were put to somebody else, for nobody had answered."
        )
        self._unheard = m.counter(
            "corral_workflows_answers_unheard_total", "Ends of executions that nobody waited for any more."
        )
        self._open = m.gauge("corral_workflows_open", "Executions that have not ended.", of_workers="highest")
        self._first = m.histogram(
            "corral_workflows_first_task_seconds",
            "From the start of an execution until its first task was given out.",
            bounds=FIRST_TASK_SECONDS,
        )

    def open(self, count: int) -> None:
        """So many executions run, in all processes."""
        self._open.value().set(count)

    def moved(self, moved: Moved) -> None:
        """A move was written down."""
        move = moved.move
        if moved.is_new:
            self._executions.value("STANDARD", "RUNNING").value += 1
        if move.status != "RUNNING":
            self._executions.value("STANDARD", move.status).value += 1
        self._moves.value("written").value += 1
        self._transitions.value("STANDARD").value += moved.entered
        for task in move.opened:
            if task.kind == "answer" and task.resource == ESCALATION:
                self._escalations.value().value += 1
            elif task.kind != "answer" or task.resource != STOPPING:
                self._tasks.value(task.kind).value += 1

    def refused(self) -> None:
        """Somebody else was quicker."""
        self._moves.value("refused").value += 1

    def first_task(self, waited_s: float) -> None:
        """The first task of an execution was given out."""
        self._first.distribution().observe(waited_s)

    def express(self, status: str, entered: int) -> None:
        """An express execution began (`RUNNING`), or ended."""
        self._executions.value("EXPRESS", status).value += 1
        self._transitions.value("EXPRESS").value += entered

    def unheard(self) -> None:
        """Nobody waited for the end of an execution any more."""
        self._unheard.value().value += 1


def entered(types: Iterable[str]) -> int:
    """How many states were entered, by the types of events."""
    return sum(name.endswith("StateEntered") for name in types)
