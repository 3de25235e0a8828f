"""The numbers of what is remembered: `corral_memory_*`."""

from __future__ import annotations

from corral.observability.metrics import Metrics

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_INGEST_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)


class MemoryCounting:
    """Counts searches and documents of this process."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._searches = m.counter("corral_memory_searches_total", "Searches, by what they looked at.", "by", "outcome")
        self._seconds = m.histogram("corral_memory_search_seconds", "How long searches took.", bounds=_SECONDS)
        self._documents = m.counter("corral_memory_documents_total", "Documents taken in, by outcome.", "outcome")
        self._ingest = m.histogram(
            "corral_memory_ingest_seconds", "How long it took to take a document in.", bounds=_INGEST_SECONDS
        )
        self._chunks = m.counter("corral_memory_chunks_total", "Chunks that were new, or went.", "change")
        self._embedded = m.counter("corral_memory_embedded_total", "Chunks placed by their meaning.")

    def searched(self, seconds: float, *, found: int, by: str) -> None:
        """A search is over; `by` words, or words and meaning."""
        self._seconds.distribution().observe(seconds)
        self._searches.value(by, "found" if found else "nothing").inc()

    def ingested(self, seconds: float, outcome: str, *, added: int = 0, removed: int = 0) -> None:
        """A document was taken in, or not."""
        self._ingest.distribution().observe(seconds)
        self._documents.value(outcome).inc()
        self._chunks.value("added").inc(added)
        self._chunks.value("removed").inc(removed)

    def embedded(self, chunks: int) -> None:
        """Chunks were placed."""
        self._embedded.value().inc(chunks)
