"""`corral workflows`: what is declared, and beginning it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from corral.cli.confirming import confirm
from corral.cli.execution_follow import to_its_end
from corral.cli.failure import Exit, Failure
from corral.cli.files import write_file
from corral.cli.job_input import read_input, read_text
from corral.cli.job_shown import when
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table
from corral.cli.workflows_api import workflows_api

app = new_app("Workflows: steps in an order that is written down, and beginning them.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The workflow's name.")]
Definition = Annotated[
    str, typer.Argument(metavar="FILE", help="Its definition: Amazon States Language in JSON or YAML; - for stdin.")
]
Kind = Annotated[
    Literal["STANDARD", "EXPRESS"] | None,
    typer.Option("--kind", help="EXPRESS: in memory, short and fast, kept nowhere."),
]
Publish = Annotated[bool, typer.Option("--publish", help="Keep it as a version, too.")]
Description = Annotated[str, typer.Option("--description", help="Of the version.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")]


@app.command("list")
def list_workflows(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 50,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List the workflows, the latest first."""
    page = workflows_api(url, api_key).workflows(limit=limit, cursor=cursor)
    if as_json:
        show_json(page)
        return
    if not page["items"]:
        note("No workflows. Make one: corral workflows create triage triage.asl.yaml")
        return
    rows = [
        [one["name"], one["kind"], one["status"], (one["versions"] or ["-"])[0], when(one["updated_at"])]
        for one in page["items"]
    ]
    show_table(["NAME", "KIND", "STATUS", "VERSION", "CHANGED"], rows)
    if page.get("next_cursor"):
        note(f"There are more: --cursor {page['next_cursor']}")


