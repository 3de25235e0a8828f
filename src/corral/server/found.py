"""What runs on this machine, as the files say that `corral.server.runfile` writes."""

from __future__ import annotations

import msgspec


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server on this machine, as its file says."""

    pid: int
    host: str
    port: int
    """0: it does not listen."""
    target: str
    state: str
    workers: list[int]
    started_at: float
    version: str
    directory: str
    role: str = "all"
