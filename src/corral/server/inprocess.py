"""Serve from the process one is in: `app.run()`."""

from __future__ import annotations

import sys
from typing import Any

from corral.errors import AppLoadError, CorralError
from corral.server.address import url_of
from corral.server.listener import bind
from corral.server.loading import is_loading
from corral.server.worker import Servable, Worker, run_worker
from corral.settings.sections import ServerSettings

# What uvicorn.run takes and a server of one process can honour.
_OPTIONS = frozenset({"root_path", "ws_max_size", "ws_ping_interval", "ws_ping_timeout", "headers", "date_header"})


def run_in_process(service: Servable, settings: ServerSettings, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C. `options` are uvicorn's; those that make no sense here are left alone."""
    if is_loading():
        raise AppLoadError("it calls `app.run()` while it is loaded. Put that under `if __name__ == '__main__':`.")
    try:
        _serve(service, settings, options)
    except CorralError as error:
        sys.exit(error.message)  # the program is the server: a message says more than a traceback


def _serve(service: Servable, settings: ServerSettings, options: dict[str, Any]) -> None:
    listener = bind(settings.host, settings.port)
    host, port = listener.getsockname()[:2]

    def ready() -> None:
        # Tools that were made for AgentCore's own runtime wait for this line.
        print(f"Uvicorn running on {url_of(host, port)} (Press CTRL+C to quit)", flush=True)  # noqa: T201 - see above

    given = {name: value for name, value in options.items() if name in _OPTIONS}
    with listener:
        run_worker(lambda: Worker(service, listener, settings, options=given), ready)
    sys.stdout.flush()
