"""`corral costs`: what models cost, added up, as the server knows it."""

from __future__ import annotations

import csv
import sys
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from corral.cli.client import client_for
from corral.cli.job_filter import Limit
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show_json, show_table

app = new_app()

_ITEMS_MAX = 1000
_COLUMNS = ("key", "cost_usd", "calls", "cached", "unpriced", "input_tokens", "output_tokens")


@app.command()
def costs(
    by: Annotated[
        Literal["model", "provider", "agent", "session", "run", "day", "outcome", "team", "tag"],
        typer.Option("--by", help="What to add up by; `team` is the tag of this name."),
    ] = "model",
    tag: Annotated[str, typer.Option("--tag", help="With --by tag: which one.")] = "",
    since: Annotated[str, typer.Option("--since", help="How far back: 90m, 24h, 30d.")] = "30d",
    limit: Limit = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, for a spreadsheet.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Add up what your tenant's calls of models cost."""
    query: dict[str, Any] = {"since": since, "limit": min(limit, _ITEMS_MAX)}
    query |= {"tag": tag or "team"} if by in ("team", "tag") else {"by": by}
    found: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/costs?{urlencode(query)}")
    if as_json:
        show_json(found)
        return
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow([by, *_COLUMNS[1:]])
        writer.writerows([_safe(one[name]) for name in _COLUMNS] for one in found["items"])
        return
    if not found["items"]:
        note(f"No model was asked in the last {since}.")
        return
    total = sum(one["cost_usd"] for one in found["items"])
    show_table(
        [by.upper(), "COST", "SHARE", "CALLS", "KEPT", "TOKENS IN", "OUT", "UNPRICED"],
        [
            [
                one["key"] or "-",
                f"${one['cost_usd']:.4f}",
                f"{one['cost_usd'] / total:.0%}" if total else "-",
                *(one["calls"], one["cached"], f"{one['input_tokens']:,}", f"{one['output_tokens']:,}"),
                one["unpriced"] or "-",
            ]
            for one in found["items"]
        ],
    )


def _safe(value: Any) -> Any:
    """A spreadsheet takes text that begins so for a formula, and names come from whoever asked."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
