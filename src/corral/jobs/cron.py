"""When a job comes again: five fields as in a crontab, `@hourly` and its like, or `@every 90s`. Pure functions.

Times are those of a clock on the wall. Where that clock jumps ahead, what fell into the gap runs once, right behind
it; where it is set back, what already ran does not run again. An expression that holds in every hour goes by the hour
that passes instead, as in a crontab: it neither pauses nor repeats itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from corral.jobs.cron_fields import NAMED, Expression, every_s, parse_expression

_MINUTE = 60
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was understood."""

    text: str
    period_s: float | None
    """`@every`: so often, counted from 1970, so that all processes agree on the times."""
    expression: Expression | None

    def after(self, moment: float, zone: tzinfo) -> float | None:
        """The first time later than `moment` (seconds since 1970), or none: it never comes again."""
        if self.period_s is not None:
            return (math.floor(moment / self.period_s) + 1) * self.period_s
        assert self.expression is not None  # noqa: S101 - one of the two is given
        if len(self.expression.hours) == _HOURS:
            return _after_by_the_hour(self.expression, moment, zone)
        return _after_by_the_wall(self.expression, moment, zone)

    def between(self, first: float, last: float, zone: tzinfo) -> Iterator[float]:
        """The times later than `first` and up to `last`."""
        moment = self.after(first, zone)
        while moment is not None and moment <= last:
            yield moment
            moment = self.after(moment, zone)


def parse_cron(text: str) -> Cron:
    """Understand an expression, or raise `ValidationFailed` that names the field."""
    said = " ".join(text.split())
    if said.lower().startswith("@every"):
        return Cron(said, every_s(said), None)
    return Cron(said, None, parse_expression(NAMED.get(said.lower(), said), said))


def _after_by_the_wall(expression: Expression, moment: float, zone: tzinfo) -> float | None:
    # Wall times in order lead to moments in order, so the first that is late enough is the answer.
    wall = datetime.fromtimestamp(moment, zone).replace(tzinfo=None)
    for day in expression.days.starting(wall.date()):
        for hour in expression.hours:
            for minute in expression.minutes:
                at = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - a time on the wall
                if at <= wall:
                    continue
                found = _moment(at, zone)
                if found > moment:
                    return found
    return None


def _after_by_the_hour(expression: Expression, moment: float, zone: tzinfo) -> float | None:
    at = (math.floor(moment / _MINUTE) + 1) * _MINUTE
    minutes = frozenset(expression.minutes)
    while True:
        wall = datetime.fromtimestamp(at, zone)
        day = next(expression.days.starting(wall.date()), None)
        if day is None:
            return None
        if day != wall.date():
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a time on the wall
            # A clock set back over midnight shows that midnight twice.
            at = max(int(_moment(midnight, zone)), at + _MINUTE)
        elif wall.minute in minutes:
            return float(at)
        else:
            at += _MINUTE


def _moment(wall: datetime, zone: tzinfo) -> float:
    """When the clock shows this for the first time; if it never does, when it jumps over it."""
    moment = wall.replace(tzinfo=zone).timestamp()
    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == wall:
        return moment
    # In a gap, `fold=0` counts with the offset before the jump and `fold=1` with the one behind it: the jump is between.
    low, high = wall.replace(tzinfo=zone, fold=1).timestamp(), moment
    while high - low > 1:
        middle = math.floor((low + high) / 2)
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return float(high)
