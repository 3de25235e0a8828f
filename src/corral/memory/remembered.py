"""`Memory`: what an agent searches, adds to and has forgotten, for whoever it works for just now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_time_id
from corral.context import find_context
from corral.errors import ConfigError, ValidationFailed
from corral.here import Here
from corral.memory.drafting import log_draft, record_draft
from corral.memory.library import Document, Ingested, Library
from corral.memory.searching import Result, Searcher
from corral.memory.store import Filter, Item, Kind, Namespace, Operator, Scope, Selection, View
from corral.settings.memory_sections import MemorySettings

RECORD_CHARS_MAX = 16_000
_SNIPPET_CHARS = 4000


class Shelves(msgspec.Struct, frozen=True):
    """The memory of a service: the way in, the way out, and who belongs to whom."""

    library: Library
    searcher: Searcher
    clock: Clock = SYSTEM_CLOCK

    @property
    def settings(self) -> MemorySettings:
        """As the operator decided."""
        return self.library.settings

    def view(self, tenant: str, *, user_id: str | None = None, session_id: str | None = None) -> View:
        """What somebody sees."""
        teams = tuple(team for team, users in self.settings.teams.items() if user_id and user_id in users)
        publishers = self.settings.publishers or ["default"]
        return View(
            tenant=tenant,
            user_id=user_id or "",
            teams=teams,
            session_id=session_id or "",
            publishes=tenant in publishers,
        )


class Memory:
    """What is remembered in one namespace, or found in all of them.

        memory = Memory("facts", scope="user")

        await memory.remember("Prefers a window seat.", metadata={"topic": "travel"})
        for found in await memory.search("Where does she like to sit?", k=3):
            print(found.text, found.citation.source)

    Tenant, user and session are those of the invocation that runs; nobody else's are ever seen. Outside of one, name them:
    `Memory(tenant="acme", user_id="ada")`.
    """

    def __init__(
        self,
        namespace: str = "main",
        *,
        scope: Scope = "user",
        team: str = "",
        tenant: str = "",
        user_id: str = "",
        session_id: str = "",
        shelves: Shelves | None = None,
    ) -> None:
        """`namespace` and `scope` say where things are remembered; searches look everywhere the user may, if not told otherwise."""
        if scope not in get_args(Scope):
            raise ConfigError(f"There is no scope {scope!r}: take one of {', '.join(get_args(Scope))}.")
        if (scope == "team") != bool(team):
            raise ConfigError(
                "Name the team of a memory of scope `team`, and of no other: Memory(scope='team', team='support')."
            )
        self.name = namespace
        self.scope: Scope = scope
        self._team = team
        self._named = (tenant, user_id, session_id)
        self._shelves = shelves

    @property
    def shelves(self) -> Shelves:
        """The memory of the service that runs here."""
        return self._shelves or connected()

    def view(self) -> View:
        """Who asks now."""
        context = find_context()
        tenant, user, session = self._named
        if context is None:
            if not tenant:
                raise ConfigError("No invocation runs here: say whose memory it is, Memory(tenant=…, user_id=…).")
            return self.shelves.view(tenant, user_id=user, session_id=session)
        # What an invocation was made for cannot be turned into somebody else by code that runs in it.
        return self.shelves.view(context.tenant, user_id=context.user_id, session_id=context.session_id)

    def place(self, view: View) -> Namespace:
        """Where this memory puts things."""
        owner = {"user": view.user_id, "session": view.session_id, "team": self._team}.get(self.scope, "")
        if self.scope in {"user", "session"} and not owner:
            header = "X-User-Id" if self.scope == "user" else "X-Session-Id"
            raise ValidationFailed(
                f"This request names no {self.scope}, for whom something could be remembered: send `{header}`, or take "
                "Memory(scope='tenant')."
            )
        return Namespace(name=self.name, scope=self.scope, owner=owner)

    async def search(
        self,
        query: str,
        *,
        k: int = 5,
        filters: Mapping[str, Any] | Sequence[Filter] = (),
        namespace: str | None = None,
        scopes: Sequence[Scope] = (),
        kinds: Sequence[Kind] = (),
    ) -> list[Result]:
        """The `k` best, best first, with citations; of `namespace` alone, or of all that may be seen.

        `filters` are conditions on metadata: `{"topic": "travel", "year >=": 2024}`.
        """
        selection = Selection(name=namespace, scopes=tuple(scopes), kinds=tuple(kinds), filters=conditions(filters))
        return await self.shelves.searcher.search(self.view(), query, k=k, selection=selection)

    async def remember(
        self,
        text: str,
        *,
        metadata: dict[str, Any] | None = None,
        id: str = "",  # noqa: A002 - that is what it is
        events: Sequence[str] = (),
        ttl_s: float | None = None,
    ) -> str:
        """Keep one fact, and return its id; with the `id` of one that is there, in its place."""
        check_record(text)
        view = self.view()
        item_id = id or f"mem-{new_time_id(self.shelves.clock.now())}"
        draft = record_draft(
            text, id=item_id, namespace=self.place(view), metadata=metadata, events=events, ttl_s=ttl_s
        )
        await self.shelves.library.store.put(view, [draft])
        return item_id

    async def listen(self, *turns: tuple[str, str], log: str = "", place: str = "") -> None:
        """Append turns (speaker, text) to a log, so that they are found with what was said around them; by default the session's."""
        view = self.view()
        name = log or view.session_id
        if not name:
            raise ValidationFailed("This request names no session: send `X-Session-Id`, or name the log.")
        home = self.place(view)
        log_id = f"log-{home.audience}-{home.name}-{name}"
        await self.shelves.library.store.append(view, log_draft(turns, id=log_id, namespace=home, place=place))

    async def ingest(self, text: str | bytes, *, source: str = "", **more: Any) -> Ingested:
        """Take a document in, here and now. `more`: `media_type`, `title`, `metadata`, `ttl_s`."""
        view = self.view()
        data = text.encode() if isinstance(text, str) else text
        return await self.shelves.library.ingest(
            view, Document(data=data, namespace=self.place(view), source=source, **more)
        )

    async def forget(self, *ids: str) -> list[str]:
        """Forget facts and documents; returns which of them were there."""
        return await self.shelves.library.store.delete(self.view(), ids)

    async def items(self, *, limit: int = 100) -> list[Item]:
        """What is in this namespace, last changed first."""
        view = self.view()
        home = self.place(view)
        selection = Selection(name=home.name, scopes=(home.scope,))
        return (await self.shelves.library.store.items(view, selection, limit=limit)).items

    def as_tool(
        self, name: str = "search_memory", *, description: str = "", namespace: str | None = None
    ) -> Callable[..., Any]:
        """A tool with which a model looks things up here: `Agent(…, tools=[memory.as_tool()])`. Its results are marked untrusted."""

        async def look_up(query: str, k: int = 5) -> list[dict[str, Any]]:
            found = await self.search(query, k=max(1, min(k, 20)), namespace=namespace)
            return [shown(one) for one in found]

        look_up.__name__ = name
        look_up.__doc__ = description or (
            "Look up what is known: facts remembered of this user and documents, with where each stands.\n\n"
            "Args:\n    query: What to look for, in a few telling words.\n    k: How many results, at most 20."
        )
        look_up.__tool_marks__ = {"read_only": True, "untrusted": True}  # type: ignore[attr-defined]  # for whoever makes tools of functions
        return look_up


