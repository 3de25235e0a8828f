"""Whether two answers say the same: equal but for spelling, or so alike in words, numbers and meaning that they may pass for it.

This is a rule of thumb, and a strict one: answers that say the same in other words are often taken for different ones. That
costs hits, and no truth. Who knows better gives a function of his own.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.cache.semantic import guard
from corral.cache.semantic.embedders import Embedder
from corral.errors import ConfigError

_ALIKE = 0.9
_READ_MAX = 1_200
"""Characters of an answer that an embedder reads well; longer ones are compared piece by piece."""
_PIECES_MAX = 8


class Comparison(msgspec.Struct, frozen=True):
    """Two questions, and an answer to each."""

    question: str
    kept_question: str
    answer: str
    kept_answer: str


Judge = Callable[[Comparison], Awaitable[bool]]
"""Whether the kept answer would have done for the question."""


class AnswerJudge:
    """The rule of thumb."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def __call__(self, compared: Comparison) -> bool:
        """Equal, or alike enough."""
        one, other = compared.answer, compared.kept_answer
        if plain(one) == plain(other):
            return True
        if guard.facts(one) != guard.facts(other):
            return False
        pieces, others = _pieces(one), _pieces(other)
        if not pieces or len(pieces) != len(others):
            return False
        vectors = await self._embedder.embed([*pieces, *others])
        half = len(pieces)
        return all(float(vectors[n] @ vectors[n + half]) >= _ALIKE for n in range(half))


def plain(text: str) -> str:
    """A text without what makes no difference: case, space, marks at the ends of words."""
    return " ".join(word for raw in text.casefold().split() if (word := raw.strip(".,;:!?\"'`*_()[]")))


def _pieces(text: str) -> list[str]:
    pieces = [text[at : at + _READ_MAX] for at in range(0, len(text), _READ_MAX)]
    return pieces if len(pieces) <= _PIECES_MAX else []


def judge_at(place: str) -> Judge:
    """A judge of somebody's own, `module:function`; it may be `async` or not. Raises `ConfigError` if it is not there."""
    module, _, name = place.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cache.semantic.judge: {place!r} is not there ({error}); write `module:function`."
        ) from error

    async def judge(compared: Comparison) -> bool:
        said = await asyncio.to_thread(found, compared)
        return bool(await said if inspect.isawaitable(said) else said)

    return judge
