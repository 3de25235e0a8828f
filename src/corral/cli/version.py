"""`corral version`."""

from __future__ import annotations

import platform

import corral
from corral.cli.options import Json, new_app
from corral.cli.output import show, show_json

app = new_app()


@app.command()
def version(as_json: Json = False) -> None:
    """Say which version this is."""
    if as_json:
        show_json({"version": corral.__version__, "python": platform.python_version()})
    else:
        show(f"corral {corral.__version__} (Python {platform.python_version()})")
