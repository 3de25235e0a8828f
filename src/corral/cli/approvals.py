"""`corral approvals`: what agents may not do without a person, and the answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from corral.cli.agent_watch import question_of
from corral.cli.agents_api import agents_api
from corral.cli.job_input import read_input
from corral.cli.job_shown import when
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app("What agents may not do without a person: see it, allow it, refuse it.")

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", help="The approval's id.")]
_STATES = "waiting, approved, refused, expired, withdrawn"
User = Annotated[str | None, typer.Option("--user", "-u", help="Who answers; else your name on this machine.")]


@app.command("list")
def list_approvals(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    status: Annotated[
        list[str] | None, typer.Option("--status", help=f"Only in this state ({_STATES}); repeatable. Else what waits.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was answered.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only of this agent.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on after an earlier page: its `next_cursor`.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List what people are asked, the newest first."""
    states: list[Any] = [] if everything else list(status or ["waiting"])
    page = agents_api(url, api_key).approvals(status=states, agent=agent, run_id=run, limit=limit, cursor=cursor)
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("Nobody waits for an answer." if states == ["waiting"] else "No such approvals.")
        return
    rows = [
        [one["id"], one["status"], one["agent"], question_of(one), one["rule"] or "-", when(one["asked_at"])]
        for one in page["items"]
    ]
    show_table(["APPROVAL", "STATUS", "AGENT", "WANTS", "RULE", "ASKED"], rows)
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command()
def approve(
    approval: Approval,
    changed: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="JSON", help="Call the tool with this instead: JSON, @file, or -."),
    ] = None,
    remark: Annotated[str | None, typer.Option("--note", help="Kept with the answer.")] = None,
    user: User = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Allow it. A run in a job goes on by itself; another one with `corral runs resume`."""
    content: dict[str, Any] = {"decision": "approve"}
    if changed is not None:
        content["input"] = read_input(changed, as_prompt=False, name="--input")
    _decide(approval, content, remark, user=user, url=url, api_key=api_key, as_json=as_json)


@app.command()
def refuse(
    approval: Approval,
    remark: Annotated[str | None, typer.Option("--note", help="Why: the model reads it.")] = None,
    user: User = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Refuse it. The model is told, and goes on without."""
    _decide(approval, {"decision": "refuse"}, remark, user=user, url=url, api_key=api_key, as_json=as_json)


def _decide(
    approval: str,
    content: dict[str, Any],
    remark: str | None,
    *,
    user: str | None,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    if remark is not None:
        content["note"] = remark
    answered = agents_api(url, api_key, user=user).decide(approval, content)
    if as_json:
        show_json(answered)
        return
    show(f"{answered['status'].capitalize()}: {question_of(answered)}")
    if answered["job_id"]:
        note(f"The job {answered['job_id']} goes on.")
    else:
        note(f"The run goes on with: corral runs resume {answered['run_id']}")
