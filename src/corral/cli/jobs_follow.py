"""Follow a job to its end: what its agent says, as it says it, over as many connections as that takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from corral.cli.client import ServerEvent, problem_failure
from corral.cli.failure import Exit, Failure
from corral.cli.job_shown import when
from corral.cli.jobs_api import JobsApi
from corral.cli.output import note, write
from corral.cli.progress import ProgressBar
from corral.jobs.job import signal_of
from corral.jobs.states import TERMINAL

_PAUSE_S = 0.2
_PAUSE_MAX_S = 5.0
_PATIENCE_S = 120.0
"""How long a server may be away that was there when the following began."""
_PASSING = frozenset({"connection_lost", "unreachable", "timeout"})
_SERVER_ERRORS = 500


class Follower:
    """The events of one job until it has ended."""

    def __init__(
        self,
        api: JobsApi,
        job_id: str,
        *,
        after: str = "",
        timeout_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`after` is the id of the last event that is known already; `timeout_s` how long to follow at most."""
        self._api = api
        self._job_id = job_id
        self._after = after
        self._now = now
        self._sleep = sleep
        self._until = math.inf if timeout_s is None else now() + timeout_s
        self._timeout_s = timeout_s

    def events(self) -> Iterator[ServerEvent]:
        """Each event once, across connections that break, down to the last one."""
        pause_s, away_since, heard = _PAUSE_S, self._now(), False
        while True:
            try:
                for event in self._api.events(self._job_id, after=self._after, left_s=self._left_s):
                    heard, pause_s = True, _PAUSE_S
                    self._after = event.id or self._after
                    if event.name == "error":
                        problem = event.data if isinstance(event.data, dict) else {}
                        raise problem_failure(problem, int(problem.get("status") or 0))
                    yield event
                    if event.name in TERMINAL:
                        return
                    self._check_time()
                    away_since = self._now()
                heard = True
                if self._api.job(self._job_id)["status"] in TERMINAL:
                    return
            except Failure as failure:
                if _passes(failure):
                    self._check_time()
                if not heard or not _passes(failure) or self._now() - away_since > _PATIENCE_S:
                    raise
            self._check_time()
            self._sleep(min(pause_s, self._left_s()))
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    def failed_attempts(self) -> list[dict[str, Any]]:
        """The attempts that did not end well, oldest first; none where the server cannot say."""
        try:
            return self._api.attempts(self._job_id)
        except Failure as failure:
            if not _passes(failure):
                raise
            return []

    def _left_s(self) -> float:
        return max(0.0, self._until - self._now())

    def _check_time(self) -> None:
        if self._now() >= self._until:
            raise Failure(
                f"The job has not ended within {self._timeout_s:g} s; it goes on.",
                f"`corral jobs tail {self._job_id}` goes on watching it.",
                code="timeout",
                job_id=self._job_id,
            )


def _passes(failure: Failure) -> bool:
    """Whether another try may do better."""
    return failure.code in _PASSING or failure.details.get("http_status", 0) >= _SERVER_ERRORS


class Printer:
    """Shows events to people: text as text, progress as a bar, all else beside."""

    def __init__(self, failed_attempts: Callable[[], list[dict[str, Any]]]) -> None:
        """Nothing is shown yet. `failed_attempts` tells why attempts failed, when some did."""
        self._failed_attempts = failed_attempts
        self._failures = 0
        self._told_attempt = 0
        self._bar = ProgressBar()
        self._last = "\n"
        self._said = False
        """Whether this attempt has said something; of one that says nothing, the result is shown."""

    def show(self, event: ServerEvent) -> None:
        """Show one event."""
        data = event.data if isinstance(event.data, dict) else {}
        said: Any = data.get("data")
        if event.name == "status":
            self._tell_failures(data)
        match event.name:
            case "piece":
                self._piece(said)
            case "progress":
                self._bar.draw(said.get("fraction"), str(said.get("message") or ""))
            case "log":
                self._beside(_as_line(said))
            case "succeeded" if not self._said and data.get("result") is not None:
                self._piece(_at_leisure(data["result"]))
            case "attempt" if self._said:
                self._said = False
                self._beside(f"Attempt {data['attempt']} begins; what was said before does not count.")
            case "status" if data["status"] == "waiting":
                self._beside(f"It waits for a signal: corral jobs signal {data['id']} {signal_of(data['awaits'])} …")
            case "status" if data["status"] == "scheduled":
                what = f"Attempt {data['attempt'] + 1} is due" if data.get("attempt") else "Due"
                self._beside(f"{what} at {when(data['run_at'])}.")

    def end(self) -> None:
        """Nothing more comes."""
        self._bar.clear()
        if not self._last.endswith("\n"):
            self._write("\n")

    def _tell_failures(self, job: dict[str, Any]) -> None:
        """Why attempts failed that nobody told of yet."""
        failures = job.get("failures") or 0
        if failures and failures != self._failures:
            for attempt in self._failed_attempts():
                if attempt["attempt"] > self._told_attempt:
                    self._told_attempt = attempt["attempt"]
                    self._beside(f"Attempt {attempt['attempt']} failed: {_why(attempt['error'])}")
        self._failures = failures

    def _piece(self, piece: Any) -> None:
        self._bar.clear()
        self._said = True
        fresh = "" if self._last.endswith("\n") else "\n"
        text = piece if isinstance(piece, str) else f"{fresh}{_as_line(piece)}\n"
        if text:
            self._write(text)

    def _beside(self, text: str) -> None:
        self._bar.clear()
        if not self._last.endswith("\n"):
            self._write("\n")
        note(text, faint=True)

    def _write(self, text: str) -> None:
        self._last = text
        write(text)


def follow_to_end(follower: Follower, *, quiet: bool) -> list[ServerEvent]:
    """Follow, and show what comes unless `quiet`; all events that were heard."""
    heard = []
    printer = None if quiet else Printer(follower.failed_attempts)
    try:
        for event in follower.events():
            heard.append(event)
            if printer is not None:
                printer.show(event)
    finally:
        if printer is not None:
            printer.end()
    return heard


def exit_of(job: dict[str, Any]) -> Exit:
    """The exit status that says how a job ended."""
    if job["status"] == "succeeded":
        return Exit.OK
    return Exit.FAILED if job["status"] == "failed" else Exit.CANCELLED


def ending_failure(job: dict[str, Any]) -> Failure:
    """Why a job did not succeed, in words."""
    job_id, error = job["id"], job.get("error") or {}
    if job["status"] == "failed":
        return Failure(
            f"The job failed{_after(job)}: {_why(error)}",
            f"`corral jobs show {job_id}` tells its story; `corral jobs retry {job_id}` has it run again.",
            code=str(error.get("code") or "job_failed"),
            job_id=job_id,
        )
    return Failure(
        f"The job was {job['status']}.",
        f"`corral jobs retry {job_id}` has it run again." if job["status"] == "cancelled" else "",
        code=f"job_{job['status']}",
        status=Exit.CANCELLED,
        job_id=job_id,
    )


def _why(error: dict[str, Any]) -> str:
    named = [str(error[name]) for name in ("type", "message") if error.get(name)]
    return ": ".join(named) or str(error.get("code") or "nobody knows why")


def _after(job: dict[str, Any]) -> str:
    attempt = job.get("attempt") or 0
    return f" at attempt {attempt}" if attempt > 1 else ""


def _at_leisure(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _as_line(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
