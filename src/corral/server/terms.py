"""What a supervisor must know of the settings. The rest is for its workers; it is not looked into, and need not be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from corral.settings.sections import Settings


class Terms(NamedTuple):
    """Some of the `server` section, and all settings for workers: as they are, or as `written` says them."""

    host: str
    port: int
    role: str
    workers: int
    drain_s: float
    drain_delay_s: float
    settings: Settings | bytes

    def written(self) -> bytes:
        """For another process, which reads it by `read_terms`."""
        import msgspec  # noqa: PLC0415 - a supervisor reads only, and does without

        settings = self.settings if isinstance(self.settings, bytes) else msgspec.json.encode(self.settings)
        return json.dumps(self[:-1]).encode() + b"\n" + settings

    def opened(self) -> Settings:
        """All settings, in a process that can do something with them."""
        if not isinstance(self.settings, bytes):
            return self.settings
        import msgspec  # noqa: PLC0415 - as above

        from corral.settings.sections import Settings  # noqa: PLC0415 - as above

        return msgspec.json.decode(self.settings, type=Settings)


def read_terms(written: bytes) -> Terms:
    """What another process wrote."""
    head, _, settings = written.partition(b"\n")
    host, port, role, workers, drain_s, drain_delay_s = json.loads(head)
    return Terms(host, port, role, workers, drain_s, drain_delay_s, settings)


def terms_of(settings: Settings, *, host: str | None = None, port: int | None = None) -> Terms:
    """What these settings say. `host` and `port`: where the server is bound since its start, whatever they say now."""
    server = settings.server
    asked = server.host, server.port
    if host is not None and port is not None and asked != (host, port):
        import msgspec  # noqa: PLC0415 - as above

        server = msgspec.structs.replace(server, host=host, port=port)
        settings = msgspec.structs.replace(settings, server=server)
    return Terms(*asked, server.role, server.workers, server.drain_s, server.drain_delay_s, settings)


def terms_again(settings: Settings, before: Terms, *, listens: bool) -> Terms:
    """What settings that were read anew say to a server that runs. Raises `ConfigError` where they let anybody in."""
    terms = terms_of(settings, host=before.host, port=before.port)
    if listens:
        from corral.server.listener import check_exposure  # noqa: PLC0415 - as above

        check_exposure(terms.opened())
    return terms
