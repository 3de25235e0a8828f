"""`corral schedules`: jobs that come again and again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from corral.cli.job_input import read_input, usage
from corral.cli.job_shown import when
from corral.cli.jobs_api import jobs_api
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app("Jobs and workflows that come again and again.")

_WORKFLOW = "workflow:"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


@app.command("list")
def list_schedules(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """List the schedules, and when each is due next."""
    found = jobs_api(url, api_key).schedules()
    if as_json:
        show_json({"items": found})
        return
    if not found:
        note('No schedules. Make one: corral schedules set nightly "0 6 * * *" main \'{"prompt": …}\'')
        return
    show_table(
        ["NAME", "CRON", "TIME ZONE", "BEGINS", "CATCH UP", "NEXT", "LAST"],
        [
            [
                schedule["name"],
                schedule["cron"],
                schedule["timezone"],
                schedule["workflow"] or schedule["job"].get("agent", "-"),
                schedule["catch_up"],
                "paused" if schedule["paused"] else when(schedule["next_at"]),
                when(schedule.get("last_at")),
            ]
            for schedule in found
        ],
    )


@app.command("set")
def set_schedule(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    name: Name,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Five fields, or `@every 90s`, `@hourly`, …")],
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="Which agent of the app; `workflow:NAME` starts a workflow.")
    ],
    job_input: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="JSON, @file, or - for stdin; other words are sent as a prompt.")
    ] = "{}",
    timezone: Annotated[str, typer.Option("--timezone", "-z", help="Whose clock, such as Europe/Berlin.")] = "UTC",
    catch_up: Annotated[
        Literal["skip", "one", "all"], typer.Option("--catch-up", help="What to do about times that nobody was there.")
    ] = "one",
    paused: Annotated[bool, typer.Option("--paused", help="Keep it, but let it rest.")] = False,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=10, help="Of its jobs.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Of its jobs.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Of its jobs; repeatable.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a schedule, or change the one of that name."""
    given = {"priority": priority, "queue": queue, "tags": tag or None}
    content: dict[str, Any] = {"cron": cron, "timezone": timezone, "catch_up": catch_up, "paused": paused}
    if agent.startswith(_WORKFLOW):
        _refuse(given)
        content |= {"workflow": agent.removeprefix(_WORKFLOW), "input": read_input(job_input, as_prompt=False)}
    else:
        job: dict[str, Any] = {"agent": agent, "input": read_input(job_input)}
        content["job"] = job | {key: value for key, value in given.items() if value is not None}
    schedule = jobs_api(url, api_key).save_schedule(name, content)
    if as_json:
        show_json(schedule)
    elif schedule["paused"]:
        show(f"{name} is kept, and rests.")
    else:
        show(f"{name} is due next at {when(schedule['next_at'])}.")


@app.command()
def remove(name: Name, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Remove a schedule. Jobs that it made already stay."""
    jobs_api(url, api_key).remove_schedule(name)
    if as_json:
        show_json({"removed": name})
    else:
        show(f"Removed {name}.")


def _refuse(given: dict[str, Any]) -> None:
    """Flags of jobs say nothing about workflows."""
    for name, value in given.items():
        if value is not None:
            raise usage(
                f"--{name.rstrip('s')} is for jobs.", "Leave it away: a workflow's tasks are told by its definition."
            )
