"""The project one stands in: its settings, its file with the agents, and the servers that run from here."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from corral.cli.failure import Exit, Failure

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.server.found import RunningServer
    from corral.settings.load import Loaded
    from corral.settings.sections import StoreSettings

RUN_FOLDER = Path(".corral/run")
_CONNECT_S = 1.0
_ANSWERING = frozenset({"all", "api"})
_CONFIG_FILES = ("corral.yaml", ".bedrock_agentcore.yaml")


def project_folder(target: str | None) -> Path:
    """Where settings are read from: here, or beside the file with the agents if only there are some."""
    here = Path.cwd()
    if target is None or any((here / name).is_file() for name in _CONFIG_FILES):
        return here
    path = Path(target.partition(":")[0])
    return path.resolve().parent if path.is_file() else here


def load_project(target: str | None, config: Path | None, flags: Mapping[str, object] | None = None) -> Loaded:
    """The settings of this project. Raises `ConfigError`."""
    from corral.settings.load import load_settings  # noqa: PLC0415 - `corral --help` must not wait for settings

    return load_settings(config, flags={**(flags or {}), "entrypoint": target}, directory=project_folder(target))


def open_store(settings: StoreSettings) -> Stores:
    """The project's store, for one command: nothing is connected yet."""
    from corral.backends.open import open_stores  # noqa: PLC0415 - the engine is loaded when it is asked

    return open_stores(settings.url, sync=settings.sync, pool_max=1)


def find_target(target: str | None, loaded: Loaded) -> str:
    """The file with the agents, given or configured; a configured one stands beside its settings."""
    found = target or loaded.settings.entrypoint
    where, colon, name = found.partition(":")
    if target is None and where.endswith(".py") and not Path(where).is_file() and loaded.files:
        beside = Path(loaded.files[-1]).parent / where
        where = str(beside) if beside.is_file() else where
    if where.endswith(".py") and not Path(where).is_file():
        raise Failure(
            f"There is no file {where} in {Path.cwd()}.",
            "Name the file with your agents (`corral dev FILE`), or make a project with `corral init`.",
            code="app_load_error",
            status=Exit.INVALID,
        )
    return f"{where}{colon}{name}"


def running_servers() -> list[tuple[RunningServer, bool]]:
    """The servers that were started from this folder, and whether each is still alive. The newest first."""
    import msgspec  # noqa: PLC0415 - as above

    from corral.server.found import RunningServer  # noqa: PLC0415 - as above
    from corral.server.runfile import is_alive  # noqa: PLC0415 - as above

    found = []
    for path in sorted(RUN_FOLDER.glob("*.json")):
        try:
            server = msgspec.json.decode(path.read_bytes(), type=RunningServer)
        except (OSError, msgspec.DecodeError):
            continue  # it ended just now, or another program wrote there
        found.append((server, is_alive(server.pid)))
    return sorted(found, key=lambda pair: -pair[0].started_at)


def server_url(server: RunningServer) -> str | None:
    """Where a server on this machine answers; none: it does not listen."""
    if not server.port:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - asked, not bound
    host = host.strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def local_url() -> str | None:
    """The server that runs from this folder, if one does."""
    for server, alive in running_servers():
        url = server_url(server)
        if alive and url and server.role in _ANSWERING and server.state == "serving" and _accepts(url):
            return url
    return None


def _accepts(url: str) -> bool:
    """Whether somebody listens there: after a crash, the process id in the file may be another program's."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), _CONNECT_S).close()
    except OSError:
        return False
    return True
