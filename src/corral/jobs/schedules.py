"""What a schedule says: whether it can be understood, and which times are due."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Literal, get_args

import msgspec

from corral.errors import CorralError, ValidationFailed
from corral.jobs.cron import parse_cron
from corral.jobs.job import Schedule
from corral.jobs.request import JobRequest, check_fields, fault

STARTER = "corral.start"
"""The house's own job that starts a workflow, whoever wants it started."""

RESERVED_PREFIX = "settings:"
"""Begins the names of schedules that stand in the settings; nobody else may save or remove those."""

CATCH_UP_MAX = 1000
"""Most jobs that one schedule makes up for at once."""

MISSED_S = 60.0
"""A time that passed longer ago than this was missed: a restart or a busy worker does not miss any."""

_SKEW_S = 5.0
"""Clocks of workers may differ by this much without a time being taken for missed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

CatchUp = Literal["skip", "one", "all"]


class Planned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule as people write it, in the API and in the settings."""

    cron: str
    timezone: str = "UTC"
    catch_up: CatchUp = "one"
    paused: bool = False
    job: dict[str, Any] = {}
    workflow: str | None = None
    """What starts in the place of a job: a workflow's name."""
    input: Any = msgspec.UNSET
    """The workflow's."""


def job_of(said: Planned) -> dict[str, Any]:
    """The job that each of its times makes. Raises `ValidationFailed` where both a job and a workflow are named, or neither."""
    if said.workflow is not None and "agent" in said.job:
        raise fault("/workflow", "A schedule has a `job` or a `workflow`, not both.")
    if said.workflow is not None:
        given = {} if said.input is msgspec.UNSET else said.input
        return {**said.job, "agent": STARTER, "input": {"workflow": said.workflow, "input": given}}
    if not said.job:
        raise fault(
            "/job",
            "A schedule needs a `workflow`, or a `job`: what `POST /v1/jobs` takes, such as an `agent` and an `input`.",
        )
    if said.input is not msgspec.UNSET:
        raise fault("/input", "`input` is a workflow's; that of a job stands in `job`.")
    return said.job


def check_name(name: str) -> str:
    """Return a name that a person may give, or raise `ValidationFailed`."""
    if not _NAME.fullmatch(name):
        reserved = f"; names that begin with {RESERVED_PREFIX} stand in the settings" if RESERVED_PREFIX in name else ""
        message = f"A schedule's name has letters, digits, '.', '_' and '-', at most 100 of them{reserved}."
        raise ValidationFailed(message, errors=[{"pointer": "/name", "message": message}])
    return name


def plan(tenant: str, name: str, said: Planned, *, now: float, last_at: float | None = None) -> Schedule:
    """The schedule, due next after `now`. Raises `ValidationFailed`. Reads files: call `planned` on a loop."""
    cron, zone = parse_cron(said.cron), zone_of(said.timezone)
    return Schedule(
        tenant=tenant,
        name=name,
        cron=cron.text,
        timezone=said.timezone,
        catch_up=said.catch_up,
        paused=said.paused,
        # As it comes back from the store: what YAML makes a date is a text in JSON.
        job=msgspec.json.decode(msgspec.json.encode(job_of(said))),
        next_at=cron.after(now, zone),
        last_at=last_at,
    )


async def planned(tenant: str, name: str, said: Planned, *, now: float, last_at: float | None = None) -> Schedule:
    """`plan`, from a loop."""
    return await asyncio.to_thread(plan, tenant, name, said, now=now, last_at=last_at)


def from_settings(entry: Mapping[str, Any]) -> Planned:
    """An entry of `jobs.schedules`: what is not about times is the job. Raises `ValidationFailed`."""
    of_job = () if "job" in entry else JobRequest.__struct_fields__
    check_fields(dict(entry), (*Planned.__struct_fields__, *of_job))
    of_schedule = set(Planned.__struct_fields__) - {"job", *(() if "workflow" in entry else ("input",))}
    own = {key: value for key, value in entry.items() if key in of_schedule}
    job = entry.get("job", {key: value for key, value in entry.items() if key not in own})
    try:
        return msgspec.convert({**own, "job": job}, Planned)
    except msgspec.ValidationError as error:
        choices = f" (catch_up is one of {', '.join(get_args(CatchUp))})" if "catch_up" in str(error) else ""
        raise ValidationFailed(f"{error}{choices}") from None


def faults_in_settings(
    schedules: Mapping[str, Mapping[str, Any]], check_job: Callable[[object], object]
) -> dict[str, str]:
    """What is wrong with `jobs.schedules`, by name: for who checks settings before anything starts.

    `check_job` raises for a job that could not be made.
    """
    faults = {}
    for name, entry in schedules.items():
        try:
            check_job(plan("default", check_name(name), from_settings(entry), now=0.0).job)
        except CorralError as error:
            faults[name] = error.message
    return faults


def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises `ValidationFailed`."""
    if name == "UTC":  # known even where there is no time zone data
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = sorted(zoneinfo.available_timezones())
    near = difflib.get_close_matches(name, known, n=1) or [zone for zone in known if zone.endswith(f"/{name}")]
    hint = f"did you mean {near[0]}?" if near else "names are such as Europe/Berlin."
    if not known:
        hint = "there is no time zone data on this machine; install the package tzdata."
    message = f"The time zone {name[:100]!r} is not known; {hint}"
    raise ValidationFailed(message, errors=[{"pointer": "/timezone", "message": message}])


class Due(msgspec.Struct, frozen=True):
    """What is to be done about a schedule whose time has come."""

    times: list[float]
    """One job for each."""
    next_at: float | None
    left_out: bool = False
    """There were more times than may be made up for at once."""


def due(schedule: Schedule, *, now: float) -> Due:
    """Which of the times up to `now` are to be made up for, and when it is due next. Raises `ValidationFailed`."""
    cron, zone = parse_cron(schedule.cron), zone_of(schedule.timezone)
    first = now if schedule.next_at is None else schedule.next_at
    now = max(now, first)  # the store's clock found it due; this one may be behind
    following = cron.after(first, zone)
    if following is None or following > now - _SKEW_S:
        missed = schedule.catch_up == "skip" and now - first > MISSED_S
        return Due([] if missed else [first], following)
    if schedule.catch_up == "one":
        return Due([first], cron.after(now, zone))
    if schedule.catch_up == "skip":
        return Due(list(cron.between(now - MISSED_S, now, zone))[-1:], cron.after(now, zone))
    times = [first, *itertools.islice(cron.between(first, now, zone), CATCH_UP_MAX)]
    if len(times) > CATCH_UP_MAX:
        return Due(times[:CATCH_UP_MAX], cron.after(now, zone), left_out=True)
    return Due(times, cron.after(times[-1], zone))
