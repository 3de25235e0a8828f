"""Ask before something that cannot be undone."""

from __future__ import annotations

import sys

import typer

from corral.cli.failure import Exit, Failure


def confirm(question: str, *, otherwise: str, yes: bool) -> None:
    """Go on if `yes`, or if a person on a terminal says so; else raise what did not happen."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(otherwise, "Say --yes if you mean it.", code="not_confirmed", status=Exit.USAGE)
    if not typer.confirm(question, err=True):
        raise Failure(otherwise, "Ask again when you are sure.", code="not_confirmed")
