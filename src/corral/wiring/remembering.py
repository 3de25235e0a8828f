"""The memory of a service: what feeds it, what looks things up in it, and what tidies it."""

from __future__ import annotations

import array
import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from corral.backends.stores import Stores
from corral.clock import new_time_id
from corral.errors import ConfigError, CorralError, MemoryNotFound, OutboundFailed, PayloadTooLarge, ValidationFailed
from corral.jobs.running import Outcome, RunningJob
from corral.memory.counting import MemoryCounting
from corral.memory.drafting import digest_of
from corral.memory.library import ASIDE, Document, Library
from corral.memory.remembered import Shelves, use
from corral.memory.searching import Embedder, Searcher
from corral.memory.store import Namespace, Selection, View
from corral.messages import CallEmbedder, Caller, EmbedCall
from corral.observability.metrics import Metrics
from corral.outbound.client import Outbound
from corral.server.memory import MemoryRoutes, Submit
from corral.server.routes import Route
from corral.settings.memory_sections import MemorySettings
from corral.settings.sections import Settings

if TYPE_CHECKING:
    from corral.cache.semantic.embedders import Embedder as LocalEmbedder

KEEPER = "corral.memory"
"""The name of its jobs, in the place of an agent's."""

_OK = 200
_FETCH_BYTES_MORE = 1
_PAGE = 100

T = TypeVar("T")


class Errand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job of the memory is to do. Whose it is says the job itself."""

    do: Literal["ingest", "refresh", "reindex"]
    document: Document | None = None
    """To be taken in; its data lies in `blob` where it is large."""
    blob: str = ""
    prefix: str = ""
    """Refresh what is in namespaces whose names begin so."""
    ids: Annotated[list[str], Meta(max_length=1000)] = []
    """Refresh these; none: all that came from an address."""


class Remembering:
    """Documents, facts and searches, for agents of this process and for who asks over HTTP. Each step of its life may come twice."""

    def __init__(self, settings: Settings, stores: Stores, metrics: Metrics, embed: CallEmbedder) -> None:
        """`embed` asks providers' embedders, through all layers. Nothing is opened yet."""
        memory = settings.memory
        self._stores = stores
        self._outbound = Outbound(
            memory.fetch_allow,
            timeout_s=memory.fetch_timeout_s,
            answer_max=memory.document_max_bytes + _FETCH_BYTES_MORE,
        )
        self.counting = MemoryCounting(metrics)
        self._meaning = _meaning(memory, embed)
        library = Library(stores.memory, memory, self._meaning, fetch=self._fetch, counting=self.counting)
        self.shelves = Shelves(library, Searcher(stores.memory, memory, self._meaning, counting=self.counting))
        self._started = False

    # -- life

    async def start(self) -> None:
        """Agents of this process find what is remembered from now on."""
        if self._started:
            return
        self._started = True
        if self._meaning is not None:
            await self._meaning.start()
        use(self.shelves)

    async def stop(self) -> None:
        """They do not any more."""
        if not self._started:
            return
        self._started = False
        before = use(None)
        if before is not self.shelves:  # another service of this process has taken over
            use(before)
        if self._meaning is not None:
            await self._meaning.stop()
        await self._outbound.stop()

    def routes(self, submit: Submit) -> list[Route]:
        """What answers for it over HTTP; `submit` enqueues its jobs."""
        return MemoryRoutes(self.shelves, submit, self.put_aside, self.forget_aside, keeper=KEEPER).routes()

    async def place(self, tenant: str, space: str) -> int:
        """Place what has no vector yet in one of a tenant's spaces, where there is an embedder."""
        return await self.shelves.library.embed(tenant, space=space)

    # -- jobs

    async def put_aside(self, view: View, document: Document) -> dict[str, Any]:
        """The input of a job that takes this document in; what is large is kept apart until then."""
        blob = ""
        if document.data:
            home = document.namespace
            blob = f"{ASIDE}{digest_of(home.audience)}/{new_time_id(self.shelves.clock.now())}"
            await self._stores.blobs.put(view.tenant, blob, document.data)
            document = msgspec.structs.replace(document, data=b"")
        errand: dict[str, Any] = msgspec.to_builtins(Errand(do="ingest", document=document, blob=blob))
        return errand

    async def forget_aside(self, tenant: str, audience: str | None = None) -> None:
        """Throw away what was put aside for jobs."""
        await self._stores.blobs.delete(tenant, f"{ASIDE}{digest_of(audience)}/" if audience else ASIDE)

    @staticmethod
    def check(value: Any) -> Errand:
        """What a job is to do. Raises `ValidationFailed`."""
        try:
            errand = msgspec.convert(value, Errand)
        except msgspec.ValidationError as error:
            raise ValidationFailed(f"This is no job for the memory: {error}.") from None
        if (errand.do == "ingest") != (errand.document is not None):
            raise ValidationFailed("A job that takes a document in has one, and no other has.")
        return errand

    async def run(self, job: RunningJob) -> Outcome:
        """Do a job's errand, and show how far it is."""
        claimed = job.claimed
        errand = self.check(msgspec.json.decode(claimed.input))
        view = self.shelves.view(claimed.tenant, user_id=claimed.user_id, session_id=claimed.session_id)
        if errand.document is not None:
            return Outcome(msgspec.json.encode(await self._ingest(view, errand, errand.document, job.progress)))
        if errand.do == "refresh":
            return Outcome(msgspec.json.encode(await self._refresh(view, errand, job.progress)))
        placed = await self.shelves.library.reindex(claimed.tenant, job.progress)
        return Outcome(msgspec.json.encode({"embedded": placed}))

    async def _ingest(
        self, view: View, errand: Errand, document: Document, progress: Callable[[float, str], None]
    ) -> object:
        if errand.blob:
            if not errand.blob.startswith(ASIDE):
                raise ValidationFailed("What was put aside for the memory has another name than this.")
            data = await self._stores.blobs.get(view.tenant, errand.blob)
            if data is None:
                raise MemoryNotFound("What was to be taken in was thrown away meanwhile.")
            document = msgspec.structs.replace(document, data=data)
        ingested = await self.shelves.library.ingest(view, document, progress)
        if errand.blob:
            await self._stores.blobs.delete(view.tenant, errand.blob)
        return ingested

    async def _refresh(self, view: View, errand: Errand, progress: Callable[[float, str], None]) -> dict[str, Any]:
        """Fetch documents again from where they came; what cannot be fetched stays as it is, and is said."""
        done = changed = 0
        failed: dict[str, str] = {}
        cursor: str | None = None
        selection = Selection(kinds=("document",), prefix=errand.prefix or None)
        known: list[tuple[str, Namespace, str, dict[str, Any]]] = []
        while True:
            page = await self._stores.memory.items(view, selection, limit=_PAGE, cursor=cursor)
            known += [
                (item.id, item.namespace, item.source, item.metadata)
                for item in page.items
                if _is_address(item.source)
                and view.writes(item.namespace)
                and (not errand.ids or item.id in errand.ids)
            ]
            cursor = page.next_cursor
            if cursor is None:
                break
        for item_id, namespace, source, metadata in known:
            document = Document(namespace=namespace, source=source, metadata=metadata, fetch=True)
            try:
                ingested = await self.shelves.library.ingest(view, document)
                changed += ingested.outcome == "changed"
            except CorralError as error:
                failed[item_id] = error.message
            done += 1
            progress(done / len(known), f"{done} of {len(known)} documents")
        return {"documents": done, "changed": changed, "failed": failed}

    async def _fetch(self, url: str) -> tuple[bytes, str]:
        answer = await self._outbound.ask(
            "GET", url, b"", {"accept": "text/html, text/markdown, text/plain, application/pdf"}
        )
        if answer.status != _OK:
            raise OutboundFailed(f"{url} answers {answer.status}, not {_OK}: give the address of the document itself.")
        if not answer.complete:
            raise PayloadTooLarge("The document at this address is larger than `memory.document_max_bytes`.")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return answer.body, "" if kind in {"", "application/octet-stream"} else kind


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


