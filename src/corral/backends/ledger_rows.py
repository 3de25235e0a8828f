"""Entries of the ledger as rows: the same columns on every engine."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from corral.limits.store import LedgerEntry, Spend
from corral.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXT_MAX = 512
_tags = msgspec.json.Decoder(dict[str, str])
_WORDS = ("id", "tenant", "agent", "session_id", "run_id", "provider", "model", "cached", "outcome", "prices")
_words_of = attrgetter(*_WORDS)
_before_tags = attrgetter("id", "at", "tenant", "agent", "session_id", "run_id")
_after_tags = attrgetter(
    "provider", "model", "usage.input", "usage.cache_read", "usage.cache_write", "usage.output", "usage.reasoning",
    "usage.estimated", "cost_usd", "cached", "duration_s", "first_s", "outcome", "prices",
)  # fmt: skip


def row_of(entry: LedgerEntry) -> tuple[Any, ...]:
    """What is kept of an entry. Words that no engine can keep are changed: a bill with a hole would be worse."""
    words = _words_of(entry)
    all_words = "".join(words)
    if len(all_words) > _TEXT_MAX or "\0" in all_words or not all_words.isascii():
        entry = msgspec.structs.replace(entry, **dict(zip(_WORDS, map(_kept, words), strict=True)))
    return (*_before_tags(entry), _tags_of(entry) if entry.tags else "{}", *_after_tags(entry))


def entry_of(row: Sequence[Any]) -> LedgerEntry:
    """The entry that a row keeps."""
    (entry_id, at, tenant, agent, session_id, run_id, tags, provider, model, *counts) = row
    (into, cache_read, cache_write, out, reasoning, estimated, cost, cached, duration_s, first_s, outcome, prices) = (
        counts
    )
    return LedgerEntry(
        id=entry_id,
        at=at,
        tenant=tenant,
        agent=agent,
        session_id=session_id,
        run_id=run_id,
        tags=_tags.decode(tags),
        provider=provider,
        model=model,
        usage=Usage(
            input=into,
            cache_read=cache_read,
            cache_write=cache_write,
            output=out,
            reasoning=reasoning,
            estimated=bool(estimated),
        ),
        cost_usd=cost,
        cached=cached,
        duration_s=duration_s,
        first_s=first_s,
        outcome=outcome,
        prices=prices,
    )


def spend_of(row: Sequence[Any]) -> Spend:
    """One line of a bill."""
    key, calls, cost, unpriced, cached, into, cache_read, cache_write, out, reasoning, estimated = row
    return Spend(
        key=key or "",
        calls=calls,
        cost_usd=float(cost),
        unpriced=unpriced,
        cached=cached,
        usage=Usage(
            input=int(into),
            cache_read=int(cache_read),
            cache_write=int(cache_write),
            output=int(out),
            reasoning=int(reasoning),
            estimated=bool(estimated),
        ),
    )


def _tags_of(entry: LedgerEntry) -> str:
    return msgspec.json.encode({_kept(key): _kept(value) for key, value in entry.tags.items()}).decode()


def _kept(text: str) -> str:
    if text.isascii() and len(text) <= _TEXT_MAX and "\0" not in text:
        return text
    return text[:_TEXT_MAX].replace("\0", "?").encode(errors="replace").decode()
