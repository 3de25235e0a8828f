"""Cuts documents into chunks: along their headings and paragraphs, and where those are too long, between sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from corral.memory.drafting import chunk_of
from corral.memory.reading import Block
from corral.memory.store import ChunkDraft

CountTokens = Callable[[str], int]

_SENTENCE = re.compile(r".+?(?:[.!?…](?=\s)|[。！？]|\n|$)\s*", re.DOTALL)  # noqa: RUF001 - marks that end sentences elsewhere
_CHARS_PER_TOKEN = 4


def about(text: str) -> int:
    """About how many tokens, for any tokenizer: four letters of English, or one sign of a writing without spaces."""
    plain = len(text) if text.isascii() else sum(1 for sign in text if ord(sign) < 0x2000)  # noqa: PLR2004 - up to here are alphabets
    return (plain + _CHARS_PER_TOKEN - 1) // _CHARS_PER_TOKEN + len(text) - plain


def chunks_of(
    blocks: Iterable[Block], *, title: str = "", tokens: int = 300, overlap: int = 40, count: CountTokens = about
) -> list[ChunkDraft]:
    """A document's chunks. None has more than `tokens`, unless one word has; the same document gives the same ones.

    A chunk never reaches over a heading. Where a paragraph is cut, the last sentences of one chunk, up to `overlap` tokens,
    begin the next one too.
    """
    seen: Counter[tuple[str, str]] = Counter()
    chunks = []
    for block in _joined(blocks, tokens, overlap, count):
        nth = seen[block.place, block.text]
        seen[block.place, block.text] += 1
        chunks.append(chunk_of(block.text, place=block.place, start=block.start, nth=nth, also=title))
    return chunks


def _joined(blocks: Iterable[Block], tokens: int, overlap: int, count: CountTokens) -> Iterator[Block]:
    """Paragraphs together as long as they fit."""
    waiting: list[Block] = []
    size = 0
    for block in blocks:
        length = count(block.text)
        if waiting and (block.place != waiting[0].place or size + length > tokens):
            yield _one(waiting)
            waiting, size = [], 0
        if length > tokens:
            yield from _cut(block, tokens, min(overlap, tokens // 2), count)
        else:
            waiting.append(block)
            size += length
    if waiting:
        yield _one(waiting)


def _one(blocks: Sequence[Block]) -> Block:
    return Block("\n\n".join(block.text for block in blocks), blocks[0].place, blocks[0].start)


def _cut(block: Block, tokens: int, overlap: int, count: CountTokens) -> Iterator[Block]:
    """One paragraph as several, between sentences where there are any."""
    pieces = [piece for start, text in _sentences(block.text) for piece in _halved(start, text, tokens, count)]
    first = 0
    while first < len(pieces):
        end, size = first, 0
        while end < len(pieces) and (end == first or size + pieces[end][2] <= tokens):
            size += pieces[end][2]
            end += 1
        text = "".join(text for _, text, _ in pieces[first:end]).strip()
        if text:
            yield Block(text, block.place, block.start + pieces[first][0])
        if end == len(pieces):
            return
        again, shared = end, 0
        while again - 1 > first and shared + pieces[again - 1][2] <= overlap:
            again -= 1
            shared += pieces[again][2]
        first = again


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    for found in _SENTENCE.finditer(text):
        yield found.start(), found.group()


def _halved(start: int, text: str, tokens: int, count: CountTokens) -> list[tuple[int, str, int]]:
    """A sentence that is too long as pieces that are not: cut at a space near the middle, else in the middle."""
    length = count(text)
    if length <= tokens or len(text) < 2:  # noqa: PLR2004 - one sign is not cut
        return [(start, text, length)]
    middle = len(text) // 2
    space = max(text.rfind(" ", 0, middle), text.rfind("\n", 0, middle)) + 1
    at = space if space > len(text) // 4 else middle
    return _halved(start, text[:at], tokens, count) + _halved(start + at, text[at:], tokens, count)
