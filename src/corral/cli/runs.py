"""`corral runs`: what agents did, are doing and wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from corral.cli.agent_asking import to_its_end
from corral.cli.agent_watch import Seen, Watcher, pretty, told
from corral.cli.agents_api import AgentsApi, agents_api
from corral.cli.job_shown import when
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table

app = new_app("What agents did, are doing, and wait for.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
_STATES = "running, interrupted, paused, done, failed, cancelled"
_SHORT = 200


@app.command("list")
def list_runs(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    status: Annotated[
        list[str] | None, typer.Option("--status", help=f"Only in this state ({_STATES}); repeatable.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only of this agent.")] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="Only in this session.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only in this job.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only of this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    query: dict[str, Any] = {"agent": agent, "session_id": session, "job_id": job, "user_id": user}
    page = agents_api(url, api_key).runs(status=status or [], **query, limit=limit, cursor=cursor)
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("No such runs. What is begun with `corral agents run`, in jobs, or waits for people is kept.")
        return
    rows = [
        [run["id"], run["status"], run["agent"], run["steps"], run["tool_calls"], _cost(run), when(run["created_at"])]
        for run in page["items"]
    ]
    show_table(["RUN", "STATUS", "AGENT", "STEPS", "TOOLS", "COST", "BEGAN"], rows)
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command("show")
def show_one(run: Run, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show a run: what was asked, each step, each tool, what came of it."""
    api = agents_api(url, api_key)
    info, entries = api.run_info(run), api.entries(run)
    if as_json:
        show_json({**info, "journal": entries})
        return
    show(f"{bold(info['id'])}  {info['status']}")
    facts = {
        "agent": info["agent"],
        "session": info["session_id"],
        "user": info["user_id"],
        "job": info["job_id"],
        "fork of": info["parent_id"],
        "took": f"{info['steps']} steps, {info['tool_calls']} tool calls, {_cost(info)}",
        "began": when(info["created_at"]),
        "ended": when(info["ended_at"]) if info["ended_at"] else None,
        "error": info["error_code"],
    }
    for name, value in facts.items():
        if value:
            show(f"  {dim(f'{name:<8}')} {value}")
    show("")
    for entry in entries:
        for line in _told(entry["entry"]):
            show(line)
    if info["status"] == "paused":
        note(f"It waits for people: corral approvals list --run {run}")
    elif info["status"] == "interrupted":
        note(f"It was interrupted: corral runs resume {run}")


@app.command()
def resume(run: Run, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Go on with a run that is paused or was interrupted, and show what happens."""
    _go_on(agents_api(url, api_key), run, as_json=as_json)


@app.command()
def cancel(run: Run, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Cancel a run, wherever it works."""
    info = agents_api(url, api_key).cancel(run)
    if as_json:
        show_json(info)
    elif info["status"] == "cancelled":
        show(f"Cancelled {run}.")
    elif info["status"] in {"done", "failed"}:
        show(f"{run} is {info['status']} already.")
    else:
        show(f"Asked {run} to stop.")


@app.command()
def fork(
    run: Run,
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="Keep so many steps, with the results of their tools; else all.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Said next; with --step 0, in place of what was asked.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="Where it speaks; else where it did.")] = None,
    wait: Annotated[bool, typer.Option("--resume", "-r", help="Have it work at once, and show what happens.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Begin a new run with the first steps of another one; nothing of that one changes."""
    api = agents_api(url, api_key)
    given = {"step": step, "prompt": prompt, "session_id": session}
    made = api.fork(run, {name: value for name, value in given.items() if value is not None})
    if wait:
        if not as_json:
            note(f"The fork is {made['id']}.", faint=True)
        _go_on(api, made["id"], as_json=as_json)
    elif as_json:
        show_json(made)
    else:
        show(made["id"])
        note(f"It works once you say so: corral runs resume {made['id']}")


def _go_on(api: AgentsApi, run: str, *, as_json: bool) -> None:
    seen: Seen = Watcher(quiet=as_json).watch(api.resume(run), "it goes on")
    if as_json:
        show_json(seen.as_json())
        return
    note(told(to_its_end(api, seen)), faint=True)


def _cost(run: dict[str, Any]) -> str:
    return "unknown" if run["cost_usd"] is None else f"${run['cost_usd']:.4f}"


def _told(entry: dict[str, Any]) -> list[str]:
    """An entry of a journal, in a line or a few."""
    tell = _TELLERS.get(entry.get("type", ""))
    return [pretty(entry)] if tell is None else tell(entry)


def _asked(entry: dict[str, Any]) -> list[str]:
    messages = [message for message in entry["messages"] if message["role"] != "system"]
    return [f"{bold(message['role'])}  {_text(message['content'])}" for message in messages]


def _answered(entry: dict[str, Any]) -> list[str]:
    content = entry["reply"].get("content", [])
    lines = [f"{bold('assistant')}  {_text(content)}"] if _text(content) else []
    return lines + [f"{dim('→')} {one['name']} {_brief(one.get('input', {}))}" for one in _uses(content)]


def _tool_done(entry: dict[str, Any]) -> list[str]:
    reply = entry["reply"]
    fault = reply.get("fault")
    what = f"failed: {fault['code']}" if fault else _text(reply.get("content", []))
    return [f"{dim('←')} {reply['name']} {what}"]


def _decided(entry: dict[str, Any]) -> list[str]:
    what = "approved" if entry["decision"] == "approve" else "refused"
    by = f" by {entry['by']}" if entry.get("by") else ""
    return [f"{dim('!')} {what}{by}{': ' + entry['note'] if entry.get('note') else ''}"]


_TELLERS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "asked": _asked,
    "answered": _answered,
    "tool_done": _tool_done,
    "approval_wanted": lambda entry: [f"{dim('?')} {entry['tool']} waits for a person: approval {entry['approval']}"],
    "decided": _decided,
    "told": lambda entry: [f"{dim(entry['why'])}  {_text(message['content'])}" for message in entry["messages"]],
    "handed_off": lambda entry: [f"{dim('⇒')} {entry['to']} {entry.get('reason', '')}"],
    "ended": lambda entry: [f"{bold(entry['outcome'])}  {entry.get('message') or _brief(entry.get('output'))}"],
}


def _uses(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for part in content if part.get("type") == "tool_use"]


def _text(content: list[dict[str, Any]]) -> str:
    return _short(" ".join(str(part.get("text", "")) for part in content if part.get("type") == "text"))


def _brief(value: Any) -> str:
    return _short(msgspec.json.encode(value).decode())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"
