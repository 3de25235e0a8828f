"""`corral events`: publishing, and what begins when an event comes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from corral.cli.agent_watch import pretty
from corral.cli.failure import Exit
from corral.cli.job_input import read_input, usage
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import dim, note, show, show_json, show_table
from corral.cli.workflows_api import workflows_api

app = new_app("Events: publish one, and say what begins when one comes.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name.")]
Topic = Annotated[str, typer.Option("--topic", "-t", help="The topic.")]
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN", help='JSON or @file: {"source": ["shop"], "detail": {"total": [{"numeric": [">", 9]}]}}'
    ),
]


@app.command()
def publish(
    detail_type: Annotated[str, typer.Argument(metavar="TYPE", help="What kind of thing happened: `Order created`.")],
    detail: Annotated[str, typer.Argument(metavar="[DETAIL]", help="JSON, @file, or - for stdin.")] = "{}",
    topic: Topic = "default",
    source: Annotated[str | None, typer.Option("--source", "-s", help="Where it comes from: `shop.orders`.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="Published again with it, it begins nothing twice.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Publish an event, and show what began."""
    content: dict[str, Any] = {
        "detail_type": detail_type,
        "topic": topic,
        "detail": read_input(detail, as_prompt=False),
    }
    content |= {name: value for name, value in (("source", source), ("id", event_id)) if value is not None}
    answer = workflows_api(url, api_key).publish_event(content)
    if as_json:
        show_json(answer)
        return
    (published,) = answer["items"]
    show(published["id"])
    for one in published["begun"]:
        what = f"workflow {one['workflow']}" if one["workflow"] else "a job"
        how = f"did not begin: {one['error']}" if one["error"] else f"{what}, by job {one['job_id']}"
        again = "" if one["is_new"] or one["error"] else " (begun before)"
        show(f"  {dim(one['rule'])}  {how}{again}")
    if not published["begun"]:
        note("Nobody waits for such an event. Say who does: corral events set RULE PATTERN --workflow NAME")


@app.command()
def rules(
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Only of this topic.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List the rules: which events begin what."""
    found = workflows_api(url, api_key).rules(topic=topic)
    if as_json:
        show_json({"items": found})
        return
    if not found:
        note(
            'No rules. Make one: corral events set big-orders \'{"detail-type": ["Order created"]}\' --workflow triage'
        )
        return
    rows = [
        [
            rule["name"],
            rule["topic"],
            "paused" if rule["paused"] else "on",
            _targets(rule),
            _line(rule["pattern"]),
        ]
        for rule in found
    ]
    show_table(["RULE", "TOPIC", "STATUS", "BEGINS", "PATTERN"], rows)


@app.command("show")
def show_rule(name: Name, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show a rule."""
    rule = workflows_api(url, api_key).rule(name)
    if as_json:
        show_json(rule)
    else:
        show(pretty(rule))


@app.command("set")
def set_rule(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    name: Name,
    pattern: Pattern,
    workflow: Annotated[
        list[str] | None, typer.Option("--workflow", "-w", help="A workflow that begins; repeatable.")
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", "-a", help="An agent that gets a job; repeatable.")
    ] = None,
    topic: Topic = "default",
    input_path: Annotated[
        str, typer.Option("--input-path", help="Which part of the event they get: `$.detail`.")
    ] = "$",
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    paused: Annotated[bool, typer.Option("--paused", help="Keep it, but let it rest.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a rule, or change the one of that name."""
    targets: list[dict[str, Any]] = [{"workflow": one} for one in workflow or []]
    targets += [{"job": {"agent": one}} for one in agent or []]
    if not targets:
        raise usage("The rule begins nothing.", "Name what begins with --workflow NAME or --agent NAME.")
    content = {
        "topic": topic,
        "pattern": read_input(pattern, as_prompt=False, name="PATTERN"),
        "targets": [{**target, "input_path": input_path} for target in targets],
        "description": description,
        "paused": paused,
    }
    rule = workflows_api(url, api_key).save_rule(name, content)
    if as_json:
        show_json(rule)
    else:
        show(f"{name} is kept, and rests." if rule["paused"] else f"{name} waits for events of {rule['topic']}.")


@app.command()
def remove(name: Name, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Remove a rule. What it began goes on."""
    workflows_api(url, api_key).remove_rule(name)
    if as_json:
        show_json({"removed": name})
    else:
        show(f"Removed {name}.")


@app.command()
def match(
    pattern: Pattern,
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help='JSON or @file: {"source": "shop", "detail": {"total": 10}}')
    ],
    as_json: Json = False,
) -> int:
    """Try a pattern on an event. No server is asked."""
    from corral.workflows.matching import check_pattern, matches  # noqa: PLC0415 - loaded when it is asked

    wanted = check_pattern(read_input(pattern, as_prompt=False, name="PATTERN"))
    found = matches(wanted, read_input(event, as_prompt=False, name="EVENT"))
    if as_json:
        show_json({"matches": found})
    else:
        show("It matches." if found else "It does not match.")
    return Exit.OK if found else Exit.FAILED


def _targets(rule: dict[str, Any]) -> str:
    named = [target["workflow"] or f"job {(target['job'] or {}).get('agent', '')}" for target in rule["targets"]]
    return ", ".join(named)


def _line(value: Any) -> str:
    """JSON in a line."""
    return msgspec.json.encode(value).decode()
