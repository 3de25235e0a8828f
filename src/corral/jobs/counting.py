"""The numbers of jobs: `corral_jobs_*`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from corral.jobs.job import ClaimedJob, EndingKind, QueueStats
from corral.observability.metrics import Distribution, Metrics, Value

WAIT_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class JobCounting:
    """Counts what a worker does, and shows how full the queues are."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._total = m.counter("corral_jobs_total", "Runs of jobs that ended, by how.", "queue", "outcome")
        self._wait = m.histogram(
            "corral_jobs_wait_seconds", "From when a job was enqueued until it ran.", "queue", bounds=WAIT_SECONDS
        )
        self._run = m.histogram("corral_jobs_run_seconds", "How long runs took.", "queue")
        self._running = m.gauge("corral_jobs_running", "Jobs that run in this server.", "queue")
        self._depth = m.gauge("corral_jobs_depth", "Open jobs.", "queue", "state", of_workers="highest")
        self._oldest = m.gauge(
            "corral_jobs_oldest_queued_seconds",
            "Age of the job that is ready the longest.",
            "queue",
            of_workers="highest",
        )
        self._slots = m.gauge("corral_jobs_worker_slots", "Jobs that this server may run at once.")
        self._ends: dict[tuple[str, str], Value] = {}
        self._by_queue: dict[str, tuple[Distribution, Distribution, Value]] = {}
        self._queues: set[str] = set()

    def slots(self, count: int) -> None:
        """This process works, on so many jobs at once."""
        self._slots.value().set(count)

    def claimed(self, job: ClaimedJob, waited_s: float | None) -> None:
        """A job begins, or is handed back as it came: then it still waits."""
        wait, _, running = self._of(job.queue)
        if job.attempt == 1 and waited_s is not None:
            wait.observe(waited_s)
        running.value += 1

    def ended(self, job: ClaimedJob, ending: EndingKind | Literal["lost"], run_s: float) -> None:
        """A run is over."""
        _, run, running = self._of(job.queue)
        run.observe(run_s)
        running.value -= 1
        key = (job.queue, ending)
        count = self._ends.get(key)
        if count is None:
            count = self._ends[key] = self._total.value(*key)
        count.value += 1

    def queues(self, stats: Iterable[QueueStats]) -> None:
        """How full the queues are now."""
        seen = {one.queue: one for one in stats}
        self._queues.update(seen)
        for queue in self._queues:
            one = seen.get(queue)
            for state in ("queued", "scheduled", "running", "waiting"):
                self._depth.value(queue, state).set(0 if one is None else getattr(one, state))
            self._oldest.value(queue).set(0 if one is None else one.oldest_queued_s)

    def _of(self, queue: str) -> tuple[Distribution, Distribution, Value]:
        found = self._by_queue.get(queue)
        if found is None:
            found = self._by_queue[queue] = (
                self._wait.distribution(queue),
                self._run.distribution(queue),
                self._running.value(queue),
            )
        return found
