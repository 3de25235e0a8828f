"""Bring the schema `corral` of a database up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.migration import pending, read_migrations
from corral.backends.queries import read_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from corral.backends.migration import Migration

# Any number will do, as long as every version of Corral takes the same.
_LOCK = 0x436F7272616C
# A step that moves rows takes as long as there are many, and who comes meanwhile waits for it.
_STEP_S = 3600.0

_SQL = read_queries(Path(__file__).with_name("migrate.sql"))

STEPS = read_migrations(Path(__file__).parent / "migrations")
"""All steps this program knows."""

NEWEST_FENCE: str = _SQL["newest_fence"]
"""The query for the newest step of a database in use that older programs cannot go on with."""


async def migrate(connection: Connection[Any], url: str, *, known: Sequence[Migration] = STEPS) -> None:
    """Apply what is missing, all of it or nothing, while no other process does the same."""
    if not pending(known, await applied(connection), url):
        return
    async with connection.transaction():
        await connection.execute(_SQL["lock"], _LOCK, timeout=_STEP_S)
        if not await connection.fetchval(_SQL["has_schema"]):
            await connection.execute("CREATE SCHEMA corral")
        await connection.execute(_SQL["make_ledger"])
        for step in pending(known, await applied(connection), url):
            await connection.execute(step.sql, timeout=_STEP_S)
            await connection.execute(_SQL["note"], step.version, step.name, step.checksum)


async def applied(connection: Connection[Any]) -> dict[int, str]:
    """Version and checksum of the steps this database has; none when it was never used."""
    if not await connection.fetchval(_SQL["has_ledger"]):
        return {}
    return dict(await connection.fetch(_SQL["applied"]))
