"""The verbs of the command line, each in a module that is loaded when it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
import typer.completion
from typer.core import TyperGroup

VERBS = {
    "init": "corral.cli.init:app",
    "dev": "corral.cli.serving:dev_app",
    "serve": "corral.cli.serving:serve_app",
    "gateway": "corral.cli.serving:gateway_app",
    "worker": "corral.cli.serving:worker_app",
    "validate": "corral.cli.validate:app",
    "invoke": "corral.cli.invoke:app",
    "agents": "corral.cli.agents:app",
    "runs": "corral.cli.runs:app",
    "approvals": "corral.cli.approvals:app",
    "workflows": "corral.cli.workflows:app",
    "executions": "corral.cli.executions:app",
    "events": "corral.cli.events:app",
    "sessions": "corral.cli.sessions:app",
    "jobs": "corral.cli.jobs:app",
    "queues": "corral.cli.jobs_stats:queues_app",
    "cache": "corral.cli.cache:app",
    "schedules": "corral.cli.schedules:app",
    "tools": "corral.cli.tools:app",
    "memory": "corral.cli.memory:app",
    "audit": "corral.cli.audit:app",
    "limits": "corral.cli.limits:app",
    "keys": "corral.cli.keys:app",
    "budgets": "corral.cli.budgets:app",
    "costs": "corral.cli.costs:app",
    "ps": "corral.cli.running:ps_app",
    "stop": "corral.cli.running:stop_app",
    "bridge": "corral.cli.bridge:app",
    "models": "corral.cli.models:app",
    "sim": "corral.cli.sim:app",
    "status": "corral.cli.status:app",
    "configure": "corral.cli.configure:app",
    "container": "corral.cli.container:app",
    "db": "corral.cli.database:app",
    "schema": "corral.cli.schema:app",
    "completion": "corral.cli.completion:app",
    "version": "corral.cli.version:app",
}

UsageError: Any = typer.BadParameter.__bases__[0]
"""What Typer raises for an unknown verb or flag, or a value that does not fit; it has no public name."""
Aborted = typer.Abort
"""What Typer raises when somebody answers no."""


COMPLETE_VARIABLE = "_CORRAL_COMPLETE"
"""Set by the completion scripts of shells."""


class ReaderGone(Exception):
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
    """The program itself. Typer would end it when the reader is gone, and with another status."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the command line; `--help` is answered here."""
        try:
            return super().make_context(*arguments, **more)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error


def program() -> TyperGroup:
    """The whole command line."""
    if COMPLETE_VARIABLE in os.environ:  # a shell asks
        typer.completion.get_completion_inspect_parameters()  # makes the shells known, as Typer's own programs do
    commands: Any = _Commands()
    return _Corral(
        name="corral",
        commands=commands,
        help="Serve Python AI agents: on a laptop to begin with, on many machines later.",
        epilog="Every verb takes --json. Exit statuses and examples: docs/cli.md.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
