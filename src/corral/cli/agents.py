"""`corral agents`: see which there are, have one work, talk to it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from corral.cli.agent_asking import to_its_end
from corral.cli.agent_chat import chat
from corral.cli.agent_watch import Watcher, pretty, told
from corral.cli.agents_api import agents_api
from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table

app = new_app("The agents of the app: see them, have them work, talk to them.")
app.command()(chat)

Name = Annotated[str, typer.Argument(metavar="AGENT", help="Which agent of the app.")]


@app.command("list")
def list_agents(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """List the agents of the app."""
    found = agents_api(url, api_key).agents()
    if as_json:
        show_json({"agents": found})
        return
    rows = [
        [
            agent["name"],
            agent.get("kind", "code"),
            ",".join(agent.get("tools", ())) or "-",
            _line(agent.get("description", "")),
        ]
        for agent in found
    ]
    show_table(["AGENT", "KIND", "TOOLS", "DESCRIPTION"], rows)


@app.command("show")
def show_one(agent: Name, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show one agent: its tools, its model, what it may do, and how many of its runs wait."""
    api = agents_api(url, api_key)
    found = api.agent(agent)
    waiting = api.approvals(agent=agent, status=["waiting"], limit=100)["items"]
    if as_json:
        show_json({**found, "approvals_waiting": len(waiting)})
        return
    show(bold(found["name"]))
    for name in ("kind", "description", "model", "tools", "members", "variables", "ready", "streaming"):
        value = found.get(name)
        if value not in {None, ""} if isinstance(value, str | None) else value is not None and value != []:
            show(f"  {dim(f'{name:<12}')} {', '.join(value) if isinstance(value, list) else value}")
    if found.get("payload_schema"):
        show(f"\n{bold('payload')}\n{pretty(found['payload_schema'])}")
    if waiting:
        note(f"{len(waiting)} of its runs wait for people: corral approvals list --agent {agent}")


@app.command()
def run(
    agent: Name,
    prompt: Annotated[str, typer.Argument(help="What it is asked; - reads it from stdin.")],
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="Go on with this session, or begin it.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Who speaks.")] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="For its instructions; repeatable.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Have an agent work, and show what happens. The run is kept: it can be resumed, and forked.

    Where it may not go on without a person, it is asked on a terminal; else it pauses, and says how to answer.
    """
    api = agents_api(url, api_key, user=user)
    text = sys.stdin.read().strip() if prompt == "-" else prompt
    events = api.run(agent, text, session=session, variables=_variables(variable or []))
    seen = Watcher(quiet=as_json).watch(events, f"{agent} is at work")
    if as_json:
        show_json({"agent": agent, "session_id": session, **seen.as_json()})
        return
    seen = to_its_end(api, seen)
    note(told(seen), faint=True)


def _variables(given: list[str]) -> dict[str, Any]:
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise Failure(f"{one!r} is no variable.", "Write --var name=value.", code="usage", status=Exit.USAGE)
        found[name] = value
    return found


def _line(text: str) -> str:
    return text.strip().partition("\n")[0]
