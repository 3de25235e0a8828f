"""A PostgreSQL whose log has been round once, as in a server that has been used for a while.

A new server makes each file of its log when it gets there: 16 MB are written and synced while everybody who commits waits,
13 ms and more here, twice a second under a flood. Afterwards the files are used again. An idle queue writes no such amounts,
so beside it a flood on a new server measures the making of files and hardly anything else.
"""

from __future__ import annotations

import asyncpg

_FILES = 64
_SETTINGS = ("min_wal_size = '1GB'", "max_wal_size = '4GB'")


async def wear_in(url: str) -> None:
    """Have the files made, and kept."""
    connection = await asyncpg.connect(url)
    try:
        for setting in _SETTINGS:
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
        for _ in range(_FILES):
            await connection.execute("SELECT pg_logical_emit_message(false, 'bench', 'next'), pg_switch_wal()")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
