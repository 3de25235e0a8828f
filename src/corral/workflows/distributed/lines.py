"""Bytes in pieces become text, lines, and the records of CSV files."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator

from corral.workflows.distributed.faults import ItemsFailed

RECORD_MAX = 2 * 1024 * 1024
"""Characters of one line, one record or one element; more is not read on."""

DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}


async def texts(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """UTF-8, with or without a byte order mark, as text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    begun = False
    try:
        async for piece in pieces:
            text = decoder.decode(piece)
            if not begun and text:
                begun, text = True, text.removeprefix("\ufeff")
            if text:
                yield text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ItemsFailed(f"The file is not UTF-8: {error.reason} at byte {error.start} of a piece.") from error


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Lines with their ends."""
    rest: list[str] = []
    size = 0
    async for text in texts(pieces):
        start = 0
        while (end := text.find("\n", start)) >= 0:
            rest.append(text[start : end + 1])
            yield "".join(rest)
            rest, size, start = [], 0, end + 1
        if start < len(text):
            rest.append(text[start:])
            size += len(text) - start
            if size > RECORD_MAX:
                raise _too_long("A line")
    if rest:
        yield "".join(rest)


async def records(pieces: AsyncIterator[bytes], delimiter: str) -> AsyncIterator[list[str]]:
    """Records of a CSV file: a quoted field may hold line ends. Empty lines are none."""
    pending: list[str] = []
    size = 0
    is_open = False
    async for line in lines(pieces):
        if not pending and line in {"\n", "\r\n"}:
            continue
        pending.append(line)
        size += len(line)
        is_open = ends_open(line, delimiter, is_open=is_open)
        if not is_open:
            yield _record(pending, delimiter)
            pending, size = [], 0
        elif size > RECORD_MAX:
            raise _too_long("A record")
    if pending:
        yield _record(pending, delimiter)


def ends_open(line: str, delimiter: str, *, is_open: bool) -> bool:
    """Whether a quoted field goes on behind this line. A quote opens a field only where the field begins."""
    if '"' not in line:
        return is_open
    begins = not is_open
    at = 0
    while at < len(line):
        char = line[at]
        if is_open:
            if char == '"':
                if line[at + 1 : at + 2] == '"':
                    at += 1
                else:
                    is_open = False
        elif char == '"' and begins:
            is_open = True
        begins = not is_open and char == delimiter
        at += 1
    return is_open


def _record(pending: list[str], delimiter: str) -> list[str]:
    import csv  # noqa: PLC0415 - few files are CSV

    try:
        rows = list(csv.reader(pending, delimiter=delimiter))
    except csv.Error as error:
        raise ItemsFailed(f"The file is not CSV: {error}.") from error
    return rows[0] if rows else []


def _too_long(what: str) -> ItemsFailed:
    return ItemsFailed(f"{what} is longer than {RECORD_MAX} characters.")
