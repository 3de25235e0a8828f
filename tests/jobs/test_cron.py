from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.errors import ValidationFailed
from corral.jobs.cron import parse_cron

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of summer time
APIA = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
HAVANA = ZoneInfo("America/Havana")  # changes at midnight
CASABLANCA = ZoneInfo("Africa/Casablanca")
ZONES = [UTC, BERLIN, NEW_YORK, LORD_HOWE, APIA, HAVANA, CASABLANCA]


def at(text: str, zone=UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def times(cron: str, start: str, count: int, zone=UTC) -> list[str]:
    expression, moment, found = parse_cron(cron), at(start, zone), []
    for _ in range(count):
        moment = expression.after(moment, zone)
        assert moment is not None
        found.append(datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("* * * * *", "2026-01-31 23:59:30", ["2026-02-01 00:00", "2026-02-01 00:01"]),
        ("*/15 * * * *", "2026-01-01 00:00", ["2026-01-01 00:15", "2026-01-01 00:30"]),
        ("5/20 3 * * *", "2026-01-01 00:00", ["2026-01-01 03:05", "2026-01-01 03:25", "2026-01-01 03:45"]),
        ("0 9-17/4 * * mon-fri", "2026-01-02 13:00", ["2026-01-02 17:00", "2026-01-05 09:00"]),
        ("0 22-2 * * *", "2026-01-01 21:00", ["2026-01-01 22:00", "2026-01-01 23:00", "2026-01-02 00:00"]),
        ("0 0 * * fri-mon", "2026-01-01 12:00", ["2026-01-02 00:00", "2026-01-03 00:00", "2026-01-04 00:00"]),
        ("0 0 * * 5-7", "2026-01-04 12:00", ["2026-01-09 00:00", "2026-01-10 00:00", "2026-01-11 00:00"]),
        ("0 0 1,15 * *", "2026-01-01 12:00", ["2026-01-15 00:00", "2026-02-01 00:00"]),
        ("0 0 * JAN,jul *", "2026-01-31 12:00", ["2026-07-01 00:00"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 */7", "2097-01-01 00:00", ["2128-02-29 00:00"]),
        ("0 0 L * *", "2026-01-31 12:00", ["2026-02-28 00:00", "2026-03-31 00:00"]),
        ("0 0 L-2 * ?", "2026-02-01 12:00", ["2026-02-26 00:00"]),
        ("0 0 LW * *", "2026-01-01 12:00", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("0 0 1W * *", "2026-07-15 12:00", ["2026-08-03 00:00"]),
        ("0 0 15W * *", "2026-02-01 12:00", ["2026-02-16 00:00", "2026-03-16 00:00"]),
        ("0 0 31W * *", "2026-05-01 12:00", ["2026-05-29 00:00", "2026-07-31 00:00"]),
        ("0 0 * * friL", "2026-01-01 12:00", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("0 0 * * 7L", "2026-01-01 12:00", ["2026-01-25 00:00"]),
        ("0 0 ? * tue#5", "2026-01-01 12:00", ["2026-03-31 00:00", "2026-06-30 00:00"]),
        # Both days are given: either is enough, unless one begins with a star, as in every crontab.
        ("0 0 13 * fri", "2026-01-01 12:00", ["2026-01-02 00:00", "2026-01-09 00:00", "2026-01-13 00:00"]),
        ("0 0 */2 * fri", "2026-01-01 12:00", ["2026-01-09 00:00", "2026-01-23 00:00"]),
        ("@hourly", "2026-01-01 12:00", ["2026-01-01 13:00"]),
        ("@Weekly", "2026-01-01 12:00", ["2026-01-04 00:00"]),
        ("@yearly", "2026-01-01 12:00", ["2027-01-01 00:00"]),
        ("@every 90m", "2026-01-01 12:00", ["2026-01-01 13:30", "2026-01-01 15:00"]),
        ("@every 1h30m", "2026-01-01 12:00", ["2026-01-01 13:30"]),
        ("@every 1.5 h", "2026-01-01 12:00", ["2026-01-01 13:30"]),
    ],
)
def test_times(cron, start, expected):
    assert times(cron, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        # What falls into the gap runs once, right behind it.
        ("30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00", "2026-03-30 02:30"]),
        ("*/10 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00", "2026-03-30 02:00"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00", "2026-03-30 02:00"]),
        ("0 0 * * *", HAVANA, "2026-03-07 12:00", ["2026-03-08 01:00", "2026-03-09 00:00"]),
        ("0 6 * * *", APIA, "2011-12-29 12:00", ["2011-12-31 00:00", "2011-12-31 06:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03 12:00", ["2026-10-04 02:30", "2026-10-05 02:15"]),
        # What the clock shows twice runs once.
        ("30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30", "2026-10-26 02:30"]),
        ("*/30 1-2 * * *", NEW_YORK, "2026-11-01 00:59", ["2026-11-01 01:00", "2026-11-01 01:30", "2026-11-01 02:00"]),
        # What holds in every hour goes on by the hour.
        ("30 * * * *", BERLIN, "2026-03-29 01:00", ["2026-03-29 01:30", "2026-03-29 03:30"]),
        ("30 * * * *", BERLIN, "2026-10-25 01:45", ["2026-10-25 02:30", "2026-10-25 02:30", "2026-10-25 03:30"]),
        ("30 * * * sun", APIA, "2011-12-25 22:45", ["2011-12-25 23:30", "2012-01-01 00:30"]),
    ],
)
def test_where_the_clock_is_changed(cron, zone, start, expected):
    assert times(cron, start, len(expected), zone) == expected


@pytest.mark.parametrize("cron", ["0 * 29 2 *", "0 5 29 2 *"])
def test_time_ends(cron):
    assert parse_cron(cron).after(at("9996-03-01"), UTC) is None


def test_times_between_two_moments():
    cron = parse_cron("@daily")
    assert len(list(cron.between(at("2026-01-01"), at("2026-01-04"), UTC))) == 3
    assert list(cron.between(at("2026-01-01"), at("2026-01-01 23:59"), UTC)) == []


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 * * * * *", "@every 10s"),
        ("61 * * * *", "minute '61': 61 is not within 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "day of week '8'"),
        ("* * * juli *", "Did you mean jul"),
        ("* * * * frieday", "Did you mean fri"),
        ("*/0 * * * *", "a step, 1 or more"),
        ("*/x * * * *", "not 'x'"),
        ("*/90 * * * *", "use @every"),
        ("1-2-3 * * * *", "'2-3' is no number"),
        ("1,,2 * * * *", "'' is no number"),
        ("? * * * *", "'\\?' is no number"),
        ("-5 * * * *", "is no number"),
        ("٣ * * * *", "is no number"),
        ("99999 * * * *", "is no number"),
        ("* * * * L", "5L or friL"),
        ("* * * * fri#6", "1 to 5"),
        ("* * L-31 * *", "1 to 30"),
        ("* * W * *", "is no number"),
        ("0 0 30 2 *", "it never comes"),
        ("0 0 31 4,6,9,11 *", "it never comes"),
        ("@reboot", "submit the job"),
        ("@hourli", "did you mean @hourly"),
        ("@sometimes", "there are @yearly"),
        ("@every", "a duration"),
        ("@every 5x", "a duration"),
        ("@every 0.5s", "1s to 366d"),
        ("@every 99999w", "1s to 366d"),
        ("*," * 600 + "* * * * *", "characters"),
    ],
)
def test_a_fault_names_its_field(cron, said):
    with pytest.raises(ValidationFailed, match=said) as raised:
        parse_cron(cron)
    assert raised.value.errors[0]["pointer"] == "/cron"


# -- against a walk from minute to minute -------------------------------------------------------------------------------


def numbers(low: int, high: int):
    one = st.integers(low, high)
    ranges = st.tuples(one, one).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.sampled_from(["*", f"{low}-{high}"]), st.integers(1, high)).map(lambda p: f"{p[0]}/{p[1]}")
    return st.one_of(
        st.just("*"), one.map(str), ranges, steps, st.lists(st.one_of(one.map(str), ranges), min_size=1).map(",".join)
    )


def members(field: str, low: int, high: int) -> set[int]:
    """What a field means, said in another way than the parser does."""
    found = set()
    for part in field.split(","):
        whole, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if whole == "*" else whole if "-" in whole else f"{whole}-{whole}").partition(
            "-"
        )
        found |= {n for n in range(int(first), int(last) + 1) if (n - int(first)) % int(step or 1) == 0}
    return found


