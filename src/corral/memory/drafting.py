"""Makes what is kept out of what is said: records and turns, with the words they are found by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from corral.memory.store import ChunkDraft, ItemDraft, Namespace
from corral.memory.words import terms_of

TEXT_CHARS_MAX = 100_000
"""Of one chunk: what is longer is a document, and is cut."""


def digest_of(*texts: str) -> str:
    """A name for these texts: 32 hex digits, the same wherever and whenever it is made."""
    hashed = hashlib.blake2b(digest_size=16)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()


def chunk_of(text: str, *, place: str = "", start: int = 0, nth: int = 0, also: str = "") -> ChunkDraft:
    """A piece of text that is found by its own words, those of its place, and those of `also`.

    `nth` tells the same text in the same place apart: the second one has another id.
    """
    return ChunkDraft(
        id=digest_of(place, text, str(nth)),
        text=text,
        terms=terms_of(f"{place} {also} {text}" if place or also else text),
        place=place,
        start=start,
    )


def record_draft(
    text: str,
    *,
    id: str,  # noqa: A002 - that is what it is
    namespace: Namespace,
    metadata: dict[str, Any] | None = None,
    strategy: str = "",
    events: Sequence[str] = (),
    **more: Any,
) -> ItemDraft:
    """One fact. `more`: `at`, `ttl_s`, `version`, `title`, `source`."""
    metadata = metadata or {}
    return ItemDraft(
        id=id,
        kind="record",
        namespace=namespace,
        chunks=(chunk_of(text),),
        metadata=metadata,
        strategy=strategy,
        events=tuple(events),
        digest=digest_of(text, msgspec.json.encode([metadata, strategy, list(events)], order="sorted").decode()),
        **more,
    )


def log_draft(turns: Iterable[tuple[str, str]], *, id: str, namespace: Namespace, place: str = "") -> ItemDraft:  # noqa: A002 - as above
    """Turns of a conversation, speaker and text, to be appended to its log; `place` says when or where, and is not looked for."""
    chunks = [
        ChunkDraft(id=digest_of(place, text), text=text, terms=terms_of(text), place=place)
        for text in (f"{speaker}: {said}" if speaker else said for speaker, said in turns)
    ]
    return ItemDraft(id=id, kind="log", namespace=namespace, chunks=tuple(chunks))
