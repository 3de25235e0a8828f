"""Bring the schema `corral` of a database up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.backends.migration import pending, read_migrations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from corral.backends.migration import Migration

# Any number will do, as long as every version of Corral takes the same.
_LOCK = 0x436F7272616C

_LEDGER = """
CREATE TABLE IF NOT EXISTS corral.migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


STEPS = read_migrations(Path(__file__).parent / "migrations")
"""All steps this program knows."""


async def migrate(connection: Connection[Any], url: str, *, known: Sequence[Migration] = STEPS) -> None:
    """Apply what is missing, all of it or nothing, while no other process does the same."""
    if not pending(known, await applied(connection), url):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Asked first, because the right to create is demanded even when the schema is there.
        if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = 'corral'"):
            await connection.execute("CREATE SCHEMA corral")
        await connection.execute(_LEDGER)
        for step in pending(known, await applied(connection), url):
            await connection.execute(step.sql)
            await connection.execute(
                "INSERT INTO corral.migrations (version, name, checksum) VALUES ($1, $2, $3)",
                step.version,
                step.name,
                step.checksum,
            )


async def applied(connection: Connection[Any]) -> dict[int, str]:
    """Version and checksum of the steps this database has; none when it was never used."""
    if await connection.fetchval("SELECT to_regclass('corral.migrations')") is None:
        return {}
    return dict(await connection.fetch("SELECT version, checksum FROM corral.migrations"))
