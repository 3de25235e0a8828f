"""Pick the engine that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.backends.sqlite.stores import SqliteStores
from corral.errors import ConfigError

if TYPE_CHECKING:
    from corral.backends.stores import Stores


def open_stores(url: str, *, sync: str = "normal", pool_max: int = 10) -> Stores:
    """The stores at `url` (`sqlite:///path/to/file.db` or `postgresql://…`), not started yet.

    `sync` is for SQLite alone (`normal` or `full`), `pool_max` for PostgreSQL (connections of this process).
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        return SqliteStores(url, sync=sync)
    if scheme in {"postgres", "postgresql"}:
        from corral.backends.postgres.stores import PostgresStores  # noqa: PLC0415 - asyncpg is an extra

        return PostgresStores(url, pool_max=pool_max)
    raise ConfigError(
        f"The store URL starts with {scheme!r}; use sqlite:///path/to/file.db or postgresql://user@host/database "
        "(setting `store.url`, environment `CORRAL_STORE_URL`, flag `--store`)."
    )
