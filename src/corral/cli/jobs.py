"""`corral jobs`: hand work in, watch it, and look after what went wrong."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from corral.cli.confirming import confirm
from corral.cli.failure import Exit, Failure
from corral.cli.job_filter import (
    Agent,
    All,
    Batch,
    JobId,
    JobIds,
    Limit,
    Queue,
    Session,
    Since,
    Status,
    Tag,
    Until,
    User,
    Yes,
    query_of,
)
from corral.cli.job_input import read_input
from corral.cli.job_shown import show_dead, show_job, show_jobs
from corral.cli.jobs_api import JobsApi, jobs_api
from corral.cli.jobs_follow import Follower, ending_failure, exit_of, follow_to_end
from corral.cli.jobs_stats import stats
from corral.cli.jobs_submit import submit
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import note, show, show_json

app = new_app("Hand in work that takes long, watch it, and look after what went wrong.")
app.command()(submit)

_ENDS = {"cancel": "cancelled", "discard": "discarded"}
"""The state in which a job is when it was done to it."""


@app.command("list")
def list_jobs(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    status: Status = None,
    agent: Agent = None,
    queue: Queue = None,
    tag: Tag = None,
    session: Session = None,
    user: User = None,
    batch: Batch = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    query = query_of(
        status=status,
        since=since,
        until=until,
        agent=agent,
        queue=queue,
        tag=tag,
        session_id=session,
        user_id=user,
        batch_id=batch,
    )
    _show_page(jobs_api(url, api_key).jobs(**query, limit=limit, cursor=cursor), as_json=as_json)


@app.command()
def dead(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    agent: Agent = None,
    queue: Queue = None,
    tag: Tag = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List dead letters: the jobs that failed, and what they died of."""
    query = query_of(status=["failed"], since=since, until=until, agent=agent, queue=queue, tag=tag)
    page = jobs_api(url, api_key).jobs(**query, limit=limit, cursor=cursor)
    _show_page(page, as_json=as_json, are_dead=True)


def _show_page(page: dict[str, Any], *, as_json: bool, are_dead: bool = False) -> None:
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("No dead letters." if are_dead else "No such jobs. Hand one in: corral jobs submit main '{\"prompt\": …}'")
        return
    (show_dead if are_dead else show_jobs)(page["items"])
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")
    elif are_dead:
        note("`corral jobs show JOB` tells the whole story; `redrive` has them run again, `discard` puts them away.")


