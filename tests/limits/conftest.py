from __future__ import annotations

from corral.testing.servers.fixtures import postgres_server, postgres_url, worker_postgres_url

__all__ = ["postgres_server", "postgres_url", "worker_postgres_url"]
