"""`corral serve`, `corral dev` and `corral worker`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from corral.cli.options import Config, File, Hot, Json, Store, new_app
from corral.cli.starting import asked, start, start_dev

serve_app = new_app()
dev_app = new_app()
worker_app = new_app()
gateway_app = new_app()

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
    return start(
        asked(
            "serve",
            file=file,
            workers=workers,
            host=host,
            port=port,
            store=store,
            hot=hot,
            config=config,
            role=role,
            allow_unauthenticated=allow_unauthenticated,
            as_json=as_json,
        )
    )


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
    return start(
        asked(
            "gateway",
            workers=workers,
            host=host,
            port=port,
            store=store,
            hot=hot,
            config=config,
            as_json=as_json,
        )
    )


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
    return start_dev(file, config, {"server.host": host, "server.port": port, "store.url": store}, as_json=as_json)


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
    return start(
        asked(
            "worker",
            file=file,
            queue=queue,
            concurrency=concurrency,
            workers=workers,
            store=store,
            hot=hot,
            config=config,
            host=host,
            port=port,
            as_json=as_json,
        )
    )
