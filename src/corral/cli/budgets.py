"""`corral budgets`: how much may be spent, and how much was."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from corral.cli.client import client_for
from corral.cli.failure import Exit, Failure
from corral.cli.job_filter import Limit
from corral.cli.job_shown import when
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table
from corral.limits.accounts import shown_usd

app = new_app("How much may be spent, by whom and in what time: as `budgets` in corral.yaml says, or as you say here.")

Name = Annotated[str, typer.Argument(metavar="BUDGET", help="Which budget.")]
Who = Annotated[
    str, typer.Option("--who", "-w", help="The user, team, … it is counted for; left away where all share it.")
]
_PAGE_MAX = 1000


@app.command("list")
def list_budgets(
    budget: Annotated[str | None, typer.Argument(metavar="[BUDGET]", help="Only this one.")] = None,
    limit: Limit = 100,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what is spent, set aside and left in this period."""
    query = {"limit": min(limit, _PAGE_MAX), **({"budget": budget} if budget else {})}
    found: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/budgets?{urlencode(query)}")
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("No budget was used yet in its period, or there is none: write `budgets` into corral.yaml.")
        return
    show_table(
        ["BUDGET", "WHO", "PERIOD", "USED", "SPENT", "RESERVED", "LIMIT", "TOKENS", "STEPS", "WHOLE AGAIN"],
        [_row(one) for one in found["items"]],
    )


@app.command("set")
def set_budget(
    budget: Name,
    usd: Annotated[float | None, typer.Option("--usd", help="So much money in a period.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="So many tokens in a period.")] = None,
    who: Who = "",
    default: Annotated[bool, typer.Option("--default", help="As the settings say, again.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Say how much may be spent from now on, for one or for all."""
    path = f"/v1/budgets/{quote(budget, safe='')}"
    if default == (usd is not None or tokens is not None):
        raise Failure(
            "It is not clear how much may be spent.", "Give --usd, --tokens or both; or --default.", status=Exit.INVALID
        )
    client = client_for(url, api_key)
    if default:
        line = client.ask("DELETE", f"{path}?{urlencode({'who': who})}")
    else:
        given = {"who": who, "usd": usd, "tokens": tokens}
        line = client.ask("PUT", path, {name: value for name, value in given.items() if value is not None})
    _show(line, as_json=as_json)


@app.command()
def reset(budget: Name, who: Who = "", url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Begin the period anew: nothing is spent yet."""
    line = client_for(url, api_key).ask("POST", f"/v1/budgets/{quote(budget, safe='')}/reset", {"who": who})
    _show(line, as_json=as_json)


def _show(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(line)
        return
    whose = f" of {line['who']}" if line["who"] else ""
    show(f"{line['budget']}{whose}: {_spent(line)} of {_limit(line)} spent.")


def _row(line: dict[str, Any]) -> list[Any]:
    return [
        line["budget"],
        line["who"] or "-",
        line["period"] or "ever",
        f"{line['used']:.0%}",
        shown_usd(line["spent_usd"]),
        shown_usd(line["reserved_usd"]),
        _limit(line),
        f"{line['spent_tokens']:,}",
        ",".join(line["steps"]) or "-",
        "-" if line["resets_at"] is None else when(line["resets_at"]),
    ]


def _limit(line: dict[str, Any]) -> str:
    parts = [] if line["limit_usd"] is None else [shown_usd(line["limit_usd"])]
    parts += [] if line["limit_tokens"] is None else [f"{line['limit_tokens']:,} tokens"]
    return " and ".join(parts)


def _spent(line: dict[str, Any]) -> str:
    parts = [] if line["limit_usd"] is None else [shown_usd(line["spent_usd"])]
    parts += [] if line["limit_tokens"] is None else [f"{line['spent_tokens']:,} tokens"]
    return " and ".join(parts)