# -- placing texts by their meaning


class Meaning(Embedder):
    """An embedder with a life, on the loop of its service: agents may ask from another one."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def model(self) -> str:
        """Which model it is."""
        return self._model

    async def start(self) -> None:
        """Make ready."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Give back what it holds."""

    async def embed(self, texts: Sequence[str], *, tenant: str) -> list[bytes]:
        """At home."""
        return await self._at_home(self._embed(texts, tenant))

    async def _embed(self, texts: Sequence[str], tenant: str) -> list[bytes]:
        raise NotImplementedError

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None or asyncio.get_running_loop() is loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class Asked(Meaning):
    """A provider's model. What asking it costs is on the tenant's bill like any other call, and texts asked before are kept."""

    def __init__(self, model: str, ask: CallEmbedder) -> None:
        super().__init__(model)
        self._ask = ask

    async def _embed(self, texts: Sequence[str], tenant: str) -> list[bytes]:
        call = EmbedCall(model=self.model, texts=list(texts), caller=Caller(tenant=tenant, agent=KEEPER))
        return [_unit(vector) for vector in (await self._ask(call)).vectors]


class Local(Meaning):
    """A model that runs in this process."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        super().__init__("")
        self._embedder = embedder

    @property
    def model(self) -> str:
        """Known once it was started."""
        return self._embedder.fingerprint

    async def start(self) -> None:
        """Read its weights."""
        await super().start()
        await self._embedder.start()

    async def stop(self) -> None:
        """Give its memory back."""
        await self._embedder.stop()

    async def _embed(self, texts: Sequence[str], tenant: str) -> list[bytes]:
        del tenant  # it costs nobody anything
        return [row.tobytes() for row in await self._embedder.embed(texts)]


def _meaning(settings: MemorySettings, ask: CallEmbedder) -> Meaning | None:
    place = settings.embedder
    if not place:
        return None
    if place.partition(":")[0] not in {"onnx", "package"}:
        return Asked(place, ask)
    try:
        from corral.cache.semantic.embedders import open_embedder  # noqa: PLC0415 - needs packages that only this needs
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Finding by meaning needs the package {error.name}: install corral[embeddings], or leave `memory.embedder` empty."
        ) from None
    return Local(open_embedder(place, ask, said_as="memory.embedder"))


def _unit(vector: Sequence[float]) -> bytes:
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return array.array("f", [number / length for number in vector]).tobytes()