def walked(cron: str, moment: float, zone, minutes: int) -> float | None:
    """The next time, found by looking at every minute: what the clock showed, and what it jumped over."""
    minute, hour, day, month, weekday = cron.split()
    sets = members(minute, 0, 59), members(hour, 0, 23), members(day, 1, 31), members(month, 1, 12)
    weekdays = {n % 7 for n in members(weekday, 0, 7)} if weekday != "*" else set(range(7))

    def fits(wall: datetime) -> bool:
        in_month, in_week = wall.day in sets[2], wall.isoweekday() % 7 in weekdays
        days = in_month and in_week if "*" in (day[0], weekday[0]) else in_month or in_week
        return wall.minute in sets[0] and wall.hour in sets[1] and wall.month in sets[3] and days

    hourly = sets[1] == set(range(24))
    start = int(moment // 60 * 60)
    newest = None  # the latest time that the clock has shown so far, from a day before on
    for at_minute in range(start - 86_400, start + minutes * 60, 60):
        wall = datetime.fromtimestamp(at_minute, zone).replace(tzinfo=None)
        if hourly:
            hit = fits(wall)
        else:
            hit = False
            seen = newest or wall - timedelta(minutes=1)
            while seen < wall:  # one step, or all that was jumped over; none while the clock repeats itself
                seen += timedelta(minutes=1)
                hit |= fits(seen)
            newest = seen
        if hit and at_minute > moment:
            return float(at_minute)
    return None


CHANGES = {
    BERLIN: ["2026-03-29", "2026-10-25"],
    NEW_YORK: ["2026-03-08", "2026-11-01"],
    LORD_HOWE: ["2026-04-05", "2026-10-04"],
    APIA: ["2011-12-30", "2012-04-01"],
    HAVANA: ["2026-03-08", "2026-11-01"],
    CASABLANCA: ["2026-02-15", "2026-03-22"],
    UTC: ["2024-02-29", "2026-12-31"],
}


@settings(max_examples=60, deadline=None)
@given(
    minute=numbers(0, 59),
    hour=numbers(0, 23),
    day=st.one_of(st.just("*"), numbers(1, 31)),
    weekday=st.one_of(st.just("*"), numbers(0, 7)),
    zone=st.sampled_from(ZONES),
    change=st.integers(0, 1),
    offset=st.integers(-86_400, 86_400),
)
def test_the_next_time_is_the_one_that_a_walk_finds(minute, hour, day, weekday, zone, change, offset):
    cron = f"{minute} {hour} {day} * {weekday}"
    moment = at(CHANGES[zone][change], zone) + offset
    found = walked(cron, moment, zone, minutes=3 * 1440)
    after = parse_cron(cron).after(moment, zone)
    if found is None:
        assert after is None or after > moment + 2.9 * 86_400
    else:
        assert after == found


@given(
    moment=st.floats(0, 4e9),
    zone=st.sampled_from(ZONES),
    cron=st.sampled_from(["7 3 * * *", "*/7 * * * *", "0 0 L * 1#1"]),
)
def test_times_only_go_forward_and_stand_on_minutes(moment, zone, cron):
    after = parse_cron(cron).after(moment, zone)
    assert after is not None
    assert after > moment
    assert after % 60 == 0


def test_working_days_are_the_nearest_within_the_month():
    for year, month in [(2026, m) for m in range(1, 13)] + [(2024, 2)]:
        length = calendar.monthrange(year, month)[1]
        for wanted in range(1, length + 1):
            workdays = [n for n in range(1, length + 1) if date(year, month, n).weekday() < 5]
            nearest = min(workdays, key=lambda n: (abs(n - wanted), n))
            before = at(f"{year}-{month:02}-01") - 1
            found = parse_cron(f"0 0 {wanted}W {month} *").after(before, UTC)
            assert datetime.fromtimestamp(found, UTC).day == nearest
