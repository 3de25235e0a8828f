"""JSON that a command is given: on the command line, in a file, or on stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from corral.cli.failure import Exit, Failure

_JSON_BEGINS = ("{", "[", '"')


def read_input(text: str, *, as_prompt: bool = True, name: str = "INPUT") -> Any:
    """The value of JSON, of `@file`, or of `-` for stdin.

    `name` is what the argument is called. With `as_prompt`, words that do not look like JSON are `{"prompt": …}`. What begins like JSON must be JSON.
    """
    where, given = name, text
    if text == "-":
        where, given = "stdin", sys.stdin.read()
    elif text.startswith("@"):
        where, given = text[1:], read_text(text[1:])
    try:
        return msgspec.json.decode(given)
    except msgspec.DecodeError as error:
        if as_prompt and given.strip() and not given.lstrip().startswith(_JSON_BEGINS) and not text.startswith("@"):
            return {"prompt": given.strip() if text == "-" else given}
        raise usage(f"{where} is not JSON: {error}.", 'JSON looks like {"prompt": "Hello"}, quotes included.') from None


def read_lines(file: str) -> Iterator[Any]:
    """The values of a file (or stdin: `-`) with one JSON document in each line."""
    text = sys.stdin.read() if file == "-" else read_text(file)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                raise usage(
                    f"Line {number} of {'stdin' if file == '-' else file} is not JSON: {error}.",
                    "Each line is the input of one job. Nothing was handed in.",
                ) from None


def read_text(file: str) -> str:
    """What a file holds."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise usage(f"{file} cannot be read: {reason}.", "Name a file that holds JSON.") from None


def usage(message: str, hint: str) -> Failure:
    """The command was not used as it can be."""
    return Failure(message, hint, code="usage", status=Exit.USAGE)
