"""The console script: the list of verbs, and the one place where errors become messages and exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from corral.cli.failure import Exit, Failure, failure_of
from corral.cli.output import show_failure
from corral.errors import CorralError

# The verbs, and where they are: a module is loaded when its verb is used.
VERBS = {
    "init": "corral.cli.init:app",
    "dev": "corral.cli.serving:dev_app",
    "serve": "corral.cli.serving:serve_app",
    "validate": "corral.cli.validate:app",
    "invoke": "corral.cli.invoke:app",
    "sessions": "corral.cli.sessions:app",
    "status": "corral.cli.status:app",
    "configure": "corral.cli.configure:app",
    "container": "corral.cli.container:app",
    "db": "corral.cli.database:app",
    "schema": "corral.cli.schema:app",
    "completion": "corral.cli.completion:app",
    "version": "corral.cli.version:app",
}

_UsageError: Any = typer.BadParameter.__bases__[0]


class _ReaderGone(Exception):
    """Whoever read our output has closed it."""


class _Commands(Mapping[str, Any]):
    """Verb to command; looking one up loads its module."""

    def __getitem__(self, verb: str) -> Any:
        module, _, name = VERBS[verb].partition(":")
        command = typer.main.get_command(getattr(import_module(module), name))
        command.name = verb
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class _Corral(TyperGroup):
    """The program itself."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error


def program() -> TyperGroup:
    """The whole command line."""
    commands: Any = _Commands()
    return _Corral(
        name="corral",
        commands=commands,
        help="Serve Python AI agents: on a laptop to begin with, on many machines later.",
        epilog="Every verb takes --json. Exit statuses and examples: docs/cli.md.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    as_json = "--json" in arguments
    try:
        status = program().main(args=list(arguments), prog_name="corral", standalone_mode=False)
        sys.stdout.flush()
    except (_ReaderGone, BrokenPipeError):
        # What is still in the buffer has nowhere to go, and Python would complain about it at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except Failure as failure:
        return _failed(failure, as_json=as_json)
    except CorralError as error:
        return _failed(failure_of(error), as_json=as_json)
    except _UsageError as error:
        return _failed(_misused(error), as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.OK


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def _failed(failure: Failure, *, as_json: bool) -> int:
    show_failure(failure, as_json=as_json)
    return failure.status


def _misused(error: Any) -> Failure:
    """An unknown verb or flag, or a value that does not fit."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "corral"
    message = str(error.format_message())
    return Failure(message, f"`{path} --help` says how it is used.", code="usage", status=Exit.USAGE)
