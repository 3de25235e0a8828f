"""`corral approvals`: what agents may not do without a person, what workflows ask one, and the answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from corral.cli.agent_watch import pretty, question_of
from corral.cli.agents_api import agents_api
from corral.cli.job_input import read_input
from corral.cli.job_shown import when
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table

app = new_app("What agents and workflows ask people: see it, allow it, refuse it, answer it.")

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", help="The approval's id.")]
_STATES = "waiting, approved, refused, answered, expired, withdrawn"
User = Annotated[str | None, typer.Option("--user", "-u", help="Who answers; else your name on this machine.")]


@app.command("list")
def list_approvals(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    status: Annotated[
        list[str] | None, typer.Option("--status", help=f"Only in this state ({_STATES}); repeatable. Else what waits.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was answered.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only of this agent.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    execution: Annotated[str | None, typer.Option("--execution", "-e", help="Only of this execution.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List what people are asked, the newest first."""
    states: list[Any] = [] if everything else list(status or ["waiting"])
    query = {"agent": agent, "run_id": run, "execution_id": execution, "limit": limit, "cursor": cursor}
    page = agents_api(url, api_key).approvals(status=states, **query)
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("Nobody waits for an answer." if states == ["waiting"] else "No such approvals.")
        return
    rows = [
        [one["id"], one["status"], _who(one), _what(one), one["assignee"] or one["rule"] or "-", when(one["asked_at"])]
        for one in page["items"]
    ]
    show_table(["APPROVAL", "STATUS", "ASKED BY", "WANTS", "FOR", "ASKED"], rows)
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command("show")
def show_one(approval: Approval, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show what is asked: the message, the choices, the form."""
    found = agents_api(url, api_key).approval(approval)
    if as_json:
        show_json(found)
        return
    show(f"{bold(found['status'])}  {_who(found)}")
    show(f"\n{_what(found)}\n")
    facts = {
        "choices": ", ".join(found["choices"]),
        "for": found["assignee"],
        "asked": when(found["asked_at"]),
        "until": when(found["expires_at"]) if found["expires_at"] else None,
        "run": found["run_id"],
        "execution": found["execution_id"],
        "answered": found["decision"],
        "by": found["by"],
        "note": found["note"],
    }
    for fact, value in facts.items():
        if value:
            show(f"  {dim(f'{fact:<9}')} {value}")
    for name in ("details", "form", "filled"):
        if found[name]:
            show(f"\n{bold(name)}\n{pretty(found[name])}")


@app.command()
def link(approval: Approval, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Make a link to a page on which whoever has it may answer what a workflow asks, once."""
    made = agents_api(url, api_key).link(approval)
    if as_json:
        show_json(made)
        return
    show(made["url"])
    note(f"It opens until {when(made['expires_at'])}. Whoever has it may answer.", faint=True)


@app.command()
def answer(
    approval: Approval,
    choice: Annotated[
        str, typer.Argument(metavar="CHOICE", help="One of its choices: `corral approvals show` lists them.")
    ],
    form: Annotated[
        str | None, typer.Option("--form", "-f", metavar="JSON", help="Its form, filled in: JSON, @file, or -.")
    ] = None,
    remark: Annotated[str | None, typer.Option("--note", help="Kept with the answer.")] = None,
    user: User = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Answer what a workflow asks, with one of its choices. The execution goes on by itself."""
    content: dict[str, Any] = {"decision": choice}
    if form is not None:
        content["form"] = read_input(form, as_prompt=False, name="--form")
    _decide(approval, content, remark, user=user, url=url, api_key=api_key, as_json=as_json)


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
    """Refuse it. The model is told, and goes on without; a workflow goes where its definition says."""
    known = agents_api(url, api_key).approval(approval)["choices"]
    decision = "reject" if "reject" in known and "refuse" not in known else "refuse"
    _decide(approval, {"decision": decision}, remark, user=user, url=url, api_key=api_key, as_json=as_json)


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
    show(f"{answered['status'].capitalize()}: {_what(answered)}")
    if answered["execution_id"]:
        note(f"The execution {answered['execution_id']} goes on.")
    elif answered["job_id"]:
        note(f"The job {answered['job_id']} goes on.")
    else:
        note(f"The run goes on with: corral runs resume {answered['run_id']}")


def _who(asked: dict[str, Any]) -> str:
    """Who asks: an agent, or a state of a workflow."""
    return str(asked["agent"] or f"{asked['workflow']}/{asked['state']}")


def _what(asked: dict[str, Any]) -> str:
    """What is asked, in a line."""
    return question_of(asked) if asked["kind"] == "tool" else str(asked["message"])
