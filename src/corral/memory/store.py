"""The port of what is remembered: documents cut into chunks, and records (facts), found again by their words.

Implemented once per engine in `backends/<engine>/memory.py`, and proved by `corral.testing.contracts.memory`. Everything is
in a namespace, and a namespace belongs to one audience. Every method is told who asks, as a `View`, and what that view does
not include is not there for it: not in lists, not in searches, not in counts, not in the weights of words.

Words are cut by the room (`corral.memory.words`), so that all engines find the same; engines keep them and rank by BM25.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.messages import Page

Scope = Literal["public", "tenant", "team", "user", "session"]
"""Who may read: everybody on this installation, everybody of the tenant, a team, a user, or one conversation."""

Kind = Literal["document", "record", "log"]
"""`document`: ingested text; `record`: one fact; `log`: text that grows at its end, one chunk for each turn."""

Operator = Literal["=", "!=", "exists", "absent", "<", "<=", ">", ">=", "contains"]

PUBLIC = ""
"""The tenant under which public things are kept. No credential has it."""


class Namespace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where something is remembered."""

    name: str = "main"
    """Any text; those that begin alike (`/facts/ada/`) can be searched together."""
    scope: Scope = "tenant"
    owner: str = ""
    """The team, the user or the session; empty for the other two."""
    space: str = ""
    """Keeps collections apart that know nothing of each other; empty: the one that agents use."""

    @property
    def audience(self) -> str:
        """Scope and owner as one word, as engines keep it: `user:ada`."""
        return f"{self.scope}:{self.owner}" if self.owner else self.scope


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and so what there is. The tenant comes from the credential."""

    tenant: str
    user_id: str = ""
    teams: tuple[str, ...] = ()
    session_id: str = ""
    public: bool = True
    """Sees what is public."""
    publishes: bool = False
    """May write and delete what is public."""
    whole: bool = False
    """All of the tenant's, whoever's it is: for the tenant's own administration and for interfaces that know no users."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """The tenant's audiences that this view is part of."""
        owned = (("user", self.user_id), ("session", self.session_id), *(("team", team) for team in self.teams))
        return ("tenant", *(f"{scope}:{owner}" for scope, owner in owned if owner))

    def reads(self, namespace: Namespace) -> bool:
        """Whether the view includes it."""
        if namespace.scope == "public":
            return self.public
        return self.whole or namespace.audience in self.audiences

    def writes(self, namespace: Namespace) -> bool:
        """Whether something may be kept there."""
        return self.publishes if namespace.scope == "public" else self.reads(namespace)


# -- what is kept ---------------------------------------------------------------------------------------------------------


class ChunkDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document, or the whole of a record."""

    id: str
    """From its content: the same text in the same place has the same id, and is not embedded twice."""
    text: str
    terms: tuple[str, ...]
    """The words it is found by, as often as they occur: `corral.memory.words.terms_of(text)`."""
    place: str = ""
    """Where in the document: the headings above it, a page, a date."""
    start: int = 0
    """Its first character in the document."""


class ItemDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A document, a log or a record to be kept. `corral.memory.drafting` makes them."""

    id: str
    """Unique within a tenant's space."""
    kind: Kind
    namespace: Namespace
    chunks: tuple[ChunkDraft, ...] = ()
    title: str = ""
    source: str = ""
    """Where it came from: a path, a URL."""
    metadata: dict[str, Any] = {}
    """Text, numbers and lists of text can be filtered by."""
    strategy: str = ""
    """What extracted it."""
    events: tuple[str, ...] = ()
    """Ids of the session events it was extracted from."""
    at: float | None = None
    """What time it speaks of, in seconds since 1970; none: now."""
    ttl_s: float | None = None
    digest: str = ""
    """Of all its content; the same again changes nothing."""
    version: int | None = None
    """Replace only this version; 0: only if there is none. None: whatever is there."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a draft."""

    id: str
    outcome: Literal["new", "changed", "same"]
    version: int
    added: int = 0
    """Chunks that were not there before, and have no vectors yet."""
    removed: int = 0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A document, a log or a record."""

    id: str
    kind: Kind
    namespace: Namespace
    tenant: str
    title: str
    source: str
    text: str
    """Of a record; documents and logs have chunks."""
    metadata: dict[str, Any]
    strategy: str
    events: list[str]
    at: float
    created_at: float
    updated_at: float
    expires_at: float | None
    version: int
    chunks: int
    digest: str


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document as it is kept."""

    id: str
    item: str
    """The id of its document."""
    ordinal: int
    text: str
    place: str
    start: int


# -- what is asked --------------------------------------------------------------------------------------------------------


