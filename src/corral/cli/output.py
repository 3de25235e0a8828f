"""What goes to the terminal: results to stdout, all else to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import msgspec

from corral.cli.failure import Failure

# A terminal obeys these, and what agents and users said must not give it orders. Tab and newline may stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIM, _RED, _BOLD, _END = "2", "31", "1", "\x1b[0m"


def show(text: str) -> None:
    """A line for people, on stdout."""
    print(harmless(text, sys.stdout), flush=True)  # noqa: T201 - this module is where the command line prints


def note(text: str, *, faint: bool = False) -> None:
    """A line beside the result, on stderr; a faint one stands back where stderr has colours."""
    text = paint(text, _DIM, sys.stderr) if faint else text
    print(harmless(text, sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 - as above


def show_json(content: object) -> None:
    """One JSON document, on stdout."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    print(text, flush=True)  # noqa: T201 - as above


def write(text: str) -> None:
    """A piece of a line, on stdout, at once."""
    sys.stdout.write(harmless(text, sys.stdout))
    sys.stdout.flush()


def show_failure(failure: Failure, *, as_json: bool) -> None:
    """One line that says what happened, one that says what to do next."""
    if as_json:
        sys.stderr.write(msgspec.json.encode(failure.as_json()).decode() + "\n")
        return
    note(f"{paint('Error:', _RED, sys.stderr)} {harmless(failure.message, sys.stderr)}")
    if failure.hint:
        note(f"{paint('Next:', _BOLD, sys.stderr)} {harmless(failure.hint, sys.stderr)}")


def dim(text: str) -> str:
    """Text that stands back, where stdout has colours."""
    return paint(text, _DIM, sys.stdout)


def bold(text: str) -> str:
    """Text that stands out, where stdout has colours."""
    return paint(text, _BOLD, sys.stdout)


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Coloured text, if `stream` is a terminal and nobody said NO_COLOR."""
    return f"\x1b[{colour}m{text}{_END}" if has_colours(stream) else text


def has_colours(stream: TextIO) -> bool:
    """Whether to colour what goes there: https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def harmless(text: str, stream: TextIO) -> str:
    """Text without orders to the terminal. What goes to a file or a pipe is left as it is."""
    if not stream.isatty():
        return text
    return _CONTROL.sub(lambda found: found[0] if _is_ours(text, found) else "�", text)


def _is_ours(text: str, found: re.Match[str]) -> bool:
    """The colours that `paint` gives."""
    return any(text.startswith(order, found.start()) for order in ("\x1b[2m", "\x1b[31m", "\x1b[1m", _END))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows under a heading. In a pipe nothing is cut off: `cut` and `awk` see every value whole."""
    cells = [[harmless(str(cell), sys.stdout).replace("\n", " ") for cell in row] for row in rows]
    if has_colours(sys.stdout):
        _show_rich(columns, cells)
        return
    widths = [max(len(row[n]) for row in [list(columns), *cells]) for n in range(len(columns))]
    for row in [list(columns), *cells]:
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - Rich is slow to load, and only tables on a terminal need it
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
