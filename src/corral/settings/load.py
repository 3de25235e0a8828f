"""Settings from defaults, `.bedrock_agentcore.yaml`, `corral.yaml`, the environment and flags, in that order.

Every problem is found before anything is said: one `ConfigError` lists them all, each with its place and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.settings.agentcore_file import AGENTCORE_FILE, read_agentcore_file
from corral.settings.check import Checker, Value
from corral.settings.sections import Settings
from corral.settings.variables import from_environment

CORRAL_FILE = "corral.yaml"


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each one came from."""

    settings: Settings
    files: list[str]
    sources: dict[str, str]
    """By dotted key: `corral.yaml:12`, `CORRAL_SERVER_PORT`, `--port`; a key that is not here has its default."""


def load_settings(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Read everything. `flags` are values by dotted key. Raises `ConfigError` that lists every problem."""
    env = os.environ if env is None else env
    directory = Path.cwd() if directory is None else directory
    checker = Checker(env)
    files: list[str] = []
    merged: dict[str, Value] = {}
    agentcore = directory / AGENTCORE_FILE
    if agentcore.is_file():
        files.append(str(agentcore))
        merged |= checker.checked(read_agentcore_file(agentcore, checker))
    corral = path if path is not None else directory / CORRAL_FILE
    if corral.is_file():
        from corral.settings.yaml_file import read_yaml  # noqa: PLC0415 - PyYAML is loaded when there is a file

        files.append(str(corral))
        merged |= checker.checked(read_yaml(corral, checker))
    elif path is not None:
        raise ConfigError(f"There is no file {path}; `corral init` writes one.")
    merged |= checker.checked(from_environment(env, checker))
    merged |= checker.checked(
        {key: Value(value, _flag(key), text=True) for key, value in (flags or {}).items() if value is not None}
    )
    _check_keys(merged, checker)
    checker.raise_faults()
    return Loaded(
        settings=_built(merged),
        files=files,
        sources={key: value.source for key, value in sorted(merged.items())},
    )


def _check_keys(merged: Mapping[str, Value], checker: Checker) -> None:
    """A key says who calls: no two entries may have the same."""
    given = merged.get("security.api_keys")
    keys = [entry.key for entry in given.value] if given is not None else []
    if given is not None and len(set(keys)) < len(keys):
        checker.fault(given.source, "security.api_keys", "Two entries have the same `key`: it would not say who calls.")


def _built(merged: Mapping[str, Value]) -> Settings:
    tree: dict[str, Any] = {}
    for key, value in merged.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = msgspec.to_builtins(value.value, enc_hook=str)
    return msgspec.convert(tree, Settings)


def _flag(key: str) -> str:
    return "--" + key.rpartition(".")[2].replace("_", "-")
