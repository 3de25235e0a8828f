"""Pick the engine that a URL names."""

from __future__ import annotations

from corral.backends.stores import Stores
from corral.errors import ConfigError


def open_stores(url: str) -> Stores:
    """The stores at `url` (`sqlite:///path/to/file.db` or `postgresql://…`), not started yet."""
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from corral.backends.sqlite.stores import SqliteStores  # noqa: PLC0415 - only the engine in use is imported

        return SqliteStores(url)
    if scheme in {"postgres", "postgresql"}:
        from corral.backends.postgres.stores import PostgresStores  # noqa: PLC0415 - asyncpg is an extra

        return PostgresStores(url)
    raise ConfigError(
        f"The store URL starts with {scheme!r}; use sqlite:///path/to/file.db or postgresql://user@host/database "
        "(setting `store.url`, environment `CORRAL_STORE_URL`, flag `--store`)."
    )
