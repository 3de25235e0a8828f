"""Settings from the environment: `CORRAL_SERVER_PORT` is `server.port`, `CORRAL_NAME` is `name`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from corral.settings.check import FIELDS, Checker, Value

PREFIX = "CORRAL_"
# What the command line and the tests read for themselves.
RESERVED = frozenset({"URL", "API_KEY", "CONFIG", "NO_COLOR", "HOME", "CHAOS", "DEBUG", "TEST"})

NAMES = {PREFIX + key.replace(".", "_").upper(): key for key in FIELDS}


def from_environment(env: Mapping[str, str], checker: Checker) -> dict[str, Value]:
    """Values by dotted key. A variable that is no setting's, but begins like one, is a fault."""
    values: dict[str, Value] = {}
    for name, text in env.items():
        if not name.startswith(PREFIX):
            continue
        if name in NAMES:
            values[NAMES[name]] = Value(text, name, text=True)
        elif name.removeprefix(PREFIX).partition("_")[0] not in {word.partition("_")[0] for word in RESERVED}:
            near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            checker.fault(name, "(environment)", f"There is no such setting.{hint}")
    return values
