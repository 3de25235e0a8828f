"""Small pieces of text joined into larger ones, for agents that yield a stream character by character."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

_HELD_S_MAX = 0.05
"""Text is never held back longer than this while the agent thinks."""
_AHEAD_MAX = 64
"""The agent may be this many values ahead of its reader."""


def joined(source: AsyncIterator[Any], size: int) -> AsyncIterator[Any]:
    """`source` itself when `size` is 0 or 1; else its texts joined until `size` characters are there."""
    return source if size <= 1 else _Joined(source, size)


class _End:
    """The end of the source, and why it ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Joined:
    """Reads the source in one task from first value to last: an agent must not find itself in another task's context."""

    def __init__(self, source: AsyncIterator[Any], size: int) -> None:
        self._source = source
        self._size = size
        self._arrived: asyncio.Queue[Any] = asyncio.Queue(_AHEAD_MAX)
        self._reader: asyncio.Task[None] | None = None
        self._held: list[Any] = []
        self._closing = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        first = self._held.pop() if self._held else await self._arrived.get()
        if isinstance(first, str):
            return await self._more(first)
        if isinstance(first, _End):
            self._held.append(first)
            raise first.error or StopAsyncIteration
        return first

    async def _more(self, text: str) -> str:
        """The text and what comes soon after it. A value that is no text waits for the next call."""
        texts, length = [text], len(text)
        try:
            async with asyncio.timeout(_HELD_S_MAX):
                while length < self._size:
                    value = await self._arrived.get()
                    if not isinstance(value, str):
                        self._held.append(value)
                        break
                    texts.append(value)
                    length += len(value)
        except TimeoutError:
            return "".join(texts)
        return "".join(texts)

    async def _read(self) -> None:
        end: BaseException | None = None
        try:
            try:
                async for value in self._source:
                    if self._closing:
                        break
                    await self._arrived.put(value)
            finally:
                await self._close()
        except BaseException as error:
            if self._closing:
                raise
            end = error  # for the reader, who raises it
        await self._arrived.put(_End(end))

    async def aclose(self) -> None:
        """Stop reading and close the source."""
        reader = self._reader
        if reader is None:
            await self._close()
            return
        self._closing = True
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.result()

    async def _close(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
