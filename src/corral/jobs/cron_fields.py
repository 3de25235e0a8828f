"""The fields of a cron expression: what people may write there, and what each means."""

from __future__ import annotations

import calendar
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

from corral.errors import ValidationFailed

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_YEARS_MAX = 60
"""The 29th of February falls on a given day of the week every 28 years, and around 2100 every 40."""
_LENGTH_MAX = 1000
_LAST_BACK_MAX = 30
_WEEKEND = (5, 6)

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_EVERY_MIN_S, _EVERY_MAX_S = 1.0, 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five: its name, its bounds, and the words that stand for numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """In lower case; the first one stands for `low`."""

    def number(self, word: str) -> int | None:
        """What a number or a name means; None: neither."""
        if word.isascii() and word.isdigit() and len(word) <= 4:  # noqa: PLR2004 - no field has longer numbers
            return int(word)
        lowered = word.lower()
        return self.names.index(lowered) + self.low if lowered in self.names else None


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, tuple(name.lower() for name in calendar.month_abbr[1:]))
_WEEKDAY = _Field("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


@dataclass(frozen=True, slots=True)
class Days:
    """Which days: months, and days of the month or of the week."""

    months: frozenset[int]
    numbers: frozenset[int]
    last: frozenset[int]
    """`L` is 0, `L-3` is 3: so many days before the last one."""
    workdays: frozenset[int]
    """`15W`: the working day nearest to the 15th within the month; `LW`, the last one, is 0."""
    weekdays: frozenset[int]
    """Sunday is 0."""
    nth: frozenset[tuple[int, int]]
    """`fri#2` is (5, 2); `friL`, the last one of the month, is (5, 0)."""
    both: bool
    """Day of month and day of week must both match: so it is where one of them begins with `*`; else one is enough."""

    def starting(self, first: date) -> Iterator[date]:
        """Days that match, from `first` on."""
        year, month, start = first.year, first.month, first.day
        last_year = min(year + _YEARS_MAX, date.max.year)
        while year <= last_year:
            if month in self.months:
                length = calendar.monthrange(year, month)[1]
                for number in range(start, length + 1):
                    day = date(year, month, number)
                    if self._match(day, length):
                        yield day
            month, start = month + 1, 1
            if month > _MONTH.high:
                year, month = year + 1, 1

    def _match(self, day: date, length: int) -> bool:
        if self.both:
            return self._in_month(day, length) and self._in_week(day, length)
        return self._in_month(day, length) or self._in_week(day, length)

    def _in_month(self, day: date, length: int) -> bool:
        number = day.day
        return (
            number in self.numbers
            or length - number in self.last
            or any(_workday(day, wanted, length) == number for wanted in self.workdays)
        )

    def _in_week(self, day: date, length: int) -> bool:
        weekday = day.isoweekday() % 7
        return (
            weekday in self.weekdays
            or (weekday, (day.day + 6) // 7) in self.nth
            or (day.day + 7 > length and (weekday, 0) in self.nth)
        )


def _workday(day: date, wanted: int, length: int) -> int:
    """The number of the working day nearest to `wanted` (0: the last) in the month of `day`."""
    wanted = wanted or length
    if wanted > length:
        return 0
    weekday = (day.weekday() + wanted - day.day) % 7
    if weekday == _WEEKEND[0]:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == _WEEKEND[1]:
        return wanted + 1 if wanted < length else wanted - 2
    return wanted


@dataclass(frozen=True, slots=True)
class Expression:
    """Five fields."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days


def refuse(expression: str, reason: str) -> NoReturn:
    """Say what is wrong with an expression."""
    shown = expression if len(expression) <= 100 else expression[:100] + "…"  # noqa: PLR2004 - one line
    message = f"Cron expression {shown!r}: {reason}"
    raise ValidationFailed(message, errors=[{"pointer": "/cron", "message": message}])


def every_s(expression: str) -> float:
    """The seconds of `@every 1h30m`."""
    written = expression[len("@every") :].strip().lower().replace(" ", "")
    if not written or _DURATION.sub("", written):
        refuse(expression, "after @every stands a duration, such as 90s, 15m, 1h30m, 1d or 2w.")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(written))
    if not _EVERY_MIN_S <= seconds <= _EVERY_MAX_S:
        refuse(expression, "@every takes 1s to 366d.")
    return seconds


def parse_expression(text: str, said: str) -> Expression:
    """Understand five fields; `said` is what the person wrote, for complaints."""
    if len(text) > _LENGTH_MAX:
        refuse(said, f"it has more than {_LENGTH_MAX} characters.")
    if text.startswith("@"):
        _refuse_name(text, said)
    parts = text.split()
    if len(parts) != len(_FIELDS):
        hint = " Seconds are not among them: use @every 10s." if len(parts) > len(_FIELDS) else ""
        refuse(said, f"it has {len(parts)} fields, but takes 5: minute, hour, day of month, month, day of week.{hint}")
    minute, hour, number, month, weekday = (
        _Reader(field, part, said) for field, part in zip(_FIELDS, parts, strict=True)
    )
    both = any(reader.text.startswith(("*", "?")) for reader in (number, weekday))
    days = Days(
        months=frozenset(month.plain()),
        numbers=frozenset(number.plain()),
        last=frozenset(number.last),
        workdays=frozenset(number.workdays),
        weekdays=frozenset(value % 7 for value in weekday.plain()),
        nth=frozenset(weekday.nth),
        both=both,
    )
    if next(days.starting(date(2000, 1, 1)), None) is None:
        refuse(said, f"it never comes: no day matches {number.text!r} (day of month) in {month.text!r} (month).")
    return Expression(tuple(sorted(minute.plain())), tuple(sorted(hour.plain())), days)


def _refuse_name(text: str, said: str) -> NoReturn:
    if text.lower() == "@reboot":
        refuse(said, "@reboot means nothing here, where processes come and go; submit the job when you deploy.")
    near = difflib.get_close_matches(text.lower(), [*NAMED, "@every"], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(NAMED)} and @every."
    refuse(said, f"{text.split(maxsplit=1)[0]!r} is not known{hint}")


class _Reader:
    """Reads one field."""

    def __init__(self, field: _Field, text: str, said: str) -> None:
        self.field = field
        self.text = text
        self.said = said
        self.last: set[int] = set()
        self.workdays: set[int] = set()
        self.nth: set[tuple[int, int]] = set()
        self._plain: set[int] = set()
        for part in text.split(","):
            if not self._special(part.upper()):
                self._range(part)

    def plain(self) -> set[int]:
        """The numbers it names outright."""
        return self._plain

    def _refuse(self, reason: str) -> NoReturn:
        refuse(self.said, f"{self.field.name} {self.text!r}: {reason}")

    def _special(self, part: str) -> bool:
        """`L`, `L-3`, `LW`, `15W`; `5L`, `fri#2`. False: it is nothing of that."""
        if self.field is _DAY:
            return self._special_day(part)
        if self.field is _WEEKDAY:
            return self._special_weekday(part)
        return False

    def _special_day(self, part: str) -> bool:
        if part in {"LW", "WL"}:
            self.workdays.add(0)
        elif part == "L":
            self.last.add(0)
        elif part.startswith("L-"):
            back = self.field.number(part[2:])
            if back is None or not 1 <= back <= _LAST_BACK_MAX:
                self._refuse(f"after L- stands how many days before the last one, 1 to {_LAST_BACK_MAX}.")
            self.last.add(back)
        elif part.endswith("W"):
            self.workdays.add(self._value(part[:-1]))
        else:
            return False
        return True

    def _special_weekday(self, part: str) -> bool:
        if part == "L":
            self._refuse("L needs a day before it: 5L or friL is the last Friday of the month.")
        if "#" in part:
            name, _, place = part.partition("#")
            if place not in {"1", "2", "3", "4", "5"}:
                self._refuse("after # stands which one of the month, 1 to 5: fri#2 is the second Friday.")
            self.nth.add((self._value(name) % 7, int(place)))
        elif part.endswith("L"):
            self.nth.add((self._value(part[:-1]) % 7, 0))
        else:
            return False
        return True

    def _range(self, part: str) -> None:
        """`*`, `3`, `3-7`, `fri-mon`, each perhaps with `/step`."""
        field = self.field
        whole, slash, step_text = part.partition("/")
        step = self._step(step_text) if slash else 1
        high = field.high if field is not _WEEKDAY else 6
        if whole == "*" or (whole == "?" and field in {_DAY, _WEEKDAY}):
            self._plain.update(range(field.low, high + 1, step))
            return
        first_text, dash, last_text = whole.partition("-")
        first = self._value(first_text)
        if not dash and not slash:
            self._plain.add(first)
            return
        last = self._value(last_text) if dash else high
        if last < first:  # over the end of the hour, day, year or week: fri-mon, 22-2
            last += high - field.low + 1
        size = high - field.low + 1
        self._plain.update((value - field.low) % size + field.low for value in range(first, last + 1, step))

    def _step(self, text: str) -> int:
        step = self.field.number(text)
        if step is None or step < 1:
            self._refuse(f"after / stands a step, 1 or more, not {text!r}.")
        size = self.field.high - self.field.low + 1
        if step > size:
            self._refuse(
                f"a step of {step} is longer than the field; for every {step} of them, whatever the hour, use @every."
            )
        return step

    def _value(self, text: str) -> int:
        value = self.field.number(text)
        field = self.field
        if value is None:
            near = difflib.get_close_matches(text.lower(), field.names, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
            self._refuse(f"{text!r} is no number from {field.low} to {field.high}{names}.{hint}")
        if not field.low <= value <= field.high:
            self._refuse(f"{value} is not within {field.low} to {field.high}.")
        return value
