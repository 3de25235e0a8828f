"""`corral jobs stats` and `corral queues`: what waits, what runs, and who works on it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli.job_shown import seconds_text
from corral.cli.jobs_api import jobs_api
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import has_colours, note, show, show_json, show_table

if TYPE_CHECKING:
    from rich.console import RenderableType

queues_app = new_app()

_QUEUE_COLUMNS = ("QUEUE", "QUEUED", "SCHEDULED", "RUNNING", "WAITING", "OLDEST")
_WORKER_COLUMNS = ("WORKER", "QUEUES", "RUNNING", "DONE", "FAILED", "JOBS/S", "UP", "SEEN")


@queues_app.command("queues")
def queues(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show the queues and the workers: the signal to scale on."""
    _once(jobs_api(url, api_key).queues(), as_json=as_json)


def stats(
    once: Annotated[bool, typer.Option("--once", help="Show it once, on a terminal as well.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between looks.")] = 1.0,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show queues and workers, again and again on a terminal until Ctrl-C."""
    api = jobs_api(url, api_key)
    found = api.queues()
    if once or as_json or not has_colours(sys.stdout):
        _once(found, as_json=as_json)
    else:
        watch(found, api.queues, lambda: time.sleep(interval))


def _once(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    if not found["queues"]:
        note("No job is open.")
    else:
        show_table(_QUEUE_COLUMNS, _queue_rows(found))
    if found["workers"]:
        show("")
        show_table(_WORKER_COLUMNS, _worker_rows(found))
    else:
        note("Nobody works on jobs: start a worker (`corral worker`, `corral serve`).")


def watch(found: Mapping[str, Any], ask: Callable[[], Mapping[str, Any]], pause: Callable[[], None]) -> None:
    """Show it on the terminal, anew after each pause, until Ctrl-C."""
    from rich.console import Console  # noqa: PLC0415 - Rich is slow to load, and only tables on a terminal need it
    from rich.live import Live  # noqa: PLC0415 - as above

    with Live(_drawn(found), console=Console(), auto_refresh=False) as live:
        try:
            while True:
                pause()
                live.update(_drawn(ask()), refresh=True)
        except KeyboardInterrupt:
            return  # that is how one leaves


def _drawn(found: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    tables = []
    for columns, rows in ((_QUEUE_COLUMNS, _queue_rows(found)), (_WORKER_COLUMNS, _worker_rows(found))):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            table.add_column(column, no_wrap=True, overflow="ellipsis", justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))  # Rich takes control characters out of a Text
        tables.append(table)
    at = time.strftime("%H:%M:%S")
    return Group(tables[0], "", tables[1], Text(f"\n{at}, Ctrl-C to leave", style="dim"))


def _queue_rows(found: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [
            queue["queue"],
            queue["queued"],
            queue["scheduled"],
            queue["running"],
            queue["waiting"],
            seconds_text(queue["oldest_queued_s"]) if queue["oldest_queued_s"] else "-",
        ]
        for queue in found["queues"]
    ]


def _worker_rows(found: Mapping[str, Any]) -> list[list[Any]]:
    now = time.time()
    return [
        [
            worker["worker"],
            ",".join(worker["queues"]) or "all",
            f"{worker['running']}/{worker['slots']}",
            worker["finished"],
            worker["failed"],
            f"{worker['per_s']:.1f}",
            seconds_text(max(0.0, now - worker["started_at"])),
            f"{seconds_text(max(0.0, now - worker['seen_at']))} ago",
        ]
        for worker in found["workers"]
    ]
