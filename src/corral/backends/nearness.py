"""Vectors in memory, one matrix for each namespace and model: exact up to some ten thousand, a graph of neighbours beyond."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from corral.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np
    from numpy.typing import NDArray

GRAPH_ROWS = 20_000
"""From so many rows on, a graph is searched rather than all of them."""
_ROWS_MAX = 400_000
"""Rows in memory over all matrices, about; those not asked for the longest time go."""
_ROWS_MIN = 16


class Matrices:
    """What was read stays, and only what is new is read; when something was deleted, all is read anew. For any thread."""

    def __init__(self, *, rows_max: int = _ROWS_MAX, graph_rows: int = GRAPH_ROWS) -> None:
        self._rows_max = rows_max
        self._graph_rows = graph_rows
        self._known: OrderedDict[Hashable, Matrix] = OrderedDict()
        self._lock = Lock()

    def of(self, key: Hashable, drops: int) -> Matrix:
        """The matrix of a namespace and a model, as far as it was read. `drops` grows with every deletion."""
        with self._lock:
            matrix = self._known.get(key)
            if matrix is None or matrix.drops != drops:
                matrix = self._known[key] = Matrix(drops, graph_rows=self._graph_rows)
            self._known.move_to_end(key)
            rows = sum(map(len, self._known.values()))
            while len(self._known) > 1 and rows > self._rows_max:
                rows -= len(self._known.popitem(last=False)[1])
            return matrix

    def forget(self, key: Hashable) -> None:
        """Read it anew the next time."""
        with self._lock:
            self._known.pop(key, None)


class Matrix:
    """The vectors of one namespace."""

    def __init__(self, drops: int, *, graph_rows: int = GRAPH_ROWS) -> None:
        self.drops = drops
        self.last = 0
        """The serial of the last one that was read."""
        self.seen = 0
        """How many were read."""
        self._lock = Lock()
        self._graph_rows = graph_rows
        self._chunks: list[int] = []
        self._rows: NDArray[np.float32] | None = None
        self._graph: Any = None
        self._building: Thread | None = None

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, rows: Sequence[tuple[int, int, bytes | Sequence[float]]]) -> None:
        """Add vectors (serial, chunk, numbers) by rising serials; those that are there, or of another length, are passed over."""
        np = _numpy()
        with self._lock:
            for serial, chunk, raw in rows:
                if serial <= self.last:
                    continue
                self.last = serial
                self.seen += 1
                vector = np.frombuffer(raw, dtype=np.float32) if isinstance(raw, bytes) else np.array(raw, np.float32)
                self._append(chunk, vector)
            if self._graph is None and self._building is None and len(self._chunks) >= self._graph_rows:
                self._building = Thread(target=self._build, name="corral-memory-graph", daemon=True)
                self._building.start()

    def nearest(self, vector: bytes, limit: int) -> list[tuple[int, float]]:
        """Chunks and their cosines, most alike first."""
        np = _numpy()
        wanted = np.frombuffer(vector, dtype=np.float32)
        with self._lock:
            rows, graph = self._rows, self._graph
            size = len(self._chunks)
        if rows is None or not size or len(wanted) != rows.shape[1]:
            return []
        if graph is not None:
            at = np.array(graph.search(wanted, min(limit, size)).keys, dtype=np.int64)
            scores = np.vecdot(rows[at], wanted)
        else:
            # row by row in this thread: a product of matrix and vector would wait for threads on busy cores
            every = np.vecdot(rows[:size], wanted)
            at = np.argpartition(every, -limit)[-limit:] if size > limit else np.arange(size)
            scores = every[at]
        return [(self._chunks[at[n]], min(1.0, float(scores[n]))) for n in np.argsort(-scores)]

    def joined(self) -> None:
        """Wait for a graph that is being built."""
        building = self._building
        if building is not None:
            building.join()

    def _append(self, chunk: int, vector: NDArray[np.float32]) -> None:
        np = _numpy()
        size = len(self._chunks)
        if self._rows is None or size == len(self._rows):
            width = len(vector) if self._rows is None else self._rows.shape[1]
            grown = np.zeros((max(_ROWS_MIN, 2 * size), width), np.float32)
            if self._rows is not None:
                grown[:size] = self._rows
            self._rows = grown
        if len(vector) != self._rows.shape[1]:
            return
        self._rows[size] = vector
        self._chunks.append(chunk)
        if self._graph is not None:
            self._graph.add(size, vector)

    def _build(self) -> None:
        """Build the graph beside the searches; what came meanwhile is added at the end."""
        from usearch.index import Index  # noqa: PLC0415 - an extra, loaded where it is used

        np = _numpy()
        with self._lock:
            assert self._rows is not None  # noqa: S101 - asked before
            rows, size = self._rows, len(self._chunks)
        graph = Index(ndim=rows.shape[1], metric="ip", dtype="i8")
        graph.add(np.arange(size, dtype=np.uint64), rows[:size], threads=1)
        with self._lock:
            more = len(self._chunks)
            if more > size:
                graph.add(np.arange(size, more, dtype=np.uint64), self._rows[size:more], threads=1)
            self._graph = graph


def _numpy() -> Any:
    try:
        import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used
    except ModuleNotFoundError:
        raise ConfigError(
            "Finding by meaning needs numpy: install corral[embeddings], or set `memory.embedder` to nothing."
        ) from None
    return np
