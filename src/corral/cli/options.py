"""Flags that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_app(help_text: str | None = None) -> typer.Typer:
    """A verb, or a group of them. Plain help and tracebacks: Rich would be loaded for either."""
    return typer.Typer(help=help_text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on after an earlier page: its `next_cursor`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
Url = Annotated[
    str | None, typer.Option("--url", envvar="CORRAL_URL", show_envvar=True, help="The server to ask.", metavar="URL")
]
Key = Annotated[
    str | None,
    typer.Option("--api-key", envvar="CORRAL_API_KEY", show_envvar=True, help="Its API key.", metavar="KEY"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="CORRAL_CONFIG", show_envvar=True, help="Read this file instead of corral.yaml."),
]
Store = Annotated[str | None, typer.Option("--store", help="Keep everything here: sqlite:///… or postgresql://….")]
Hot = Annotated[
    str | None, typer.Option("--hot", help="Send wake-ups through this Redis or Valkey as well: redis://….")
]
File = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="The file with the agents, or package.module:app (setting `entrypoint`)."),
]
