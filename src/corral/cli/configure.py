"""`corral configure`: write settings to corral.yaml and keep everything else in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from corral.cli.failure import Exit, Failure
from corral.cli.files import write_file
from corral.cli.options import Json, new_app
from corral.cli.output import dim, show, show_json
from corral.errors import ConfigError

if TYPE_CHECKING:
    from corral.settings.sections import Settings

app = new_app()

_HEAD = "# yaml-language-server: $schema=.corral/schema.json\n"


@app.command()
def configure(
    name: Annotated[str | None, typer.Option("--name", "-n", help="The app's name.")] = None,
    entrypoint: Annotated[str | None, typer.Option("--entrypoint", "-e", help="The file with the agents.")] = None,
    region: Annotated[str | None, typer.Option("--region", "-r", help="AWS region named in ARNs.")] = None,
    disable_memory: Annotated[
        bool | None, typer.Option("--disable-memory/--enable-memory", help="Do not record sessions.")
    ] = None,
    disable_otel: Annotated[
        bool | None, typer.Option("--disable-otel/--enable-otel", help="Do not keep traces.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting: --set server.port=9000.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write settings to corral.yaml, comments kept. On a terminal, and without flags, it asks."""
    changes: dict[str, Any] = {
        "name": name,
        "entrypoint": entrypoint,
        "agentcore.region": region,
        "agentcore.disable_memory": disable_memory,
        "agentcore.disable_otel": disable_otel,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    changes |= dict(_assignment(text) for text in settings or ())
    path = Path("corral.yaml")
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    _check(before, {})
    if not changes:
        changes = _asked(before)
    after = _changed(before or _HEAD, changes)
    _check(after, changes)
    if after != before:
        write_file(path, after)
    if as_json:
        show_json({"file": str(path), "changed": after != before, "set": changes})
        return
    for key, value in changes.items():
        show(f"{key} = {value}")
    show(dim(f"{path} {'written' if after != before else 'says so already'}"))


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Failure(
            f"--set {text} has no value.", "Write it as --set server.port=9000.", code="usage", status=Exit.USAGE
        )
    try:
        return key, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return key, value


def _asked(text: str) -> dict[str, Any]:
    """What a person answers; the answer that is there already is offered."""
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise Failure(
            "There is nothing to configure.",
            "Say what to set: --name, --entrypoint, --region, or --set KEY=VALUE.",
            code="usage",
            status=Exit.USAGE,
        )
    try:
        now = _loaded(text)
    except ConfigError:
        from corral.settings.sections import Settings  # noqa: PLC0415 - as above

        now = Settings()
    found = {
        "name": typer.prompt("Name", now.name if text else Path.cwd().name, err=True),
        "entrypoint": typer.prompt("File with the agents", now.entrypoint, err=True),
        "agentcore.region": typer.prompt("AWS region named in ARNs", now.agentcore.region, err=True),
    }
    before = {"name": now.name, "entrypoint": now.entrypoint, "agentcore.region": now.agentcore.region}
    return {key: value for key, value in found.items() if value != before[key]} or {"name": found["name"]}


def _changed(text: str, changes: dict[str, Any]) -> str:
    from corral.cli.yaml_text import set_value  # noqa: PLC0415 - PyYAML is loaded when there is something to write
    from corral.settings.check import FIELDS, unknown_key  # noqa: PLC0415 - as above

    for key, value in changes.items():
        if key not in FIELDS:
            raise Failure(
                f"{key}: {unknown_key(key)}",
                "`corral schema` lists all settings.",
                code="config_error",
                status=Exit.INVALID,
            )
        text = set_value(text, key, value)
    return text


def _check(text: str, changes: dict[str, Any]) -> None:
    """Refuse what is not valid among the changes. Faults that were there before are for `corral validate` to name."""
    try:
        _loaded(text)
    except ConfigError as error:
        # A fault inside of a list or a table names the part: `security.api_keys[0].tenant`.
        faults = [fault for fault in error.errors if _setting(str(fault["key"])) in changes]
        if not faults and error.errors:
            return
        said = [f"{fault['key']}: {fault['message']}" for fault in faults] or [error.message]
        raise Failure(
            "Nothing was written. " + "\n  ".join(said),
            "`corral schema` lists all settings, with their types.",
            code=error.code,
            status=Exit.INVALID,
            errors=faults,
        ) from None


def _setting(key: str) -> str:
    return ".".join(key.partition("[")[0].split(".")[:2])


def _loaded(text: str) -> Settings:
    """What this text means by itself, without flags and CORRAL_ variables."""
    from corral.settings.load import load_settings  # noqa: PLC0415 - the settings are loaded when they are asked for

    env = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "corral.yaml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, env=env, directory=Path(folder)).settings
