"""`corral sessions`: look at conversations, copy and delete them, with or without a running server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from corral.cli.confirming import confirm
from corral.cli.failure import Exit, Failure
from corral.cli.job_shown import when
from corral.cli.options import Config, Cursor, Json, Key, Store, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table
from corral.cli.session_source import SessionSource, choose_source

app = new_app("Look at conversations, copy and delete them. Asks the server that runs, else reads the project's store.")

Tenant = Annotated[str, typer.Option("--tenant", help="Whose sessions, when the store is read without a server.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
_SHORT = 60
_STEP = 1000


@app.command("list")
def list_sessions(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only those in which this user spoke.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """List sessions, the most recently active first."""
    source = choose_source(url, api_key, store, config, tenant)
    page = source.sessions(limit=limit, cursor=cursor, actor=user)
    if as_json:
        show_json({"source": source.name, **page})
        return
    _say_source(source)
    if not page["items"]:
        note('No sessions yet. Begin one: corral invoke --session first "Hello"')
        return
    show_table(
        ["SESSION", "USER", "EVENTS", "LAST ACTIVE", "BEGUN"],
        [
            [s["session_id"], s["actor"] or "-", s["events"], when(s["updated_at"]), when(s["created_at"])]
            for s in page["items"]
        ],
    )
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command("show")
def show_session(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    session: SessionId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many events, the newest.")] = 100,
    branch: Annotated[str | None, typer.Option("--branch", help="Only this branch.")] = None,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Show what was said in a session, oldest first, and its state."""
    source = choose_source(url, api_key, store, config, tenant)
    info = source.session(session)
    page = source.events(session, limit=limit, cursor=cursor, branch=branch)
    state = source.state(session)
    events = page["items"][::-1]
    if as_json:
        show_json(
            {"source": source.name, **info, "state": state, "items": events, "next_cursor": page.get("next_cursor")}
        )
        return
    _say_source(source)
    show(f"{bold(info['session_id'])}  {dim(_about(info))}")
    for event in events:
        show(f"\n{bold(event['actor'] or event['role'])}  {dim(_event_about(event))}\n{_content(event['content'])}")
    if state["version"]:
        show(f"\n{bold('state')}  {dim('version ' + str(state['version']))}\n{_compact(state['value'])}")
    if page.get("next_cursor"):
        note(f"There are older events: --cursor {page['next_cursor']}")


@app.command()
def delete(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    sessions: Annotated[list[str] | None, typer.Argument(metavar="[SESSION]...", help="The sessions' ids.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Forget this user: their sessions, and what they said elsewhere.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Delete sessions for good, or all that a user ever said."""
    if bool(sessions) == (user is not None):
        raise Failure(
            "Name sessions, or a --user.", "`corral sessions list` shows them.", code="usage", status=Exit.USAGE
        )
    source = choose_source(url, api_key, store, config, tenant)
    what = f"everything of the user {user!r}" if user is not None else ", ".join(sessions or ())
    confirm(f"Delete {what} from {source.name}? This cannot be undone.", otherwise="Nothing was deleted.", yes=yes)
    if user is not None:
        deleted = source.forget(user)
    else:
        for session in sessions or ():
            source.session(session)  # a typing error in one deletes none
        for session in sessions or ():
            source.delete(session)
        deleted = len(sessions or ())
    if as_json:
        show_json({"source": source.name, "deleted_sessions": deleted})
    else:
        show(f"Deleted {deleted} session{'' if deleted == 1 else 's'}.")


@app.command()
def fork(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    session: SessionId,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The copy's id.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="EVENT", help="Copy up to and including this event.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Copy a session under a new id, to try another way from there."""
    source = choose_source(url, api_key, store, config, tenant)
    copy = source.fork(session, new, at)
    if as_json:
        show_json({"source": source.name, **copy})
    else:
        show(f"{copy['session_id']} has {copy['events']} events. Go on: corral invoke --session {new} …")


@app.command()
def tiers(
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Show how much lies in the store (warm) and how much in the archive (cold)."""
    source = choose_source(url, api_key, store, config, tenant)
    counts = source.tiers()
    if as_json:
        show_json({"source": source.name, **counts})
        return
    _say_source(source)
    rows = [[tier, *(counts[f"{tier}_{what}"] for what in ("sessions", "events"))] for tier in ("warm", "cold")]
    sizes = [f"about {_size(counts['warm_bytes'])}", _size(counts["cold_bytes"])]
    show_table(["TIER", "SESSIONS", "EVENTS", "SIZE"], [[*row, size] for row, size in zip(rows, sizes, strict=True)])


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TB"


def _say_source(source: SessionSource) -> None:
    note(f"from {source.name}", faint=True)


def _about(info: dict[str, Any]) -> str:
    spoke = f"{info['actor']}, " if info["actor"] else ""
    return f"{spoke}{info['events']} events, {when(info['created_at'])} to {when(info['updated_at'])}"


def _event_about(event: dict[str, Any]) -> str:
    branch = "" if event["branch"] == "main" else f"  {event['branch']}"
    role = f"  {event['role']}" if event["actor"] else ""
    return f"{when(event['created_at'])}  {event['id']}{role}{branch}"


def _content(parts: list[dict[str, Any]]) -> str:
    texts = [part["text"] if part.get("type") == "text" and "text" in part else _part(part) for part in parts]
    return "\n".join(texts)


def _part(part: dict[str, Any]) -> str:
    return _compact(part["json"] if part.get("type") == "json" and "json" in part else part)


def _compact(value: Any) -> str:
    import msgspec  # noqa: PLC0415 - here alone

    return msgspec.json.encode(value).decode()
