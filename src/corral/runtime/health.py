"""What `/ping` says, and why: forced, asked of the app, or from the tasks that run in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.runtime.invocation import Invocations


class PingStatus(str, Enum):  # noqa: UP042 - AgentCore's own prints as `PingStatus.HEALTHY`, which a StrEnum does not
    """The two answers of `/ping` that AgentCore's platform knows."""

    HEALTHY = "Healthy"
    HEALTHY_BUSY = "HealthyBusy"


PingHandler = Callable[[], "PingStatus | str"]
Warn = Callable[[str], None]


class Health:
    """The state behind `/ping`, safe to change from any thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Healthy, with nothing going on."""
        self.handler: PingHandler | None = None
        self.warn: Warn = _say_nothing
        self.invocations: Invocations | None = None
        """Set when a running invocation is to count as busy."""
        self._clock = clock
        self._forced: PingStatus | None = None
        self._tasks: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._last = PingStatus.HEALTHY
        self._changed_at = clock.now()

    def status(self) -> PingStatus:
        """Forced, else what the app's handler says, else busy while background tasks run."""
        status = self._forced or self._asked() or self._automatic()
        if status is not self._last:
            self._last = status
            self._changed_at = self._clock.now()
        return status

    def ping(self) -> dict[str, Any]:
        """The answer of `/ping`. The time is that of the last change, seen when somebody asks, never a fresh stamp.

        A platform that stops idle sessions measures idleness by it: stamping each answer would keep them for ever.
        """
        status = self.status()
        return {"status": status.value, "time_of_last_update": int(self._changed_at)}

    def _asked(self) -> PingStatus | None:
        if self.handler is None:
            return None
        try:
            return PingStatus(self.handler())
        except Exception as error:  # noqa: BLE001 - a failing handler must not fail the health check
            self.warn(f"The ping handler failed, so the status is the automatic one: {type(error).__name__}: {error}")
            return None

    def _automatic(self) -> PingStatus:
        busy = bool(self._tasks) or (self.invocations is not None and len(self.invocations) > 0)
        return PingStatus.HEALTHY_BUSY if busy else PingStatus.HEALTHY

    def force(self, status: PingStatus | None) -> None:
        """Say `status` whatever happens; None goes back to normal."""
        self._forced = status

    # -- background tasks

    def add_task(self, name: str, metadata: dict[str, Any] | None = None) -> int:
        """Count a background task in; returns its id."""
        task_id = hash(new_id())
        task: dict[str, Any] = {"name": name, "start_time": self._clock.now()}
        if metadata:
            task["metadata"] = metadata
        with self._lock:
            self._tasks[task_id] = task
        return task_id

    def complete_task(self, task_id: int) -> bool:
        """Count a background task out. False: it was not known."""
        with self._lock:
            return self._tasks.pop(task_id, None) is not None

    def task_info(self) -> dict[str, Any]:
        """How many background tasks run, and for how long each."""
        now = self._clock.now()
        with self._lock:
            jobs = [{"name": t["name"], "duration": now - t["start_time"]} for t in self._tasks.values()]
        return {"active_count": len(jobs), "running_jobs": jobs}

    # -- debug actions

    def debug_action(self, action: object) -> tuple[int, dict[str, Any]]:
        """Answer one of AgentCore's debug actions: HTTP status and body."""
        if action == "ping_status":
            return 200, self.ping()
        if action == "job_status":
            return 200, self.task_info()
        if isinstance(action, str) and action in _FORCED:
            self.force(_FORCED[action])
            return 200, {"forced_status": _FORCED[action].value}
        if action == "clear_forced_status":
            self.force(None)
            return 200, {"forced_status": "Cleared"}
        return 400, {"error": f"Unknown action: {action}"}


_FORCED: dict[str, PingStatus] = {"force_healthy": PingStatus.HEALTHY, "force_busy": PingStatus.HEALTHY_BUSY}


def _say_nothing(_: str) -> None:
    """Until the app's log is known."""
