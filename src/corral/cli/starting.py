"""What `corral serve`, `gateway`, `worker` and `dev` do, once it is known what was asked for."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from corral.cli.project import find_target, load_project, project_folder
from corral.cli.standing import announce
from corral.server.ahead import ahead
from corral.server.terms import Terms, terms_again

_GATEWAY = "corral.gateway:app"
_KEYS = {
    "workers": "server.workers",
    "host": "server.host",
    "port": "server.port",
    "role": "server.role",
    "store": "store.url",
    "hot": "store.hot",
    "allow_unauthenticated": "security.allow_unauthenticated",
    "queue": "jobs.queues",
    "concurrency": "jobs.concurrency",
}
"""The setting that each option decides."""
_ALWAYS: dict[str, dict[str, object]] = {
    "serve": {},
    "gateway": {"jobs.worker": False, "models.gateway": True},
    "worker": {"server.role": "worker", "jobs.worker": True},
}
"""What each verb decides by itself."""


class Asked(NamedTuple):
    """What is to be served, and how."""

    file: str | None
    config: Path | None
    flags: dict[str, object]
    target: str
    """Another app than the project's; empty: the project's."""
    listen: bool
    as_json: bool
    status: str
    """What it is called when it is ready."""


def asked(
    verb: str, *, file: str | None = None, config: Path | None = None, as_json: bool = False, **options: Any
) -> Asked:
    """What a verb is asked for by its options, named as its function names them; none: not given."""
    flags = {
        _KEYS[name]: value for name, value in options.items() if not (value is None or value is False or value == [])
    }
    return Asked(
        file,
        config,
        flags | _ALWAYS[verb],
        _GATEWAY if verb == "gateway" else "",
        listen=verb != "worker" or options["port"] is not None,
        as_json=as_json,
        status="working" if verb == "worker" else "serving",
    )


def start(asked: Asked) -> int:
    """Serve until told to end; returns the exit status."""
    loaded = load_project(asked.file, asked.config, asked.flags)
    target = asked.target
    if not target:
        target = find_target(asked.file, loaded)
        _say_loading(target)
    if (place := ahead()) is not None:
        note = {
            "target": target,
            "announced": asked.status if asked.as_json else None,
            "settings": [asked.file, None if asked.config is None else str(asked.config), asked.flags],
        }
        return place.hand_over(note, target, loaded.settings, listen=asked.listen)
    from corral.server.supervisor import serve  # noqa: PLC0415 - as rarely as can be: this process was not sent ahead

    return serve(
        target,
        loaded.settings,
        listen=asked.listen,
        reload_settings=lambda: load_project(asked.file, asked.config, asked.flags).settings,
        announce=partial(announce, target, asked.status) if asked.as_json else None,
    )


def start_dev(file: str | None, config: Path | None, flags: dict[str, object], *, as_json: bool) -> int:
    """As `start`, with one worker that is replaced whenever a file changes."""
    loaded = load_project(file, config, flags)
    target = find_target(file, loaded)
    _say_loading(target)
    from corral.server.supervisor import dev  # noqa: PLC0415 - the server is loaded when it is to serve

    path = Path(target.partition(":")[0])
    folder = path.resolve().parent if path.is_file() else project_folder(target)
    return dev(
        target,
        loaded.settings,
        directory=folder,
        reload_settings=lambda: load_project(file, config, flags).settings,
        announce=partial(announce, target, "serving") if as_json else None,
    )


def read_again(given: list[Any], before: Terms, *, listens: bool) -> bytes:
    """The terms as they are now, written: for the supervisor that was told of them by `start`."""
    file, config, flags = given
    settings = load_project(file, None if config is None else Path(config), flags).settings
    return terms_again(settings, before, listens=listens).written()


def _say_loading(target: str) -> None:
    """What a person reads while the agents' own imports take their time; one line, as a thread would be forked."""
    if sys.stderr.isatty():
        from corral.cli.output import note  # noqa: PLC0415 - only for people

        note(f"Loading {target} …", faint=True)
