"""`corral version`."""

from __future__ import annotations

import corral
from corral.cli.main import python_version, version_text
from corral.cli.options import Json, new_app
from corral.cli.output import show, show_json

app = new_app()


@app.command()
def version(as_json: Json = False) -> None:
    """Say which version this is."""
    if as_json:
        show_json({"version": corral.__version__, "python": python_version()})
    else:
        show(version_text())
