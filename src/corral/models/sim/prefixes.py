"""Beginnings of conversations that were read before: what real providers read from their prompt cache."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from corral.messages import ModelCall
from corral.models.sim import tokens

_KEPT_MAX = 20_000
_STEP = 128
"""Providers that keep beginnings by themselves count them in steps of this many tokens."""


class Read(msgspec.Struct, frozen=True):
    """The tokens of a call's question: what was new, what was kept, and what is kept from now on."""

    new: int
    kept: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.new + self.kept + self.written


class Prefixes:
    """Remembers beginnings for a while; at most so many of them, the oldest go first."""

    def __init__(self, min_tokens: int, keep_s: float) -> None:
        """Shorter beginnings than `min_tokens` are not kept."""
        self._min = min_tokens
        self._keep_s = keep_s
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def read(self, call: ModelCall, who: str, now: float) -> Read:
        """Count a question, and remember its beginnings.

        A question with marks (`"cache": true`) is kept up to these alone; without any, after each of its messages.
        """
        counts = _counted(call)
        total = sum(count for count, _, _ in counts)
        if total < self._min or not self._keep_s:
            return Read(total)
        marked = any(mark for _, _, mark in counts)
        before, hit, last = 0, 0, 0
        state = hashlib.blake2b(f"{who}\0{call.model}\0".encode(), digest_size=16)
        ends: list[bytes] = []
        for count, content, mark in counts:
            before += count
            state.update(content)
            if before < self._min or (marked and not mark):
                continue
            end = state.digest()
            if self._until.get(end, 0.0) > now:
                hit = before
            ends.append(end)
            last = before
        for end in ends:
            self._until[end] = now + self._keep_s
            self._until.move_to_end(end)
        while len(self._until) > _KEPT_MAX:
            self._until.popitem(last=False)
        if marked:
            return Read(total - last, hit, last - hit)
        hit = min(hit, total - 1) // _STEP * _STEP
        return Read(total - hit, hit)

    def clear(self) -> None:
        """Forget all of them."""
        self._until.clear()


def _counted(call: ModelCall) -> list[tuple[int, bytes, bool]]:
    """Tools, then messages: tokens, content, and whether a kept beginning ends there."""
    counts: list[tuple[int, bytes, bool]] = []
    if call.tools:
        content = msgspec.json.encode(call.tools)
        marked = bool(call.notes.get("sim.tools_marked"))
        counts.append((tokens.count(content.decode()), content, marked))
    for message in call.messages:
        counts += _of_message(message.role, message.content)
    return counts


def _of_message(role: str, parts: list[dict[str, Any]]) -> list[tuple[int, bytes, bool]]:
    """Part by part if any is marked, else as a whole."""
    if not any("cache" in part for part in parts):
        size = tokens.MESSAGE_TOKENS + sum(map(tokens.count_part, parts))
        return [(size, role.encode() + msgspec.json.encode(parts), False)]
    counts = []
    for number, part in enumerate(parts):
        plain = {name: value for name, value in part.items() if name != "cache"}
        size = tokens.count_part(plain) + (tokens.MESSAGE_TOKENS if number == 0 else 0)
        counts.append((size, role.encode() + msgspec.json.encode(plain), bool(part.get("cache"))))
    return counts