@app.command("show")
def show_one(job: JobId, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show all about a job: what was asked for, what came of it, and each attempt that failed."""
    api = jobs_api(url, api_key)
    info = api.job(job)
    job = info["id"]
    attempts = api.attempts(job)
    callbacks = api.callbacks(job) if info.get("callback") else []
    if as_json:
        show_json({**info, "attempts": attempts, "callbacks": callbacks})
    else:
        show_job(info, attempts, callbacks)


@app.command()
def tail(
    job: JobId,
    after: Annotated[int, typer.Option("--after", min=0, help="Leave out events up to this number.")] = 0,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Watch this many seconds at most.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Print what a job says, from its beginning and then live, until it ends. The exit status says how.

    0 when it succeeded, 1 when it failed, 5 when it was cancelled or discarded.
    """
    api = jobs_api(url, api_key)
    job = api.whole_id(job)
    follower = Follower(api, job, after=str(after or ""), timeout_s=timeout)
    heard = follow_to_end(follower, quiet=as_json)
    info = api.job(job)
    if as_json:
        show_json({**info, "events": [event.data for event in heard if event.data.get("kind")]})
    elif info["status"] != "succeeded":
        raise ending_failure(info)
    return exit_of(info)


@app.command()
def retry(
    job: JobId,
    new_input: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="Run with this instead, from the start: JSON, @file, or - for stdin."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Have a job that failed or was cancelled run again, from its last finished step."""
    content = {} if new_input is None else {"input": read_input(new_input)}
    api = jobs_api(url, api_key)
    job = api.whole_id(job)
    answer = api.act(job, "retry", content)
    _say(answer, f"{job} runs again; watch it: corral jobs tail {job}", as_json=as_json)


@app.command()
def cancel(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    jobs: JobIds = None,
    status: Status = None,
    agent: Agent = None,
    queue: Queue = None,
    tag: Tag = None,
    session: Session = None,
    user: User = None,
    batch: Batch = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Yes = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs by id, or all that the flags describe. What waits never starts; what runs is asked to stop."""
    query = query_of(
        status=status,
        since=since,
        until=until,
        everything=everything,
        agent=agent,
        queue=queue,
        tag=tag,
        session_id=session,
        user_id=user,
        batch_id=batch,
    )
    _act("cancel", "Cancelled", jobs, query, yes=yes, url=url, api_key=api_key, as_json=as_json)


@app.command()
def redrive(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    jobs: JobIds = None,
    status: Status = None,
    agent: Agent = None,
    queue: Queue = None,
    tag: Tag = None,
    batch: Batch = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Yes = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Have dead letters run again, by id or all that the flags describe, each from its last finished step."""
    query = query_of(
        status=status,
        since=since,
        until=until,
        everything=everything,
        agent=agent,
        queue=queue,
        tag=tag,
        batch_id=batch,
    )
    _act("redrive", "Redriven", jobs, query, yes=yes, url=url, api_key=api_key, as_json=as_json)


@app.command()
def discard(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    jobs: JobIds = None,
    agent: Agent = None,
    queue: Queue = None,
    tag: Tag = None,
    batch: Batch = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Yes = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Put dead letters away for good, by id or all that the flags describe."""
    query = query_of(since=since, until=until, everything=everything, agent=agent, queue=queue, tag=tag, batch_id=batch)
    _act("discard", "Discarded", jobs, query, yes=yes, url=url, api_key=api_key, as_json=as_json)


def _act(
    action: str,
    done: str,
    jobs: list[str] | None,
    query: dict[str, Any],
    *,
    yes: bool,
    url: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Do something to the jobs that were named, or to those that a filter finds."""
    if bool(jobs) == bool(query):
        raise Failure(
            "Name jobs, or say which ones by flags.",
            f"`corral jobs {action} JOB`, or for example `corral jobs {action} --queue default`.",
            code="usage",
            status=Exit.USAGE,
        )
    api = jobs_api(url, api_key)
    if jobs:
        _act_on_each(api, action, done, jobs, as_json=as_json)
        return
    described = ", ".join(f"{name} {_value(value)}" for name, value in query.items() if name != "all")
    which = f"all jobs of {described}" if described else "ALL jobs"
    confirm(f"{action.capitalize()} {which} on {api.url}?", otherwise="Nothing was done.", yes=yes)
    ids = _all(api, action, query)
    if as_json:
        show_json({"ids": ids, "count": len(ids)})
    else:
        show(f"{done} {_jobs(len(ids))}.")


def _act_on_each(api: JobsApi, action: str, done: str, jobs: list[str], *, as_json: bool) -> None:
    """Do it to each, and say of which it was so already."""
    ids: list[str] = []
    already: dict[str, str] = {}
    stopping = 0
    for job in jobs:
        before = api.job(job)
        job_id, is_running = before["id"], before["status"] == "running"
        after = api.act(job_id, "retry" if action == "redrive" else action, {})
        if before["status"] == _ENDS.get(action):
            already[job_id] = f"was {done.lower()}"
        elif action == "cancel" and is_running and before["cancel_requested"]:
            already[job_id] = "was asked to stop"
        else:
            ids.append(job_id)
            stopping += action == "cancel" and after["status"] == "running"
    if as_json:
        show_json({"ids": ids, "count": len(ids), "already": list(already)})
        return
    if len(ids) > stopping:
        show(f"{done} {_jobs(len(ids) - stopping)}.")
    if stopping:
        show(f"Asked {_jobs(stopping)} to stop.")
    for job_id, what in already.items():
        show(f"{job_id} {what} already.")


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _all(api: Any, action: str, query: dict[str, Any]) -> list[str]:
    """A request does a limited number: go on until one finds none that is new (what is asked to stop is found again)."""
    ids: dict[str, None] = {}
    while not ids.keys() >= (found := dict.fromkeys(api.act_on_many(action, query)["ids"])).keys():
        ids |= found
    return list(ids)


def _value(value: Any) -> str:
    return "/".join(value) if isinstance(value, list) else str(value)


@app.command("signal")
def send_signal(
    job: JobId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the job waits for.")],
    value: Annotated[
        str, typer.Argument(metavar="[VALUE]", help="What to tell it: JSON, @file, or - for stdin.")
    ] = "null",
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Tell a job what it waits for (`context.wait_for`)."""
    content = read_input(value, as_prompt=False, name="VALUE")
    api = jobs_api(url, api_key)
    job = api.whole_id(job)
    answer = api.signal(job, name, content)
    _say(answer, f"{job} was told {name!r}.", as_json=as_json)
    waits_for = (answer or {}).get("waits_for")
    if waits_for and not as_json:
        note(f"It waits for {waits_for!r} now, not for that: corral jobs signal {job} {shlex.quote(waits_for)} …")


app.command()(stats)


def _say(answer: dict[str, Any] | None, text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer or {})
    else:
        show(text)
