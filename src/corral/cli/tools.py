"""`corral tools`: what tools there are, and calling one."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from corral.cli.client import client_for, header, segment
from corral.cli.failure import Failure
from corral.cli.job_input import read_input, usage
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app("What agents may call: the app's tools, its agents', and those that come from elsewhere.")

Agent = Annotated[str | None, typer.Option("--agent", "-a", help="The tools of this agent.")]

_MARGIN_S = 10.0
_CALL_S = 300.0
_SUMMARY_MAX = 80


@app.command("list")
def list_tools(agent: Agent = None, url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """List the tools, by name."""
    found: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/tools{_query(agent)}")
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("There are no tools. Decorate a function with `@app.tool`, or give an agent some.")
        return
    show_table(
        ["NAME", "AGENTS", "SOURCE", "MARKS", "WHAT IT DOES"],
        [
            [one["name"], ", ".join(one["agents"]) or "-", one["source"], _marks(one) or "-", _summary(one)]
            for one in found["items"]
        ],
    )


@app.command("show")
def show_tool(
    name: Annotated[str, typer.Argument(help="Which tool.")],
    agent: Agent = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show a tool: what it does, what it takes, and how it is called."""
    found: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/tools/{segment(name)}{_query(agent)}")
    if as_json:
        show_json(found)
        return
    show(f"{found['name']}  ({', '.join([found['source'], *_said_marks(found)])})")
    if found["description"]:
        show(f"\n{found['description']}")
    if found["agents"]:
        show(f"\nAgents: {', '.join(found['agents'])}")
    properties: dict[str, Any] = found["parameters"].get("properties", {})
    required = found["parameters"].get("required", [])
    if properties:
        show("")
        show_table(
            ["ARGUMENT", "TYPE", "REQUIRED", "WHAT IT IS"],
            [
                [name, _type(one), "yes" if name in required else _default(one), one.get("description", "")]
                for name, one in properties.items()
            ],
        )


@app.command("call")
def call_tool(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    name: Annotated[str, typer.Argument(help="Which tool.")],
    arg: Annotated[
        list[str] | None,
        typer.Option(
            "--arg", metavar="NAME=VALUE", help="An argument; `name:=JSON` for one that is no text. Repeatable."
        ),
    ] = None,
    json_input: Annotated[
        str | None,
        typer.Option("--json-input", metavar="JSON", help="All arguments as one JSON object; `@file`, or - for stdin."),
    ] = None,
    agent: Agent = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="One effect for this key, however often this is called.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="For whom.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Longest call in seconds; the tool's own by default.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Call a tool as an agent would, through all layers, and print what came of it."""
    headers = {
        "Idempotency-Key": key,
        "X-User-Id": user,
        "X-Timeout-S": None if timeout is None else f"{timeout:g}",
    }
    content = msgspec.json.encode({"input": _input(arg or [], json_input)})
    with client_for(url, api_key).call(
        "POST",
        f"/v1/tools/{segment(name)}/call{_query(agent)}",
        content=content,
        headers={name: header(name, value) for name, value in headers.items() if value},
        timeout_s=_CALL_S if timeout is None else timeout + _MARGIN_S,
    ) as answer:
        answer.raise_for_status()
        reply: dict[str, Any] = answer.json()
    fault = reply["fault"]
    if fault is not None:
        if as_json:
            show_json(reply)
        raise Failure(fault["message"], _next_step(fault), code=fault["code"])
    if as_json:
        show_json(reply)
        return
    for part in reply["content"]:
        show(part["text"] if part.get("type") == "text" else msgspec.json.encode(part).decode())
    if reply["cached"]:
        note(f"This result was {reply['cached']}: the tool was not called.", faint=True)


def _input(given: list[str], json_input: str | None) -> dict[str, Any]:
    whole: Any = {} if json_input is None else read_input(json_input, as_prompt=False, name="--json-input")
    if not isinstance(whole, dict):
        raise usage(
            "--json-input is not a JSON object.", 'Arguments have names: --json-input \'{"ticket_id": "T-1"}\'.'
        )
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise usage(f"--arg {one!r} has no value.", "Say --arg name=value, or --arg name:=JSON.")
        if name.endswith(":"):
            whole[name[:-1]] = read_input(value, as_prompt=False, name=f"--arg {name[:-1]}")
        else:
            whole[name] = value
    return whole


def _query(agent: str | None) -> str:
    return f"?{urlencode({'agent': agent})}" if agent else ""


def _summary(tool: dict[str, Any]) -> str:
    first = str(tool["description"]).strip().partition("\n")[0]
    return first if len(first) <= _SUMMARY_MAX else f"{first[: _SUMMARY_MAX - 1]}…"


def _marks(tool: dict[str, Any]) -> str:
    return ", ".join(_said_marks(tool))


def _said_marks(tool: dict[str, Any]) -> list[str]:
    marks = ["read_only", "idempotent", "approval", "untrusted"]
    return [mark.replace("_", "-") for mark in marks if tool.get(mark)]


def _type(schema: dict[str, Any]) -> str:
    """A type in a word or two."""
    if "enum" in schema:
        return " | ".join(msgspec.json.encode(one).decode() for one in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _default(schema: dict[str, Any]) -> str:
    return f"no ({msgspec.json.encode(schema['default']).decode()})" if "default" in schema else "no"


def _next_step(fault: dict[str, Any]) -> str:
    if fault["code"] == "approval_required":
        return "A person has to say yes: call it by an agent's run, whose approvals `corral approvals list` shows."
    if fault["code"] == "denied":
        return "`corral audit list --decision denied` shows the rule."
    return "Try again in a moment." if fault["retryable"] else ""
