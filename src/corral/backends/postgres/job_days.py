"""The partitions of jobs: one per day of their ids, made a week ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("job_days.sql"))

# As far as the migration makes them.
_AHEAD = 7


async def make_days(engine: Engine) -> None:
    """Make the partitions of the coming days, if we may; without them, rows go into the default ones."""
    (missing,) = await engine.fetch_one(_SQL["missing_days"], _AHEAD)
    if missing:
        await engine.fetch(_SQL["make_days"], _AHEAD)
