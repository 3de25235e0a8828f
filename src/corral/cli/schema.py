"""`corral schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from corral.cli.files import write_file
from corral.cli.options import Json, new_app
from corral.cli.output import show, show_json

app = new_app()


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Print the JSON schema of corral.yaml, for editors and other tools."""
    content = schema_text()
    if output is None:
        show(content.rstrip())
        return
    write_file(output, content)
    if as_json:
        show_json({"written": [str(output)]})
    else:
        show(f"Wrote {output}")


def schema_text() -> str:
    """The schema as it is written to files."""
    from corral.settings.schema import json_schema  # noqa: PLC0415 - the settings are loaded when they are asked for

    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"
