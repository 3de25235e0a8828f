"""Which calls ask a question that can be answered by meaning, and what two of them must have in common besides it."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from corral.cache.keys import KEY_BYTES, call_key
from corral.cache.semantic import guard
from corral.cache.semantic_store import Route
from corral.messages import Message, ModelCall

_CHARS_MAX = 800
"""In a longer text the question is a small part, and so is what tells it from another."""


class Question(msgspec.Struct, frozen=True):
    """What is asked, and where its answer may be shared."""

    text: str
    scope: bytes
    route: Route
    id: bytes


def question_of(call: ModelCall, fingerprint: str, *, temperature_max: float) -> Question | None:
    """The question of a call; none: its answer depends on more than what was asked last, or on chance.

    One question under instructions, in plain text, without tools and without a form for the answer. What was said before
    counts only where the caller gave a `cache_scope`; then both conversations must have been the same until the question.
    """
    if call.tools or call.output is not None or (call.temperature or 0.0) > temperature_max:
        return None
    last = call.messages[-1] if call.messages else None
    if last is None or last.role != "user" or any(part.get("type") != "text" for part in last.content):
        return None
    before = call.messages[:-1]
    if not call.policy.cache_scope and any(message.role != "system" for message in before):
        return None
    text = " ".join(last.text.split())
    if not text or len(text) > _CHARS_MAX or not _can_be_kept(text):
        return None
    try:
        context = call_key(msgspec.structs.replace(call, messages=before))
    except (TypeError, ValueError):
        return None
    scope = _digest(context, fingerprint.encode(), guard.VERSION.encode())
    return Question(text, scope, _route(call, before, fingerprint), _digest(scope, text.encode()))


def _route(call: ModelCall, before: list[Message], fingerprint: str) -> Route:
    told = "\0".join(message.text for message in before if message.role == "system")
    key = _digest(call.model.encode(), told.encode(errors="replace"), fingerprint.encode(), guard.VERSION.encode())
    return Route(key, call.model, fingerprint)


def _can_be_kept(text: str) -> bool:
    """A database keeps neither NUL nor half a surrogate pair."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