class Filter(msgspec.Struct, frozen=True):
    """A condition on one key of the metadata. Numbers are compared with numbers, text with text; else it does not hold.

    `contains`: a list has this element, or a text this part. `exists` and `absent` take no value.
    """

    key: str
    op: Operator = "="
    value: Any = None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which items are meant, among those that the view includes."""

    space: str = ""
    name: str | None = None
    """In namespaces of exactly this name."""
    prefix: str | None = None
    """In namespaces whose names begin so."""
    scopes: tuple[Scope, ...] = ()
    """Only of these scopes; empty: of all."""
    kinds: tuple[Kind, ...] = ()
    strategy: str | None = None
    source: str | None = None
    filters: tuple[Filter, ...] = ()


class WordQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for words."""

    terms: tuple[str, ...]
    """Each once."""
    limit: int = 100
    selection: Selection = Selection()


class VectorQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for a meaning."""

    vector: bytes
    """Float32, of length one."""
    model: str
    """Vectors of other models are not compared."""
    limit: int = 100
    selection: Selection = Selection()


class Hit(msgspec.Struct, frozen=True):
    """A chunk that was found. `number` names it within its store, and `item` its document."""

    number: int
    item: int
    ordinal: int
    score: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk, and what it is a piece of."""

    number: int
    chunk: Chunk
    item: Item


class Bare(msgspec.Struct, frozen=True):
    """A chunk without a vector of some model."""

    number: int
    text: str


class NamespaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace, and what is in it."""

    namespace: Namespace
    items: int
    chunks: int
    updated_at: float


class MemoryStore(Protocol):
    """Documents and records by tenant, namespace and audience. The store's clock decides; raises `StoreUnavailable`.

    What has expired is not there, swept or not.
    """

    async def put(self, view: View, drafts: Sequence[ItemDraft]) -> list[Kept]:
        """Keep all or none, each in the place of what has its id; durable and searchable when it returns.

        Chunks whose ids are there already stay, with their vectors. An item may move to another namespace. A log is
        replaced like a document. Raises `MemoryForbidden` for a namespace that the view may not write to, `MemoryConflict`
        for an id that is taken where the view may not look, or whose version is another one, and `ValidationFailed` for
        what cannot be kept.
        """
        ...

    async def append(self, view: View, draft: ItemDraft) -> Kept:
        """Add the draft's chunks at the end of its log, which is made when it is new. Takes a millisecond, however long it is."""
        ...

    async def get(self, view: View, item_id: str, *, space: str = "") -> Item | None:
        """One item, if the view includes it."""
        ...

    async def chunks(
        self, view: View, item_id: str, *, space: str = "", first: int = 0, limit: int = 100
    ) -> list[Chunk]:
        """Chunks of an item in order, from ordinal `first` on."""
        ...

    async def items(
        self, view: View, selection: Selection, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Item]:
        """Items, those last changed first."""
        ...

    async def namespaces(self, view: View, selection: Selection, *, limit: int = 1000) -> list[NamespaceInfo]:
        """Namespaces that are not empty, by name. Only space, name, prefix and scopes of the selection count."""
        ...

    async def delete(self, view: View, item_ids: Sequence[str], *, space: str = "") -> list[str]:
        """Forget items with their chunks and vectors. Returns the ids of those that were there and that the view may write."""
        ...

    async def erase(self, tenant: str, *, audience: str | None = None, space: str | None = None) -> int:
        """Forget everything of an audience (`user:ada`), of a space, or (neither named) of a tenant; returns how many items."""
        ...

    async def search(self, view: View, query: WordQuery) -> list[Hit]:
        """Chunks with any of the words, best first by BM25, whose weights come from what the selection's namespaces hold."""
        ...

    async def nearest(self, view: View, query: VectorQuery) -> list[Hit]:
        """Chunks whose vectors are most alike, most alike first; the score is the cosine."""
        ...

    async def around(self, view: View, places: Sequence[tuple[int, int]]) -> list[Hit]:
        """The chunks at these places (item number, ordinal), those that are there and that the view includes. Score 0."""
        ...

    async def open(self, view: View, numbers: Sequence[int]) -> list[Found]:
        """Chunks in full, in the order asked for; those that are gone or that the view does not include are left out."""
        ...

    async def bare(
        self, tenant: str, model: str, *, item_id: str | None = None, space: str = "", limit: int = 100
    ) -> list[Bare]:
        """Chunks of a tenant that have no vector of this model yet, of one item or of all."""
        ...

    async def embed(self, tenant: str, model: str, vectors: Sequence[tuple[int, bytes]]) -> int:
        """Keep vectors of chunks (number, float32 of length one). Those that are gone are passed over. Twice is once."""
        ...

    async def forget_vectors(self, tenant: str, *, keep: str | None = None) -> int:
        """Throw away a tenant's vectors of all models but `keep`."""
        ...

    async def sweep(self, *, limit: int = 1000) -> int:
        """Forget what has expired, at most `limit` items. Any worker may call it any time."""
        ...