@app.command()
def create(
    name: Name,
    definition: Definition,
    kind: Kind = None,
    publish: Publish = False,
    description: Description = "",
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Declare a workflow."""
    content = {"name": name, **_content(definition, kind, publish=publish, description=description)}
    _show_saved(workflows_api(url, api_key).create(content), "is declared", as_json=as_json)


@app.command()
def update(
    name: Name,
    definition: Definition,
    kind: Kind = None,
    publish: Publish = False,
    description: Description = "",
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Change what a workflow does, or declare it. Executions that run go on as they began."""
    content = _content(definition, kind, publish=publish, description=description)
    _show_saved(workflows_api(url, api_key).save(name, content), "is as you said", as_json=as_json)


@app.command("show")
def show_one(
    name: Name,
    version: Annotated[int | None, typer.Option("--version", min=1, help="As it was published.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show a workflow and its definition."""
    found = workflows_api(url, api_key).workflow(name, version=version)
    if as_json:
        show_json(found)
        return
    show(f"{bold(found['name'])}  {found['kind']}, {found['status']}")
    aliases = [f"{alias} → {', '.join(map(str, routes))}" for alias, routes in found["aliases"].items()]
    facts = {
        "versions": ", ".join(map(str, found["versions"])),
        "aliases": "; ".join(aliases),
        "changed": when(found["updated_at"]),
        "arn": found["arn"],
    }
    for fact, value in facts.items():
        if value:
            show(f"  {dim(f'{fact:<8}')} {value}")
    show("")
    show(_pretty(found["definition"]))


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Delete a workflow with its versions. Executions that run go on to their end."""
    confirm(f"Delete the workflow {name} with its versions?", otherwise="Nothing was deleted.", yes=yes)
    gone = workflows_api(url, api_key).delete(name)
    if as_json:
        show_json({"name": name, "deleted": gone})
    else:
        show(f"Deleted {name}." if gone else f"{name} goes with the last of its executions.")


@app.command()
def run(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    name: Annotated[str, typer.Argument(metavar="NAME", help="The workflow: NAME, NAME:VERSION or NAME:ALIAS.")],
    given: Annotated[str, typer.Argument(metavar="[INPUT]", help="JSON, @file, or - for stdin.")] = "{}",
    execution: Annotated[str | None, typer.Option("--name", help="The execution's name, taken once.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Begin only once with this key.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", "-w/-W", help="Follow it to its end.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what came of it.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Begin an execution, and follow it to its end."""
    api = workflows_api(url, api_key)
    content: dict[str, Any] = {"input": read_input(given, as_prompt=False)}
    if execution is not None:
        content["name"] = execution
    begun = api.begin(name, content, key=key)
    if not wait:
        if as_json:
            show_json(begun)
        else:
            show(begun["id"])
            note(f"Watch it: corral executions tail {begun['id']}")
        return Exit.OK
    if not as_json and not quiet:
        note(f"The execution is {begun['id']}.", faint=True)
    return to_its_end(api, begun["id"], as_json=as_json, quiet=quiet)


@app.command()
def graph(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A workflow of the server, or a file with a definition.")
    ],
    form: Annotated[
        Literal["mermaid", "svg"] | None, typer.Option("--format", "-f", help="Else by the file's name; mermaid.")
    ] = None,
    execution: Annotated[
        str | None, typer.Option("--execution", "-e", help="Colour the states as this execution has been through them.")
    ] = None,
    output: Output = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Draw a workflow: an SVG picture, or the text of a Mermaid diagram."""
    chosen = form or ("svg" if output is not None and output.suffix == ".svg" else "mermaid")
    if Path(name).is_file():
        drawn = _drawn_here(name, chosen)
    else:
        drawn = workflows_api(url, api_key).graph(name, format=chosen, execution=execution)
    if output is not None:
        write_file(output, drawn.rstrip() + "\n")
        if as_json:
            show_json({"written": [str(output)]})
        else:
            show(f"Wrote {output}")
    elif as_json:
        show_json({"name": name, "format": chosen, "graph": drawn})
    else:
        show(drawn.rstrip())


@app.command()
def validate(definition: Definition, kind: Kind = None, as_json: Json = False) -> int:
    """Say everything that is wrong with a definition. No server is asked."""
    from corral.workflows.language.checking import faults  # noqa: PLC0415 - loaded when it is asked
    from corral.workflows.language.document import document_of  # noqa: PLC0415 - as above
    from corral.workflows.language.fault import DefinitionInvalid, errors_of  # noqa: PLC0415 - as above

    try:
        found = faults(document_of(_read(definition)), kind=kind or "STANDARD")
    except DefinitionInvalid as invalid:
        found = invalid.faults
    wrong = errors_of(found)
    if as_json:
        show_json({"valid": not wrong, "faults": found})
    else:
        for fault in found:
            word = "" if fault.severity == "ERROR" else "(warning) "
            show(f"{dim(fault.pointer or '/')}  {word}{fault.message}{' ' + fault.hint if fault.hint else ''}")
        show("The definition is valid." if not wrong else f"{_counted(len(wrong), 'fault')}.")
    return Exit.INVALID if wrong else Exit.OK


@app.command()
def schema(output: Output = None, as_json: Json = False) -> None:
    """Print the JSON schema of definitions, for editors."""
    from corral.workflows.language.schema import json_schema  # noqa: PLC0415 - loaded when it is asked

    text = _pretty(json_schema()) + "\n"
    if output is None:
        show(text.rstrip())
        return
    write_file(output, text)
    if as_json:
        show_json({"written": [str(output)]})
    else:
        show(f"Wrote {output}")


@app.command()
def versions(
    name: Name,
    publish: Annotated[bool, typer.Option("--publish", help="Keep what it does now as a version.")] = False,
    description: Description = "",
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List what was published of a workflow, or publish it."""
    api = workflows_api(url, api_key)
    found = [api.publish(name, description)] if publish else api.versions(name)
    if as_json:
        show_json(found[0] if publish else {"items": found})
    elif publish:
        show(f"{name}:{found[0]['version']}")
    elif found:
        rows = [[f"{name}:{one['version']}", when(one["created_at"]), one["description"] or "-"] for one in found]
        show_table(["VERSION", "PUBLISHED", "DESCRIPTION"], rows)
    else:
        note(f"No versions. Publish one: corral workflows versions {name} --publish")


def _content(definition: str, kind: str | None, *, publish: bool, description: str) -> dict[str, Any]:
    content: dict[str, Any] = {"definition": _read(definition), "publish": publish or bool(description)}
    if kind is not None:
        content["kind"] = kind
    if description:
        content["description"] = description
    return content


def _read(definition: str) -> str:
    if definition == "-":
        return typer.get_text_stream("stdin").read()
    if not Path(definition).is_file():
        raise Failure(
            f"There is no file {definition}.",
            "Name a file with a definition in JSON or YAML, or give - and write it to stdin.",
            code="usage",
            status=Exit.USAGE,
        )
    return read_text(definition)


def _drawn_here(file: str, form: str) -> str:
    from corral.workflows.graph import mermaid, svg  # noqa: PLC0415 - loaded when it is asked
    from corral.workflows.language.reading import read  # noqa: PLC0415 - as above

    machine = read(read_text(file))
    return svg(machine) if form == "svg" else mermaid(machine)


def _show_saved(saved: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(saved)
        return
    version = f", as version {saved['published']}" if saved.get("published") else ""
    show(f"{saved['name']} {what}{version}.")
    note(f"Begin it: corral workflows run {saved['name']} '{{}}'", faint=True)


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
