"""The audit of one service: who writes it, who signs it, and where what was signed goes besides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from corral.observability.metrics import Metrics
from corral.security.anchoring import Anchoring
from corral.security.audit import AuditWriter
from corral.security.keeping import Keeper
from corral.security.signing import AuditKeys
from corral.security.store import AuditLog
from corral.settings.sections import Settings

_FOLDER = Path(".corral")
_KEY_FILE = "audit.key"
_SQLITE = "sqlite:///"


class AuditBook:
    """The parts of the audit, and their life. Each step may come twice."""

    def __init__(self, settings: Settings, log: AuditLog, metrics: Metrics) -> None:
        """Nothing is opened yet. Raises `ConfigError` for keys that are none."""
        security = settings.security
        chain = security.audit_chain
        self.anchor = Anchoring(chain.anchor, allow=chain.anchor_allow) if chain.anchor else None
        self.keys = audit_keys(settings)
        self.keeper = Keeper(log, self.keys, chain, keep_s=security.audit_keep_s, metrics=metrics, anchor=self.anchor)
        self.writer = AuditWriter(log, metrics, written=self.keeper.written) if security.audit else None

    async def start(self) -> None:
        """Begin to write, and to look at what was written."""
        if self.anchor is not None:
            await self.anchor.start()
        if self.writer is not None:
            await self.keeper.start()
            await self.writer.start()

    async def drain(self) -> None:
        """Write what was added until now."""
        if self.writer is not None:
            await self.writer.drain()

    async def stop(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            await self.writer.stop()
        await self.keeper.stop()
        if self.anchor is not None:
            await self.anchor.stop()


def audit_keys(settings: Settings, more: Iterable[str] = ()) -> AuditKeys:
    """The keys of a service's audit, and `more` that are believed."""
    chain = settings.security.audit_chain
    return AuditKeys(key=chain.key, file=key_file(settings), trusted=[*chain.trusted, *more])


def key_file(settings: Settings) -> Path:
    """Where they are kept: where the settings say, else beside the store's file, else in the folder of this machine."""
    named = settings.security.audit_chain.key_file
    if named:
        return Path(named)
    path = settings.store.url.removeprefix(_SQLITE)
    return (Path(path).parent if path != settings.store.url else _FOLDER) / _KEY_FILE
