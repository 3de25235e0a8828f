"""`corral executions`: what became of workflows that were begun."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from corral.cli.agent_watch import pretty
from corral.cli.execution_follow import show_ended, to_its_end
from corral.cli.execution_shown import about, timeline
from corral.cli.job_input import read_input
from corral.cli.job_shown import when
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table
from corral.cli.workflows_api import workflows_api

app = new_app("Executions: what became of workflows that were begun, live or afterwards.")

Execution = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id, or its ARN.")]
_STATES = "running, succeeded, failed, timed_out, aborted"


@app.command("list")
def list_executions(
    status: Annotated[
        list[str] | None, typer.Option("--status", help=f"Only in this state ({_STATES}); repeatable.")
    ] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only of this workflow.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only those whose names begin so.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List executions, the newest first."""
    query: dict[str, Any] = {"status": status or [], "workflow": workflow, "name": name}
    page = workflows_api(url, api_key).executions(**query, limit=limit, cursor=cursor)
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("No such executions. Begin one: corral workflows run NAME '{}'")
        return
    rows = [
        [
            one["id"],
            one["status"],
            one["workflow"],
            one["name"],
            when(one["started_at"]),
            _took(one),
            one["error"] or "-",
        ]
        for one in page["items"]
    ]
    show_table(["EXECUTION", "STATUS", "WORKFLOW", "NAME", "BEGAN", "TOOK", "ERROR"], rows)
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command("show")
def show_one(execution: Execution, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show an execution: its input, how it stands, what came of it."""
    found = workflows_api(url, api_key).execution(execution)
    if as_json:
        show_json(found)
        return
    version = found["alias"] or found["version"]
    show(f"{bold(found['id'])}  {found['status']}")
    facts = {
        "workflow": found["workflow"] + (f":{version}" if version else ""),
        "name": found["name"],
        "began": when(found["started_at"]),
        "ended": when(found["stopped_at"]) if found["stopped_at"] else None,
        "events": found["events"],
        "redrives": found["redrives"],
        "map run": found["map_run"],
    }
    for fact, value in facts.items():
        if value:
            show(f"  {dim(f'{fact:<8}')} {value}")
    show(f"\n{bold('input')}\n{pretty(found.get('input'))}\n")
    show_ended(found)
    if found["status"] == "running":
        note(f"Watch it: corral executions tail {found['id']}")
    elif found["status"] != "succeeded":
        note(
            f"What happened: corral executions history {found['id']}; once mended: corral executions redrive {found['id']}"
        )


@app.command()
def tail(
    execution: Execution,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events above this number.")] = 0,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Follow an execution to its end: what happens, and what its tasks say."""
    api = workflows_api(url, api_key)
    return to_its_end(api, execution, as_json=as_json, after=str(after) if after else "")


@app.command()
def history(
    execution: Execution,
    as_timeline: Annotated[
        bool, typer.Option("--timeline", "-t", help="A bar for each state in the place of a table.")
    ] = False,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The latest first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many events; else all.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what happened, as a table or as a timeline."""
    events = workflows_api(url, api_key).history(execution, limit=limit, reverse=reverse and not as_timeline)
    if as_json:
        show_json({"items": events})
        return
    if as_timeline:
        for line in timeline(events):
            show(line)
        return
    began = min((event["at"] for event in events), default=0.0)
    rows = [[event["id"], f"{event['at'] - began:.3f}s", event["type"], about(event) or "-"] for event in events]
    show_table(["EVENT", "AFTER", "TYPE", "WHAT"], rows)


@app.command()
def stop(
    execution: Execution,
    error: Annotated[str | None, typer.Option("--error", help="The name of the error it ends with.")] = None,
    cause: Annotated[str | None, typer.Option("--cause", help="Why, for people.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Stop an execution, and what it has others do."""
    given = {"error": error, "cause": cause}
    found = workflows_api(url, api_key).act(execution, "stop", {key: text for key, text in given.items() if text})
    if as_json:
        show_json(found)
    else:
        show(f"Stopped {execution}." if found["status"] == "aborted" else f"{execution} is {found['status']} already.")


@app.command()
def redrive(
    execution: Execution,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Have an execution that failed go on from the states that failed."""
    api = workflows_api(url, api_key)
    found = api.act(execution, "redrive")
    if wait:
        return to_its_end(api, found["id"], as_json=as_json, after=str(max(0, found["events"] - 1)))
    if as_json:
        show_json(found)
    else:
        show(f"{execution} goes on.")
    return 0


@app.command()
def fork(
    execution: Execution,
    given: Annotated[
        str | None, typer.Option("--input", "-i", metavar="JSON", help="Another input: JSON, @file, or - for stdin.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The new execution's name.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Begin another execution of the very same definition, with the same input or with another one."""
    api = workflows_api(url, api_key)
    content: dict[str, Any] = {} if given is None else {"input": read_input(given, as_prompt=False, name="--input")}
    if name is not None:
        content["name"] = name
    made = api.act(execution, "fork", content)
    if wait:
        return to_its_end(api, made["id"], as_json=as_json)
    if as_json:
        show_json(made)
    else:
        show(made["id"])
        note(f"Watch it: corral executions tail {made['id']}")
    return 0


def _took(one: dict[str, Any]) -> str:
    return "-" if one["stopped_at"] is None else f"{one['stopped_at'] - one['started_at']:.2f}s"
