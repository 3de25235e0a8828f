"""A job, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from corral.cli.output import bold, dim, show, show_table

_SHORT = 60


def show_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Many, a line each."""
    show_table(
        ["JOB", "STATUS", "AGENT", "QUEUE", "PRIO", "ATTEMPT", "CREATED", "TOOK", "TAGS"],
        [
            [
                job["id"],
                job["status"],
                job["agent"],
                job["queue"],
                job["priority"],
                job["attempt"],
                when(job["created_at"]),
                _took(job),
                ",".join(job["tags"]) or "-",
            ]
            for job in jobs
        ],
    )


def show_dead(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Dead letters, a line each, with what they died of."""
    show_table(
        ["JOB", "AGENT", "QUEUE", "FAILURES", "FAILED", "ERROR", "MESSAGE"],
        [
            [
                job["id"],
                job["agent"],
                job["queue"],
                job["failures"],
                when(job["finished_at"]),
                _error_name(job.get("error") or {}),
                _short((job.get("error") or {}).get("message", "")),
            ]
            for job in jobs
        ],
    )


def show_job(
    job: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], callbacks: Sequence[Mapping[str, Any]]
) -> None:
    """All about one."""
    show(f"{bold(job['id'])}  {job['status']}{_cancelling(job)}")
    for name, value in _facts(job):
        if value not in {None, "", "-"}:
            show(f"  {dim(f'{name:<12}')} {value}")
    if job.get("progress"):
        show(f"  {dim('progress    ')} {progress_text(job['progress'])}")
    show(f"\n{bold('input')}\n{_pretty(job.get('input'))}")
    if job["status"] == "succeeded":
        show(f"\n{bold('result')}\n{_pretty(job.get('result'))}")
    if job.get("error"):
        _show_error("error", job["error"])
    for attempt in attempts:
        about = f"{when(attempt['started_at'])} to {when(attempt['ended_at'])}, {attempt['worker']}"
        _show_error(f"attempt {attempt['attempt']}", attempt["error"], about)
    for delivery in callbacks:
        answer = f"  {delivery['answer']}" if delivery.get("answer") else ""
        show(f"\n{bold('callback')}  {delivery['status']}, {_counted(delivery['attempts'], 'attempt')}{dim(answer)}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _facts(job: Mapping[str, Any]) -> list[tuple[str, Any]]:
    agent = f"{job['agent']}@{job['version']}" if job.get("version") else job["agent"]
    return [
        ("agent", agent),
        ("queue", f"{job['queue']}, priority {job['priority']}"),
        ("session", job.get("session_id")),
        ("user", job.get("user_id")),
        ("batch", job.get("batch_id")),
        ("tags", ", ".join(job["tags"])),
        (
            "attempt",
            f"{job['attempt']}, {job['failures']} of {_counted(job['max_attempts'], 'failure')}"
            if job["attempt"]
            else "",
        ),
        ("created", when(job["created_at"])),
        ("due", when(job.get("run_at"))),
        ("deadline", when(job.get("deadline_at"))),
        ("started", when(job.get("started_at"))),
        ("finished", when(job.get("finished_at"))),
        ("took", _took(job)),
        ("worker", job.get("worker")),
        ("waits for", job.get("awaits")),
        ("callback", (job.get("callback") or {}).get("url")),
    ]


def progress_text(progress: Mapping[str, Any]) -> str:
    """How far a job is, as its agent said last."""
    fraction = progress.get("fraction")
    share = f"{fraction:.0%}" if isinstance(fraction, int | float) else ""
    return f"{share} {progress.get('message') or ''}".strip()


def _show_error(title: str, error: Mapping[str, Any], about: str = "") -> None:
    show(f"\n{bold(title)}  {_error_name(error)}{dim(f'  {about}') if about else ''}")
    if error.get("message"):
        show(str(error["message"]))
    if error.get("traceback"):
        show(dim(str(error["traceback"]).rstrip()))


def _error_name(error: Mapping[str, Any]) -> str:
    return str(error.get("type") or error.get("code") or "-")


def _cancelling(job: Mapping[str, Any]) -> str:
    return ", asked to stop" if job.get("cancel_requested") and job["status"] == "running" else ""


def _took(job: Mapping[str, Any]) -> str:
    if not job.get("started_at") or not job.get("finished_at"):
        return "-"
    return seconds_text(job["finished_at"] - job["started_at"])


def seconds_text(seconds: float) -> str:
    """A duration, as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.1f} s"


def when(seconds: float | None) -> str:
    """A moment in the reader's time zone."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
