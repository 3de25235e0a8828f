"""Small pieces of text joined into larger ones, for agents that yield a stream character by character."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

_HELD_S_MAX = 0.05
"""Text is never held back longer than this while the agent thinks."""


def joined(source: AsyncIterator[Any], size: int) -> AsyncIterator[Any]:
    """`source` itself when `size` is 0; else its texts joined until `size` characters are there."""
    return source if size <= 1 else _Joined(source, size)


class _Joined:
    def __init__(self, source: AsyncIterator[Any], size: int) -> None:
        self._source = source
        self._size = size
        self._next: asyncio.Future[Any] | None = None
        self._held: list[Any] = []

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._held:  # a value that is no text came after text: the text went first
            return self._held.pop()
        texts: list[str] = []
        length = 0
        while length < self._size:
            try:
                value = await self._value(wait=not texts)
            except TimeoutError:
                break
            except StopAsyncIteration:
                if texts:
                    break
                raise
            except Exception:
                if texts:
                    break  # the text goes first; asking again raises the error again
                raise
            if not isinstance(value, str):
                if not texts:
                    return value
                self._held.append(value)
                break
            texts.append(value)
            length += len(value)
        return "".join(texts)

    async def _value(self, *, wait: bool) -> Any:
        """The next value. Not waiting for ever leaves the pending read in place for the next call."""
        if self._next is None:
            self._next = asyncio.ensure_future(_next(self._source))
        if not self._next.done():
            done, _ = await asyncio.wait([self._next], timeout=None if wait else _HELD_S_MAX)
            if not done:
                raise TimeoutError
        ended = self._next.exception()
        if ended is None:
            value, self._next = self._next.result(), None
            return value
        raise StopAsyncIteration if isinstance(ended, _EndOfStream) else ended

    async def aclose(self) -> None:
        """Stop reading and close the source."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
            if not self._next.cancelled():
                self._next.exception()  # looked at, so that nobody is warned of an error nobody asked for
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class _EndOfStream(Exception):
    pass


async def _next(source: AsyncIterator[Any]) -> Any:
    try:
        return await anext(source)
    except StopAsyncIteration:
        raise _EndOfStream from None
