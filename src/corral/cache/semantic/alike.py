"""Questions that mean the same, for `ResponseCache`: found by their vectors, refused by the guard, and no more than that.

No evidence is gathered here: the threshold is whoever sets it's own to answer for. Vectors are kept beside the answers where there is a
database; in memory they are searched. What cannot be embedded or read is not found, and the function runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from corral.cache.keys import KEY_BYTES
from corral.cache.semantic import guard
from corral.cache.semantic.embedders import Embedder
from corral.cache.semantic.index import Partitions
from corral.cache.semantic_store import AnswerDraft, Listed, SemanticStore
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger("corral.cache")

Vectors = Callable[[list[str]], Any]
"""A function of one's own: texts to vectors, one for each; it may be asynchronous."""

_NEIGHBOURS = 4
_NEWS_S = 1.0
_EMBED_S = 10.0
_CHARS_MAX = 800
"""In a longer text the question is a small part, and so is what tells it from another."""


class FunctionEmbedder:
    """Asks a function. One that is not asynchronous runs in a thread."""

    def __init__(self, function: Vectors) -> None:
        """Vectors of functions with other names are not compared."""
        self._function = function
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        self.fingerprint = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()

    async def start(self) -> None:
        """Nothing to do."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length one for each text."""
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

        if inspect.iscoroutinefunction(self._function):
            said = await self._function(list(texts))
        else:
            said = await asyncio.to_thread(self._function, list(texts))
            if inspect.isawaitable(said):
                said = await said
        rows = np.asarray(said, dtype=np.float32).reshape(len(texts), -1)
        unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    async def stop(self) -> None:
        """Nothing to give back."""


class Alike:
    """For one tenant. `start` it and `stop` it; each may come twice."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        tenant: str,
        store: SemanticStore | None,
        ttl_s: float,
        entries_max: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Without a store, questions are found in this process alone."""
        self._embedder = embedder
        self._tenant = tenant
        self._store = store
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._now = clock.monotonic
        self._partitions = Partitions(entries_max=entries_max)
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Load the embedder. Raises `ConfigError` if it is not there."""
        await self._embedder.start()

    async def stop(self) -> None:
        """Give it back."""
        await self._embedder.stop()

    async def nearest(self, place: str, text: str, *, threshold: float) -> bytes | None:
        """The key of the question most like this one that nothing speaks against; of the same `place` alone."""
        text = " ".join(text.split())
        vector = await self._vector(text)
        if vector is None:
            return None
        scope = self._scope(place)
        partition = self._partitions.of(self._tenant, scope)
        await self._read(scope)
        for one in partition.nearest(vector, _NEIGHBOURS, self._now()):
            if one.score >= threshold and not guard.objection(text, one.question):
                return one.id
        return None

    async def add(self, place: str, text: str, key: bytes) -> None:
        """Remember a question by the key of its answer."""
        text = " ".join(text.split())
        vector = await self._vector(text)
        if vector is None:
            return
        scope = self._scope(place)
        listed = Listed(key, text, vector.tobytes(), 0.0, self._ttl_s)
        self._partitions.of(self._tenant, scope).put(listed, self._now())
        if self._store is None:
            return
        draft = AnswerDraft(id=key, scope=scope, question=text, vector=listed.vector, value=b"", ttl_s=self._ttl_s)
        try:
            await self._store.put(self._tenant, [draft], entries_max=self._entries_max)
        except CorralError as error:
            _log.warning("A question is found by its meaning in this process alone: %s", error)

    async def clear(self) -> None:
        """Forget all questions."""
        self._partitions.forget(self._tenant)
        if self._store is not None:
            await self._store.drop(self._tenant)

    def _scope(self, place: str) -> bytes:
        parts = f"{place}\0{self._embedder.fingerprint}\0{guard.VERSION}"
        return hashlib.blake2b(parts.encode(), digest_size=KEY_BYTES).digest()

    async def _vector(self, text: str) -> NDArray[np.float32] | None:
        if not text or "\0" in text or len(text) > _CHARS_MAX or not guard.is_english(text):
            return None
        try:
            async with asyncio.timeout(_EMBED_S):
                return cast("NDArray[np.float32]", (await self._embedder.embed([text]))[0])
        except Exception as error:  # noqa: BLE001 - an embedder of any kind may fail in any way; what is asked is then done
            _log.warning("A question could not be embedded, and is not found: %s: %s", type(error).__name__, error)
            return None

    async def _read(self, scope: bytes) -> None:
        """What others keep, about once a second."""
        if self._store is None:
            return
        async with self._reading:
            partition = self._partitions.of(self._tenant, scope)
            if partition.loaded_at is not None and self._now() - partition.loaded_at < _NEWS_S:
                return
            try:
                more = True
                while more:
                    news = await self._store.news(self._tenant, scope, partition.change)
                    begin_anew = news.change < partition.change
                    partition.change = 0 if begin_anew else news.change
                    now = self._now()
                    for one in news.answers:
                        partition.put(one, now)
                    more = news.more or begin_anew
            except CorralError as error:
                _log.warning("Questions that others keep cannot be read for now: %s", error)
            partition.loaded_at = self._now()
