"""`corral audit`: who did what, and by which rule."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from corral.cli import audit_proof
from corral.cli.client import client_for
from corral.cli.job_filter import Limit, moment
from corral.cli.job_shown import when
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show_json, show_table

app = new_app(
    "What was decided, refused, changed and done, by whom, and by which rule; and that it is what was written."
)

_PAGE_MAX = 1000

app.command("verify")(audit_proof.verify)
app.command("export")(audit_proof.export)
app.command("checkpoints")(audit_proof.checkpoints)
app.command("key")(audit_proof.key)


@app.command("list")
def list_entries(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    decision: Annotated[
        str | None, typer.Option("--decision", "-d", help="Only this: `denied`, `approval_required`, `allowed`, …")
    ] = None,
    subject: Annotated[str | None, typer.Option("--tool", "-t", help="Only this tool.")] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only what this rule decided.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", "-u", help="Only this user's.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only this agent's.")] = None,
    session_id: Annotated[str | None, typer.Option("--session", help="Only of this session.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, such as `tool.call`.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Since then: `2h` ago, or 2026-11-21T09:00.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")] = None,
    limit: Limit = 50,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List the latest entries, the newest first."""
    query: dict[str, Any] = {
        "decision": decision,
        "subject": subject,
        "rule": rule,
        "actor": actor,
        "agent": agent,
        "session_id": session_id,
        "run_id": run_id,
        "action": action,
        "since": None if since is None else moment(since),
        "until": None if until is None else moment(until),
        "limit": min(limit, _PAGE_MAX),
    }
    given = urlencode({name: value for name, value in query.items() if value is not None})
    found: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/audit?{given}")
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note(
            "No entries. Calls of tools are written down here with the rule that decided, and what was refused or changed."
        )
        return
    show_table(
        ["NUMBER", "AT", "ACTION", "SUBJECT", "DECISION", "RULE", "ACTOR", "AGENT", "REASON"],
        [
            [
                one["number"],
                when(one["at"]),
                one["action"],
                one["subject"],
                one["decision"],
                one["rule"] or "-",
                one["actor"] or "-",
                one["agent"] or "-",
                one["reason"] or "-",
            ]
            for one in found["items"]
        ],
    )
