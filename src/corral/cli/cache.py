"""`corral cache`: what is kept of models' answers, and throwing it away."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from corral.cli.cache_audit import audit
from corral.cli.client import client_for
from corral.cli.confirming import confirm
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app("Models' answers that are kept: how many, what they saved, and throwing them away.")

app.command("audit")(audit)

_KILO = 1024.0


@app.command()
def stats(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show how much is kept, how often it was used, and what that saved."""
    found: dict[str, Any] = client_for(url, api_key).ask("GET", "/v1/cache")
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("Nothing is kept yet. Setting `cache.exact: true` keeps models' answers.")
        return
    show_table(
        ["KIND", "ENTRIES", "SIZE", "HITS", "MISSES", "HIT RATE", "SAVED"],
        [
            [
                one["kind"],
                one["entries"],
                _size(one["bytes"]),
                one["hits"],
                one["misses"],
                _share(one["hits"], one["hits"] + one["misses"]),
                f"${one['saved_usd']:.4f}",
            ]
            for one in found["items"]
        ],
    )


@app.command()
def clear(
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", help="Only what is under this tag; repeatable.")
    ] = None,
    kind: Annotated[Literal["answer", "vector", "value"] | None, typer.Option("--kind", help="Only this kind.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Throw kept answers away: those under any of the tags, or all of the tenant."""
    if not tag:
        what = "everything" if kind is None else f"every {kind}"
        confirm(f"Throw {what} away that the cache keeps?", otherwise="Nothing was thrown away.", yes=yes)
    query = [("tag", one) for one in tag or ()] + ([] if kind is None else [("kind", kind)])
    cleared = client_for(url, api_key).ask("DELETE", f"/v1/cache?{urlencode(query)}" if query else "/v1/cache")
    if as_json:
        show_json(cleared)
    else:
        show(f"Threw {cleared['cleared']} away.")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < _KILO or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    raise AssertionError("the last unit takes all")
