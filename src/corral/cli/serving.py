"""`corral serve`, `corral dev` and `corral worker`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from corral.cli.options import Config, File, Hot, Json, Store, new_app
from corral.cli.output import note, show_json
from corral.cli.project import find_target, load_project, project_folder

serve_app = new_app()
dev_app = new_app()
worker_app = new_app()
gateway_app = new_app()

_GATEWAY = "corral.gateway:app"

Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Worker processes.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", "-p", help="Port to listen on; 0 takes a free one.")]


@serve_app.command()
def serve(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    file: File = None,
    workers: Workers = None,
    host: Host = None,
    port: Port = None,
    store: Store = None,
    hot: Hot = None,
    config: Config = None,
    role: Annotated[
        Literal["all", "api", "worker", "control"] | None,
        typer.Option("--role", help="Answer requests (api), run jobs (worker), only keep house (control), or all."),
    ] = None,
    allow_unauthenticated: Annotated[
        bool, typer.Option("--allow-unauthenticated", help="Listen beyond this machine without any key.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Serve the agents until SIGTERM or Ctrl-C. SIGHUP loads code and settings anew."""
    flags: dict[str, object] = {
        "server.workers": workers,
        "server.host": host,
        "server.port": port,
        "server.role": role,
        "store.url": store,
        "store.hot": hot,
        "security.allow_unauthenticated": allow_unauthenticated or None,
    }
    return _run(file, config, flags, as_json=as_json)


@gateway_app.command()
def gateway(
    workers: Workers = None,
    host: Host = None,
    port: Port = None,
    store: Store = None,
    hot: Hot = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Serve models alone, without any agent: OpenAI's API at /v1, in front of the providers in corral.yaml."""
    flags: dict[str, object] = {
        "server.workers": workers,
        "server.host": host,
        "server.port": port,
        "store.url": store,
        "store.hot": hot,
        "jobs.worker": False,
        "models.gateway": True,
    }
    return _run(None, config, flags, target=_GATEWAY, as_json=as_json)


@dev_app.command()
def dev(
    file: File = None,
    host: Host = None,
    port: Port = None,
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Serve the agents with one worker that is replaced whenever a file changes."""
    flags: dict[str, object] = {"server.host": host, "server.port": port, "store.url": store}
    loaded = load_project(file, config, flags)
    target = find_target(file, loaded)
    _say_loading(target)
    from corral.server.supervisor import dev as run  # noqa: PLC0415 - the server is loaded when it is to serve

    path = Path(target.partition(":")[0])
    folder = path.resolve().parent if path.is_file() else project_folder(target)
    return run(
        target,
        loaded.settings,
        directory=folder,
        reload_settings=lambda: load_project(file, config, flags).settings,
        announce=partial(_announce, target, status="serving") if as_json else None,
    )


@worker_app.command()
def worker(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    file: File = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Take jobs from this queue; repeatable. None: from all.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Jobs that one process runs at once.")
    ] = None,
    workers: Workers = None,
    store: Store = None,
    hot: Hot = None,
    config: Config = None,
    host: Annotated[str, typer.Option("--host", help="Address for --port.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", "-p", help="Answer /ping, /readyz and /metrics here; 0 takes a free one.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run jobs until SIGTERM or Ctrl-C, which finish or hand back what runs. Listens nowhere, unless --port is given."""
    flags: dict[str, object] = {
        "server.role": "worker",
        "server.workers": workers,
        "server.host": host,
        "server.port": port,
        "jobs.worker": True,
        "jobs.queues": queue or None,
        "jobs.concurrency": concurrency,
        "store.url": store,
        "store.hot": hot,
    }
    return _run(file, config, flags, listen=port is not None, as_json=as_json, status="working")


def _run(
    file: str | None,
    config: Path | None,
    flags: dict[str, object],
    *,
    target: str = "",
    listen: bool = True,
    as_json: bool,
    status: str = "serving",
) -> int:
    """Until it is told to end. `target`: another app than the project's."""
    loaded = load_project(file, config, flags)
    if not target:
        target = find_target(file, loaded)
        _say_loading(target)
    from corral.server.supervisor import serve as run  # noqa: PLC0415 - the server is loaded when it is to serve

    return run(
        target,
        loaded.settings,
        listen=listen,
        reload_settings=lambda: load_project(file, config, flags).settings,
        announce=partial(_announce, target, status=status) if as_json else None,
    )


def _say_loading(target: str) -> None:
    """What a person reads while the agents' own imports take their time; one line, as a thread would be forked."""
    if sys.stderr.isatty():
        note(f"Loading {target} …", faint=True)


def _announce(target: str, url: str, workers: list[int], *, status: str) -> None:
    """What a program that starts servers waits for."""
    show_json({"status": status, "url": url or None, "target": target, "pid": os.getpid(), "workers": workers})
