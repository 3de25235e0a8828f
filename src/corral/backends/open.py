"""Pick the engine that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.backends.sqlite.stores import SqliteStores
from corral.errors import ConfigError

if TYPE_CHECKING:
    from corral.backends.stores import Stores


def open_stores(url: str, *, sync: str = "normal", pool_max: int = 10, hot: str = "") -> Stores:
    """The stores at `url` (`sqlite:///path/to/file.db` or `postgresql://…`), not started yet.

    `sync` is for SQLite alone (`normal` or `full`), `pool_max` for PostgreSQL (connections of this process). `hot` names a
    Redis or Valkey through which wake-ups travel as well.
    """
    stores = _engine(url, sync=sync, pool_max=pool_max)
    if not hot:
        return stores
    try:
        from corral.backends.redis.stores import HotStores  # noqa: PLC0415 - redis is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Wake-ups through Redis need the package {error.name}: install corral[redis], or leave out `store.hot` (`--hot`)."
        ) from None
    return HotStores(stores, hot)


def _engine(url: str, *, sync: str, pool_max: int) -> Stores:
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
