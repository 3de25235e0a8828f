"""Takes documents in: read, cut, kept, and placed by their meaning where an embedder is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import MemoryForbidden, PayloadTooLarge, ValidationFailed
from corral.memory.chunking import CountTokens, about, chunks_of
from corral.memory.counting import MemoryCounting
from corral.memory.drafting import digest_of
from corral.memory.reading import media_type_of, read
from corral.memory.searching import Embedder
from corral.memory.store import ItemDraft, MemoryStore, Namespace, View
from corral.settings.memory_sections import MemorySettings

ASIDE = "memory/"
"""How the names of documents begin that are put aside for a job; they end with the time."""

Progress = Callable[[float, str], None]
Fetch = Callable[[str], Awaitable[tuple[bytes, str]]]
"""What an address answers, and of which media type it says that is."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be taken in."""

    data: bytes = b""
    namespace: Namespace
    media_type: str = ""
    """Empty: as the source's name says."""
    source: str = ""
    """Where it came from: a path, a URL. The same source again takes the place of what there is."""
    title: str = ""
    metadata: dict[str, Any] = {}
    ttl_s: float | None = None
    fetch: bool = False
    """Get it from `source`, which is a URL, instead of from `data`."""


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a document."""

    id: str
    outcome: str
    title: str
    chunks: int
    added: int
    removed: int
    embedded: int
    """Chunks that got a vector now."""


def _silent(_share: float, _words: str) -> None:
    """Nobody looks."""


class Library:
    """The way in for documents. Doing it twice is doing it once: ids come from the source, chunks' ids from their content."""

    def __init__(
        self,
        store: MemoryStore,
        settings: MemorySettings,
        embedder: Embedder | None = None,
        *,
        fetch: Fetch | None = None,
        count: CountTokens = about,
        counting: MemoryCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`fetch` gets what stands at an address; `count` counts tokens."""
        self.store = store
        self.settings = settings
        self.embedder = embedder
        self._fetch = fetch
        self._count = count
        self._counting = counting
        self._now = clock.monotonic

    def id_of(self, document: Document) -> str:
        """The id it has or will have: by its source, else by its content."""
        space = document.namespace
        about_it = document.source or digest_of(document.data.decode("utf-8", "replace"))
        return f"doc-{digest_of(space.space, space.audience, space.name, about_it)}"

    def is_small(self, document: Document) -> bool:
        """Whether it is taken in at once rather than by a job."""
        kind = document.media_type or media_type_of(document.source)
        return not document.fetch and "pdf" not in kind and len(document.data) <= self.settings.inline_max_bytes

    def check(self, view: View, document: Document) -> None:
        """Raise what can be said of it before it is read: `PayloadTooLarge`, `MemoryForbidden`."""
        if not view.writes(document.namespace):
            raise MemoryForbidden(f"You may not write to a namespace of scope {document.namespace.scope}.")
        if len(document.data) > self.settings.document_max_bytes:
            raise PayloadTooLarge(
                f"This document has {len(document.data)} bytes, and at most {self.settings.document_max_bytes} are taken in "
                "(`memory.document_max_bytes`)."
            )

    async def ingest(self, view: View, document: Document, progress: Progress = _silent) -> Ingested:
        """Take a document in. Only chunks that are new are placed by their meaning.

        Raises `ValidationFailed`, `PayloadTooLarge`, `MemoryForbidden`, and what the embedder raises: its words can be found then.
        """
        begun, outcome = self._now(), "failed"
        try:
            ingested = await self._ingest(view, document, progress)
            outcome = ingested.outcome
        finally:
            if self._counting is not None and outcome == "failed":
                self._counting.ingested(self._now() - begun, outcome)
        if self._counting is not None:
            self._counting.ingested(self._now() - begun, outcome, added=ingested.added, removed=ingested.removed)
        return ingested

    async def _ingest(self, view: View, document: Document, progress: Progress) -> Ingested:
        if document.fetch:
            progress(0.0, "fetching")
            document = await self._fetched(document)
        self.check(view, document)
        progress(0.05, "reading")
        draft = await asyncio.to_thread(self._draft, document)
        progress(0.3, f"keeping {len(draft.chunks)} chunks")
        (kept,) = await self.store.put(view, [draft])
        embedded = 0
        if self.embedder is not None:
            tenant = "" if document.namespace.scope == "public" else view.tenant
            embedded = await self.embed(
                tenant,
                payer=view.tenant,
                item_id=draft.id,
                space=document.namespace.space,
                total=kept.added,
                progress=progress,
            )
        progress(1.0, "done")
        return Ingested(
            id=draft.id,
            outcome=kept.outcome,
            title=draft.title,
            chunks=len(draft.chunks),
            added=kept.added,
            removed=kept.removed,
            embedded=embedded,
        )

    async def embed(
        self,
        tenant: str,
        *,
        payer: str = "",
        item_id: str | None = None,
        space: str = "",
        total: int = 0,
        progress: Progress = _silent,
    ) -> int:
        """Place what has no vector yet; returns how many chunks that were. `payer` is on the bill, else the tenant itself."""
        embedder, batch = self.embedder, self.settings.embed_batch
        if embedder is None:
            return 0
        done = 0
        while bare := await self.store.bare(tenant, embedder.model, item_id=item_id, space=space, limit=batch):
            vectors = await embedder.embed([one.text for one in bare], tenant=payer or tenant)
            kept = await self.store.embed(
                tenant, embedder.model, [(one.number, vector) for one, vector in zip(bare, vectors, strict=True)]
            )
            done += kept
            if self._counting is not None:
                self._counting.embedded(kept)
            if not kept:
                break  # somebody else placed them, or they are gone
            progress(0.3 + 0.7 * min(1.0, done / max(total, done)), f"placed {done} chunks by their meaning")
        return done

    async def reindex(self, tenant: str, progress: Progress = _silent, *, spaces: tuple[str, ...] = ("",)) -> int:
        """Place everything by the present embedder's meaning, and throw away other models' vectors. Goes on where it was left."""
        if self.embedder is None:
            raise ValidationFailed("There is no embedder to place anything with: set `memory.embedder`.")
        done = 0
        for space in spaces:
            done += await self.embed(tenant, space=space, progress=progress)
        await self.store.forget_vectors(tenant, keep=self.embedder.model)
        return done

    async def _fetched(self, document: Document) -> Document:
        if self._fetch is None:
            raise ValidationFailed("Documents cannot be fetched here: send what they say.")
        data, kind = await self._fetch(document.source)
        return msgspec.structs.replace(document, data=data, media_type=document.media_type or kind, fetch=False)

    def _draft(self, document: Document) -> ItemDraft:
        settings = self.settings
        reading = read(document.data, document.media_type or media_type_of(document.source))
        title = document.title or reading.title or document.source.rpartition("/")[2]
        chunks = chunks_of(
            reading.blocks,
            title=title,
            tokens=settings.chunk_tokens,
            overlap=settings.overlap_tokens,
            count=self._count,
        )
        if len(chunks) > settings.chunks_max:
            raise PayloadTooLarge(
                f"This document makes {len(chunks)} chunks, and at most {settings.chunks_max} are kept "
                "(`memory.chunks_max`): send it in parts."
            )
        metadata = msgspec.json.encode(document.metadata, order="sorted").decode()
        return ItemDraft(
            id=self.id_of(document),
            kind="document",
            namespace=document.namespace,
            chunks=tuple(chunks),
            title=title[:500],
            source=document.source,
            metadata=document.metadata,
            ttl_s=document.ttl_s,
            digest=digest_of(title, document.source, metadata, *(f"{one.id} {one.start}" for one in chunks)),
        )
