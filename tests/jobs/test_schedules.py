from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from corral.errors import NotFound, ValidationFailed
from corral.jobs import schedules
from corral.jobs.request import read_request
from corral.jobs.schedules import (
    STARTER,
    Planned,
    check_name,
    due,
    faults_in_settings,
    from_settings,
    job_of,
    plan,
    planned,
    zone_of,
)

T0 = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def hourly(catch_up="one", cron="@hourly"):
    return plan("acme", "report", Planned(cron=cron, catch_up=catch_up, job={"agent": "main"}), now=T0 - 1)


@pytest.mark.parametrize("catch_up", ["skip", "one", "all"])
def test_a_time_that_just_came_fires_once_whatever_is_missed(catch_up):
    found = due(hourly(catch_up), now=T0 + 2)
    assert (found.times, found.next_at) == ([T0], T0 + HOUR)


@pytest.mark.parametrize("now", [T0 - 50, T0 + 3])
def test_a_clock_that_is_not_quite_the_stores_leaves_no_time_out(now):
    every = hourly(cron="@every 1s")
    found = due(every, now=now)
    assert (found.times, found.next_at) == ([T0], T0 + 1)


@pytest.mark.parametrize(
    ("catch_up", "late", "times", "following"),
    [
        ("one", 3.5 * HOUR, [0], 4 * HOUR),
        ("one", 30 * MINUTE, [0], HOUR),
        ("all", 3.5 * HOUR, [0, HOUR, 2 * HOUR, 3 * HOUR], 4 * HOUR),
        ("all", 30 * MINUTE, [0], HOUR),
        ("skip", 3.5 * HOUR, [], 4 * HOUR),
        ("skip", 30 * MINUTE, [], HOUR),
        ("skip", 3 * HOUR + 20, [3 * HOUR], 4 * HOUR),  # the latest one was not missed
        ("skip", 50, [0], HOUR),
    ],
)
def test_what_happens_to_times_that_were_missed(catch_up, late, times, following):
    found = due(hourly(catch_up), now=T0 + late)
    assert ([at - T0 for at in found.times], found.next_at - T0) == (times, following)
    assert not found.left_out


def test_making_up_is_bounded(monkeypatch):
    monkeypatch.setattr(schedules, "CATCH_UP_MAX", 5)
    assert len(due(hourly("all"), now=T0 + 4 * HOUR + 30).times) == 5
    assert not due(hourly("all"), now=T0 + 4 * HOUR + 30).left_out
    found = due(hourly("all"), now=T0 + 9 * DAY + 30)
    assert found.times == [T0 + n * HOUR for n in range(5)]
    assert found.left_out
    assert found.next_at == T0 + 9 * DAY + HOUR


async def test_a_schedule_is_made_from_what_a_person_wrote():
    said = Planned(
        cron=" 0  6 * * 1-5 ", timezone="Europe/Berlin", job={"agent": "main", "input": {"day": date(2026, 5, 4)}}
    )
    made = await planned("acme", "report", said, now=T0)
    assert (made.cron, made.timezone, made.catch_up) == ("0 6 * * 1-5", "Europe/Berlin", "one")
    assert made.next_at == datetime(2026, 5, 4, 4, tzinfo=UTC).timestamp()
    assert made.job == {"agent": "main", "input": {"day": "2026-05-04"}}


def test_an_entry_of_the_settings_is_times_and_a_job():
    said = from_settings({"cron": "@daily", "catch_up": "all", "agent": "main", "input": {"a": 1}, "tags": ["x"]})
    assert (said.cron, said.catch_up) == ("@daily", "all")
    assert said.job == {"agent": "main", "input": {"a": 1}, "tags": ["x"]}
    assert from_settings({"cron": "@daily", "job": {"agent": "b"}}).job == {"agent": "b"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"agent": "main"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"cron": "61 * * * *"}, "minute"),
        ({"cron": "@daily", "timezone": "Berlin"}, "did you mean Europe/Berlin"),
        ({"cron": "@daily", "timezone": "Europe/Berlim"}, "did you mean Europe/Berlin"),
        ({"cron": "@daily", "timezone": "../../etc/passwd"}, "names are such as"),
        ({"cron": "@daily", "timezone": "Europe"}, "not known"),
        ({"cron": "@daily", "catch_up": "some"}, "skip, one, all"),
        ({"cron": "@daily", "tiemzone": "UTC"}, "did you mean 'timezone'"),
        ({"cron": "@daily", "inptu": {}}, "did you mean 'input'"),
        ({"cron": "@daily", "job": {"agent": "main"}}, "'agent' is not known"),
        ({"cron": "@daily", "priority": 11}, "/priority: Expected"),
    ],
)
def test_faults_in_settings_are_named(entry, said):
    good = {"cron": "@daily", "agent": "main"}
    faults = faults_in_settings({"report": {"agent": "main", **entry}, "good": good}, read_request)
    assert list(faults) == ["report"]
    assert said in faults["report"]


def test_faults_of_a_schedules_job_are_those_that_handing_it_in_would_have():
    def check(job):
        raise NotFound(f"no {job['agent']}")

    assert faults_in_settings({"report": {"cron": "@daily", "agent": "x"}}, check) == {"report": "no x"}


def test_a_machine_without_time_zones_says_so(monkeypatch):
    monkeypatch.setattr(schedules.zoneinfo, "available_timezones", set)
    with pytest.raises(ValidationFailed, match="install the package tzdata"):
        zone_of("Mars/Olympus")
    assert zone_of("UTC") is UTC


def test_names():
    assert check_name("nightly-report_2.0") == "nightly-report_2.0"
    with pytest.raises(ValidationFailed, match="stand in the settings"):
        check_name("settings:report")
    for name in ("", "a b", ".hidden", "a/b", "x" * 101):
        with pytest.raises(ValidationFailed):
            check_name(name)


def test_a_schedule_starts_a_workflow():
    said = from_settings({"cron": "@hourly", "workflow": "triage", "input": {"kind": "daily"}, "priority": 7})
    job = plan("acme", "report", said, now=T0).job
    assert job == {"agent": STARTER, "priority": 7, "input": {"workflow": "triage", "input": {"kind": "daily"}}}
    assert read_request(job).priority == 7
    bare = plan("acme", "report", Planned(cron="@hourly", workflow="triage"), now=T0)
    assert bare.job["input"] == {"workflow": "triage", "input": {}}


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        (Planned(cron="@hourly"), "/job"),
        (Planned(cron="@hourly", workflow="triage", job={"agent": "main"}), "/workflow"),
        (Planned(cron="@hourly", job={"agent": "main"}, input=1), "/input"),
    ],
)
def test_a_schedule_makes_one_thing(said, pointer):
    with pytest.raises(ValidationFailed) as caught:
        job_of(said)
    assert caught.value.errors[0]["pointer"] == pointer
