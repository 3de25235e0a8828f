"""Plain command lines of the verbs that serve, read without a parser: it would be in the worker's memory from then on.

Whatever is not plain (a flag that is not known, `--help`, a number that is none) is left to the parser, which knows what
to say. What is plain means the same to both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class _Option(NamedTuple):
    name: str
    """The parameter of the verb's function."""
    kind: str = "text"
    """`text`, `path`, `number`, `yes` (without a value) or `list`."""
    choices: tuple[str, ...] = ()


_SHARED = {
    "--workers": _Option("workers", "number"),
    "-w": _Option("workers", "number"),
    "--host": _Option("host"),
    "--port": _Option("port", "number"),
    "-p": _Option("port", "number"),
    "--store": _Option("store"),
    "--hot": _Option("hot"),
    "--config": _Option("config", "path"),
    "--json": _Option("as_json", "yes"),
}
OPTIONS: dict[str, dict[str, _Option]] = {
    "serve": _SHARED
    | {
        "--role": _Option("role", choices=("all", "api", "worker", "control")),
        "--allow-unauthenticated": _Option("allow_unauthenticated", "yes"),
    },
    "gateway": _SHARED,
    "worker": _SHARED
    | {
        "--queue": _Option("queue", "list"),
        "-q": _Option("queue", "list"),
        "--concurrency": _Option("concurrency", "number"),
        "-c": _Option("concurrency", "number"),
    },
}
"""Of each verb, as its function in `corral.cli.serving` has them."""
_DEFAULTS: dict[str, dict[str, Any]] = {
    "serve": {"allow_unauthenticated": False},
    "gateway": {},
    "worker": {"queue": None, "host": "127.0.0.1"},
}


def read_plainly(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What the function of a verb is called with; none: this is for the parser."""
    verb, *rest = arguments
    options = OPTIONS[verb]
    found: dict[str, Any] = {option.name: None for option in options.values()} | {"as_json": False} | _DEFAULTS[verb]
    files: list[str] = []
    words = iter(rest)
    for word in words:
        if not word.startswith("-"):
            files.append(word)
            continue
        flag, given, text = word.partition("=")
        option = options.get(flag)
        if option is None or (given and (option.kind == "yes" or not flag.startswith("--"))):
            return None
        if option.kind == "yes":
            found[option.name] = True
            continue
        if not given:
            text = next(words, "-")
        if not _take(option, text, found):
            return None
    if len(files) > (verb != "gateway") or "" in files:
        return None
    if verb != "gateway":
        found["file"] = files[0] if files else None
    if found["config"] is None and (path := os.environ.get("CORRAL_CONFIG")):
        found["config"] = Path(path)
    return found


def _take(option: _Option, text: str, found: dict[str, Any]) -> bool:
    """Note a value. False: it is not plain."""
    if not text or text.startswith("-") or (option.choices and text not in option.choices):
        return False
    if option.kind == "number":
        if not (text.isascii() and text.isdecimal()):
            return False
        found[option.name] = int(text)
    elif option.kind == "list":
        found[option.name] = [*(found[option.name] or []), text]
    else:
        found[option.name] = Path(text) if option.kind == "path" else text
    return True