def shown(found: Result) -> dict[str, Any]:
    """A result as a model reads it."""
    where = found.citation
    place = " · ".join(part for part in (where.title, where.place) if part)
    return {"text": found.text[:_SNIPPET_CHARS], "from": place or found.kind, "source": where.source, "id": found.id}


def conditions(given: Mapping[str, Any] | Sequence[Filter]) -> tuple[Filter, ...]:
    """Filters as people write them: a key, perhaps with an operator behind it, and a value."""
    if not isinstance(given, Mapping):
        return tuple(given)
    found = []
    for key, value in given.items():
        name, _, op = key.rpartition(" ")
        known = get_args(Operator)
        found.append(Filter(name, cast("Operator", op), value) if name and op in known else Filter(key, "=", value))
    return tuple(found)


def check_record(text: str) -> None:
    """Raise `ValidationFailed` for what is no fact."""
    if not text.strip():
        raise ValidationFailed("There is nothing to remember: the text is empty.")
    if len(text) > RECORD_CHARS_MAX:
        raise ValidationFailed(
            f"A fact has at most {RECORD_CHARS_MAX} characters, and this has {len(text)}: take it in as a document."
        )


_here: Here[Shelves] = Here("corral_memory")
use, using = _here.use, _here.using
"""Where every `Memory` of this process looks, or those of one block."""


def connected() -> Shelves:
    """The memory that is here. Raises `ConfigError` if there is none."""
    found = _here.find()
    if found is None:
        raise ConfigError(
            "No memory is set up here: an agent's memory is that of the service it runs in. Run the agent with `corral dev`, "
            "`corral serve` or `corral invoke`; in a test, `with using(Shelves(…)): …`."
        )
    return found
