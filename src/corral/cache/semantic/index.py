"""Vectors in memory, one matrix for each scope of a tenant: exact and quick to search, and small enough to forget."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from corral.cache.semantic_store import Listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS_MIN = 4
_GRAPH_ROWS = 20_000
"""From so many rows on, a graph of neighbours is searched rather than all of them."""
_ROWS_MAX = 400_000
"""Rows in memory over all scopes, about."""
_SCOPES_MAX = 10_000
_COUNTED_EVERY = 64
"""Rows are counted when so many scopes have come."""


class Neighbour(msgspec.Struct, frozen=True):
    """An answer whose question is alike."""

    id: bytes
    question: str
    score: float
    wrong: float


class Partition:
    """The answers of one scope. Removing one puts the last one in its place."""

    def __init__(self, *, entries_max: int, graph_rows: int = _GRAPH_ROWS) -> None:
        self.change = 0
        self.generation = 0
        self.loaded_at: float | None = None
        self._entries_max = entries_max
        self._graph_rows = graph_rows
        self._rows: list[_Row] = []
        self._places: dict[bytes, int] = {}
        self._matrix: NDArray[np.float32] | None = None
        self._graph: Any = None
        self._growing: asyncio.Task[Any] | None = None
        self._serial = 0
        self._by_serial: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, one: Listed, now: float) -> None:
        """Add an answer, or change it. Makes room for it if there is none."""
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

        vector = np.frombuffer(one.vector, dtype=np.float32)
        place = self._places.get(one.id)
        if place is not None:
            self.remove(one.id)
        elif len(self._rows) >= self._entries_max:
            self._make_room(now)
        if self._matrix is None or len(self._rows) == len(self._matrix):
            self._grow(len(vector))
        if self._matrix is None or len(vector) != self._matrix.shape[1]:
            return  # of another embedder, under a fingerprint of its own: cannot be here
        self._serial += 1
        row = _Row(one.id, one.question, one.wrong, now + one.left_s, now, self._serial)
        self._matrix[len(self._rows)] = vector
        self._places[one.id] = len(self._rows)
        self._rows.append(row)
        if self._graph is not None or self._growing is not None:
            self._by_serial[self._serial] = one.id
        if self._graph is not None:
            self._graph.add(self._serial, vector)
        elif self._growing is None and len(self._rows) >= self._graph_rows:
            self._growing = asyncio.ensure_future(self._grow_graph())

    def remove(self, answer_id: bytes) -> None:
        """Forget an answer, if it is there."""
        place = self._places.pop(answer_id, None)
        if place is None or self._matrix is None:
            return
        serial = self._rows[place].serial
        if self._by_serial.pop(serial, None) is not None and self._graph is not None:
            self._graph.remove(serial)
        last = self._rows.pop()
        if place < len(self._rows):
            self._rows[place] = last
            self._places[last.id] = place
            self._matrix[place] = self._matrix[len(self._rows)]

    def nearest(self, vector: NDArray[np.float32], count: int, now: float) -> list[Neighbour]:
        """The answers to the questions that are most alike, most alike first."""
        import numpy as np  # noqa: PLC0415 - as above

        size = len(self._rows)
        if not size or self._matrix is None or len(vector) != self._matrix.shape[1]:
            return []
        if self._graph is not None:
            keys = self._graph.search(vector, count).keys
            known = (self._by_serial.get(int(key)) for key in keys)
            places = np.array([self._places[one] for one in known if one is not None], dtype=np.int64)
            scores = np.vecdot(self._matrix[places], vector)
        else:
            # row by row in this thread: a product of matrix and vector would wait for threads on busy cores
            all_scores = np.vecdot(self._matrix[:size], vector)
            places = np.argpartition(all_scores, -count)[-count:] if size > count else np.arange(size)
            scores = all_scores[places]
        found, past = [], []
        for at in np.argsort(-scores):
            row = self._rows[places[at]]
            if row.until <= now:
                past.append(row.id)
                continue
            row.used_at = now
            found.append(Neighbour(row.id, row.question, min(1.0, float(scores[at])), row.wrong))
        for answer_id in past:
            self.remove(answer_id)
        return found

    def sweep(self, now: float) -> None:
        """Forget what is past its time."""
        for answer_id in [row.id for row in self._rows if row.until <= now]:
            self.remove(answer_id)

    def _make_room(self, now: float) -> None:
        self.sweep(now)
        if len(self._rows) >= self._entries_max:
            spare = max(1, self._entries_max // 100)  # some at a time: looking for them takes a look at all
            for row in sorted(self._rows, key=lambda row: row.used_at)[:spare]:
                self.remove(row.id)

    def _grow(self, width: int) -> None:
        import numpy as np  # noqa: PLC0415 - as above

        before = self._matrix
        self._matrix = np.zeros(
            (max(_ROWS_MIN, 2 * len(self._rows)), width if before is None else before.shape[1]), np.float32
        )
        if before is not None:
            self._matrix[: len(before)] = before

    async def _grow_graph(self) -> None:
        """Build the graph in a thread; what changes meanwhile is caught up with at the end."""
        import numpy as np  # noqa: PLC0415 - as above

        if self._matrix is None:
            return
        serials = np.array([row.serial for row in self._rows], dtype=np.uint64)
        vectors = self._matrix[: len(serials)].copy()
        self._by_serial = {row.serial: row.id for row in self._rows}
        graph = await asyncio.to_thread(_graph_of, serials, vectors)
        built = set(serials.tolist())
        for row in self._rows:
            if row.serial not in built:
                graph.add(row.serial, self._matrix[self._places[row.id]])
        for serial in built - {row.serial for row in self._rows}:
            graph.remove(serial)
        self._by_serial = {row.serial: row.id for row in self._rows}
        self._graph = graph


class Partitions:
    """The scopes that are in use; those not used for the longest time are forgotten, and read again when they are wanted."""

    def __init__(self, *, entries_max: int, rows_max: int = _ROWS_MAX, count_every: int = _COUNTED_EVERY) -> None:
        self._entries_max = entries_max
        self._count_every = count_every
        self._made = 0
        self._rows_max = rows_max
        self._known: OrderedDict[tuple[str, bytes], Partition] = OrderedDict()

    def of(self, tenant: str, scope: bytes) -> Partition:
        """The partition of a scope; a new one is empty."""
        key = (tenant, scope)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Partition(entries_max=self._entries_max)
            self._made += 1
            if self._made % self._count_every == 0 or len(self._known) > _SCOPES_MAX:
                self._make_room()
        self._known.move_to_end(key)
        return found

    def _make_room(self) -> None:
        rows = sum(map(len, self._known.values()))
        while len(self._known) > 1 and (rows > self._rows_max or len(self._known) > _SCOPES_MAX):
            rows -= len(self._known.popitem(last=False)[1])

    def forget(self, tenant: str) -> None:
        """Forget a tenant's, whose answers were cleared."""
        for key in [key for key in self._known if key[0] == tenant]:
            del self._known[key]


class _Row(msgspec.Struct):
    id: bytes
    question: str
    wrong: float
    until: float
    used_at: float
    serial: int


def _graph_of(serials: Any, vectors: Any) -> Any:
    from usearch.index import Index  # noqa: PLC0415 - an extra, loaded where it is used

    graph = Index(ndim=vectors.shape[1], metric="ip", dtype="i8")
    graph.add(serials, vectors, threads=1)
    return graph
