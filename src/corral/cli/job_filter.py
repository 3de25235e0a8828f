"""Flags that say which jobs, and what they mean to the API."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Annotated, Any

import typer

from corral.cli.failure import Exit, Failure
from corral.jobs.states import STATES

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or how it begins (8 characters or more).")]
JobIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB]...", help="The jobs' ids, or how they begin (8 characters or more)."),
]
Status = Annotated[
    list[str] | None, typer.Option("--status", "-s", help=f"Only in this state ({', '.join(STATES)}); repeatable.")
]
Agent = Annotated[str | None, typer.Option("--agent", "-a", help="Only of this agent.")]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="Only in this queue.")]
Tag = Annotated[str | None, typer.Option("--tag", "-t", help="Only with this tag.")]
Session = Annotated[str | None, typer.Option("--session", help="Only of this session.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="Only of this user.")]
Batch = Annotated[str | None, typer.Option("--batch", help="Only of this batch.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Created since then: `2h` ago, or 2026-11-21T09:00.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Created before then.")]
All = Annotated[bool, typer.Option("--all", help="Every job, whatever else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")]

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def query_of(
    *,
    status: list[str] | None = None,
    since: str | None,
    until: str | None,
    everything: bool = False,
    **more: str | None,
) -> dict[str, Any]:
    """The filter as the API takes it: what was given, and nothing else."""
    for state in status or ():
        if state not in STATES:
            raise Failure(
                f"{state!r} is not the state of a job.",
                f"They are {', '.join(STATES)}.",
                code="usage",
                status=Exit.USAGE,
            )
    query: dict[str, Any] = {name: value for name, value in more.items() if value is not None}
    if everything:
        query["all"] = True
    if status:
        query["status"] = list(status)
    for name, text in (("since", since), ("until", until)):
        if text is not None:
            query[name] = moment(text)
    return query


def moment(text: str, now: float | None = None) -> float:
    """A time in seconds since 1970: `90s`, `2h` or `3d` ago, a date, or the seconds themselves."""
    if found := _AGO.fullmatch(text.strip()):
        return (time.time() if now is None else now) - float(found[1]) * _UNITS[found[2]]
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise Failure(
            f"{text!r} is not a time.",
            "Write `2h` (ago), `2026-11-21`, `2026-11-21T09:00`, or seconds since 1970.",
            code="usage",
            status=Exit.USAGE,
        ) from None


def duration(text: str) -> float:
    """Seconds: `90`, `90s`, `5m`, `2h`."""
    found = _AGO.fullmatch(text.strip() if text.strip()[-1:].isalpha() else f"{text.strip()}s")
    if found is None:
        raise Failure(f"{text!r} is not a duration.", "Write `90s`, `5m`, `2h`.", code="usage", status=Exit.USAGE)
    return float(found[1]) * _UNITS[found[2]]
