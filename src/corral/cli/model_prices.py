"""`corral models prices`: the table that costs are worked out with, and a newer one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli.failure import Exit, Failure
from corral.cli.options import Config, Json
from corral.cli.output import note, show, show_json, show_table
from corral.cli.project import load_project
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.models.prices import PriceFile

_TABLE_BYTES_MAX = 8 * 1024 * 1024
_FETCH_S = 30.0
_OK = 200
_KEPT = ".corral/prices.json"


def prices(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only what has this in its name.")] = "",
    update: Annotated[
        str, typer.Option("--update", metavar="SOURCE", help="Take a newer table: an https:// address, or a file.")
    ] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the prices that costs are worked out with, or put a newer table in their place."""
    from corral.models.prices import hosts_of, price_table  # noqa: PLC0415 - `corral --help` must not wait for this

    settings = load_project(None, config, {}).settings.models
    if update:
        _update(update, settings.prices, as_json=as_json)
        return
    table = price_table(settings.prices, hosts=hosts_of(settings.providers))
    found = [price for price in table if model.lower() in f"{price.host}/{price.id}".lower()]
    if as_json:
        show_json({"version": table.version, "sources": table.sources, "items": found})
        return
    show_table(
        ["MODEL", "HOST", "$ IN/M", "$ OUT/M", "CACHE READ", "BATCH", "CONTEXT"],
        [
            [
                price.id,
                price.host or "-",
                f"{price.input:g}",
                f"{price.output:g}",
                "-" if price.cache_read is None else f"{price.cache_read:g}",
                "-" if price.batch is None else f"{price.batch:.0%}",
                "-" if price.context_tokens is None else f"{price.context_tokens:,}",
            ]
            for price in found
        ],
    )
    note(
        f"{len(found)} models, table of {table.version}. A newer one: `corral models prices --update SOURCE`.",
        faint=True,
    )


def _update(source: str, configured: str, *, as_json: bool) -> None:
    from corral.models.prices import prices_of, read_prices, write_prices  # noqa: PLC0415 - as above

    if source.startswith(("https://", "http://")):
        with waiting("fetching the table"):
            table = prices_of(asyncio.run(_fetched(source)), source)
    else:
        table = read_prices(Path(source).expanduser())
    path = Path(configured or _KEPT).expanduser()
    before = read_prices(path) if path.exists() else None
    changed = _changed(before, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_prices(path, table)
    if as_json:
        fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
        show_json(
            {
                "path": str(path),
                "version": table.version,
                "models": len(table.models),
                "changed": changed,
                "at": fetched_at,
            }
        )
        return
    show(f"{len(table.models)} prices of {table.version} are in {path} now; {len(changed)} are new or different.")
    for name in changed[:20]:
        show(f"  {name}")
    if not configured:
        note(f"Have them used: set `models.prices: {path}` in corral.yaml.")


def _changed(before: PriceFile | None, now: PriceFile) -> list[str]:
    known = {} if before is None else {(price.host, price.id): price for price in before.models}
    return [f"{price.host}/{price.id}".strip("/") for price in now.models if known.get((price.host, price.id)) != price]


async def _fetched(url: str) -> str:
    from corral.errors import OutboundFailed, OutboundRefused  # noqa: PLC0415 - as above
    from corral.outbound.client import Outbound  # noqa: PLC0415 - as above

    # Who types the address may reach what this machine may: a mirror of one's own is a private address.
    client = Outbound(["0.0.0.0/0", "::/0"], timeout_s=_FETCH_S, answer_max=_TABLE_BYTES_MAX)
    try:
        answer = await client.ask("GET", url, b"", {"accept": "application/json"})
    except (OutboundFailed, OutboundRefused) as error:
        raise Failure(
            f"The table could not be fetched: {error.message}", "Look at the address.", status=Exit.FAILED
        ) from None
    finally:
        await client.stop()
    if answer.status != _OK or not answer.complete:
        raise Failure(
            f"{url} answered {answer.status}{'' if answer.complete else ' with more than 8 MB'}, not with a table of prices.",
            "Look at the address.",
            status=Exit.FAILED,
        )
    return answer.body.decode("utf-8", "replace")
