"""Settings from the environment: `CORRAL_SERVER_PORT` is `server.port`, `CORRAL_NAME` is `name`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from corral.settings.check import FIELDS, Checker, Value

PREFIX = "CORRAL_"
# What the command line and the tests read for themselves.
RESERVED = frozenset(PREFIX + name for name in ("URL", "API_KEY", "CONFIG", "NO_COLOR", "CHAOS"))

NAMES = {PREFIX + key.replace(".", "_").upper(): key for key in FIELDS}

# What Kubernetes and Docker tell every container about a service called `corral`, or `corral-…`.
_SERVICE = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+$")


def from_environment(env: Mapping[str, str], checker: Checker) -> dict[str, Value]:
    """Values by dotted key. A variable that begins like a setting's, but is none and is used nowhere, is a fault."""
    values: dict[str, Value] = {}
    for name, text in env.items():
        if not name.startswith(PREFIX) or _of_a_service(name, text):
            continue
        if name in NAMES:
            values[NAMES[name]] = Value(text, name, text=True)
        elif name not in RESERVED and name not in checker.variables:
            checker.fault(name, "(environment)", f"There is no such setting.{_nearest(name)}")
    return values


def _of_a_service(name: str, text: str) -> bool:
    return _SERVICE.search(name) is not None or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(text) is not None)


def _nearest(name: str) -> str:
    """By what comes after the prefix, which all names share; a setting's last words alone will do."""
    given = name.removeprefix(PREFIX)
    ending = [known for known in NAMES if known.endswith(f"_{given}")]
    near = ending or [
        PREFIX + known for known in difflib.get_close_matches(given, [n.removeprefix(PREFIX) for n in NAMES])
    ]
    return f" Did you mean {near[0]}?" if near else ""
