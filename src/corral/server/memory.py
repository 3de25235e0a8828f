"""`/v1/memory`: take in, look for, correct, export and forget what is remembered.

The tenant is always the credential's; user and session are those of the headers, and nobody sees what is another one's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast, get_args

import msgspec

from corral.clock import new_time_id
from corral.errors import MemoryForbidden, MemoryNotFound, ValidationFailed
from corral.jobs.drafting import Caller
from corral.jobs.job import Enqueued
from corral.jobs.request import JobRequest, check_fields
from corral.memory.drafting import record_draft
from corral.memory.library import Document
from corral.memory.reading import MEDIA_TYPES
from corral.memory.remembered import Shelves, check_record
from corral.memory.store import Filter, Item, Kind, Namespace, Operator, Scope, Selection, View
from corral.observability.traces import traceparent
from corral.runtime.payload import is_id
from corral.server.http import Request
from corral.server.memory_api import DESCRIPTIONS, IDS_MAX, NAME_MAX, SECONDS_MAX, URL_PATTERN
from corral.server.routes import Route

Submit = Callable[[Caller, JobRequest], Awaitable[Enqueued]]

_PAGE, _PAGE_MAX = 100, 1000
_FIRST = 0
_FILTERS_MAX = 10
_URL_MAX = 2048
_TITLE_MAX = 500
_EVENTS_MAX = 100
_VERSION_MAX = 2**53
_ORDINAL_MAX = 10**9


class MemoryRoutes:
    """Handlers of `/v1/memory`."""

    def __init__(
        self,
        shelves: Shelves,
        submit: Submit,
        put_aside: Callable[[View, Document], Awaitable[dict[str, Any]]],
        forget_aside: Callable[[str, str | None], Awaitable[None]],
        *,
        keeper: str,
    ) -> None:
        """`put_aside` makes the input of a job out of a document; `keeper` is the name of such jobs."""
        self._shelves = shelves
        self._store = shelves.library.store
        self._submit = submit
        self._put_aside = put_aside
        self._forget_aside = forget_aside
        self._keeper = keeper

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `memory_api.py`."""
        handlers = {
            "POST /v1/memory/documents": self.ingest,
            "GET /v1/memory/items": self.list_items,
            "GET /v1/memory/items/{id}": self.show,
            "DELETE /v1/memory/items/{id}": self.forget,
            "GET /v1/memory/items/{id}/chunks": self.list_chunks,
            "POST /v1/memory/records": self.remember,
            "PATCH /v1/memory/records/{id}": self.correct,
            "POST /v1/memory/search": self.search,
            "GET /v1/memory/namespaces": self.list_namespaces,
            "GET /v1/memory/export": self.export,
            "POST /v1/memory/jobs": self.begin,
            "DELETE /v1/memory": self.erase,
        }
        return [
            Route(
                method=address.partition(" ")[0],
                path=address.partition(" ")[2],
                handler=handler,
                tag="memory",
                summary=DESCRIPTIONS[address].summary,
                params=DESCRIPTIONS[address].params,
                body=DESCRIPTIONS[address].body,
                answers=DESCRIPTIONS[address].answers,
                needs=DESCRIPTIONS[address].needs,
            )
            for address, handler in handlers.items()
        ]

    # -- taking in

    async def ingest(self, request: Request) -> None:
        """`POST /v1/memory/documents`."""
        view = self._view(request)
        body = _body(request, await request.json())
        document = self._document(view, body)
        library = self._shelves.library
        if body.get("wait", True) and library.is_small(document):
            await request.respond_json(await library.ingest(view, document))
            return
        library.check(view, document)
        job = await self._begin(request, await self._put_aside(view, document))
        await request.respond_json({"job_id": job, "id": library.id_of(document) if document.data else ""}, 202)

    async def begin(self, request: Request) -> None:
        """`POST /v1/memory/jobs`."""
        body = _body(request, await request.json())
        ids = body.get("ids", [])
        if body.get("do") not in ("refresh", "reindex"):
            raise _fault("/do", "Say `refresh` or `reindex`.")
        if not isinstance(ids, list) or len(ids) > IDS_MAX or not all(is_id(one, NAME_MAX) for one in ids):
            raise _fault("/ids", f"Ids are a list of at most {IDS_MAX}.")
        prefix = _line(body, "prefix", NAME_MAX)
        job = await self._begin(request, {"do": body["do"], "ids": ids, "prefix": prefix})
        await request.respond_json({"job_id": job}, 202)

    async def _begin(self, request: Request, errand: dict[str, Any]) -> str:
        context = request.context
        caller = Caller(
            tenant=context.tenant,
            tier=context.tier,
            session_id=context.session_id,
            user_id=context.user_id,
            idempotency_key=context.idempotency_key,
            traceparent=traceparent(context),
        )
        return (await self._submit(caller, JobRequest(agent=self._keeper, input=errand))).id

    # -- records

    async def remember(self, request: Request) -> None:
        """`POST /v1/memory/records`."""
        view = self._view(request)
        body = _body(request, await request.json())
        text = _record(body)
        item_id = _name(body, "id", "") or f"mem-{new_time_id(self._shelves.clock.now())}"
        events = body.get("events", [])
        if not isinstance(events, list) or len(events) > _EVENTS_MAX or not all(is_id(e, NAME_MAX) for e in events):
            raise _fault("/events", f"Events are a list of at most {_EVENTS_MAX} ids.")
        draft = record_draft(
            text,
            id=item_id,
            namespace=_namespace(view, body),
            metadata=_metadata(body),
            events=events,
            ttl_s=_ttl(body),
            version=0 if "id" in body else None,
        )
        await self._store.put(view, [draft])
        await request.respond_json(_shown(await self._found(view, item_id)), 201)

    async def correct(self, request: Request) -> None:
        """`PATCH /v1/memory/records/{id}`."""
        view = self._view(request)
        body = _body(request, await request.json(), "PATCH /v1/memory/records/{id}")
        if not body:
            raise ValidationFailed("Say what is to be corrected: `text`, `metadata`, or both.")
        version = None if body.get("version") is None else _number(body, "version", 1, _VERSION_MAX)
        item = await self._found(view, request.params["id"])
        if item.kind != "record":
            raise MemoryNotFound("This is a document: take it in again, from the same source, to correct it.")
        draft = record_draft(
            _record(body) if "text" in body else item.text,
            id=item.id,
            namespace=item.namespace,
            metadata=_metadata(body) if "metadata" in body else item.metadata,
            strategy=item.strategy,
            events=item.events,
            title=item.title,
            source=item.source,
            ttl_s=None if item.expires_at is None else max(1.0, item.expires_at - self._shelves.clock.now()),
            version=item.version if version is None else version,
        )
        await self._store.put(view, [draft])
        await request.respond_json(_shown(await self._found(view, item.id)))

    # -- looking

    async def search(self, request: Request) -> None:
        """`POST /v1/memory/search`."""
        view = self._view(request)
        body = _body(request, await request.json())
        query, k = body.get("query"), _number(body, "k", 10, self._shelves.settings.results_max)
        if not isinstance(query, str) or not query:
            raise _fault("/query", "Say what to look for.")
        selection = Selection(
            name=_name(body, "namespace", "") or None,
            prefix=_name(body, "prefix", "") or None,
            scopes=cast("tuple[Scope, ...]", _words(body, "scopes", get_args(Scope))),
            kinds=cast("tuple[Kind, ...]", _words(body, "kinds", get_args(Kind))),
            filters=_filters(body.get("filters", [])),
        )
        await request.respond_json(
            {"items": await self._shelves.searcher.search(view, query, k=k, selection=selection)}
        )

    async def list_items(self, request: Request) -> None:
        """`GET /v1/memory/items`."""
        query = request.query
        kind = _one_of(query, "kind", get_args(Kind))
        if query.get("source") == "":
            raise ValidationFailed("`source` is the path or the address that documents came from.")
        selection = msgspec.structs.replace(
            _selection(query),
            prefix=_asked(query, "prefix"),
            kinds=(kind,) if kind else (),
            source=query.get("source"),
        )
        page = await self._store.items(
            self._view(request),
            selection,
            limit=_whole(query, "limit", _PAGE, 1, _PAGE_MAX),
            cursor=query.get("cursor"),
        )
        await request.respond_json({"items": [_shown(item) for item in page.items], "next_cursor": page.next_cursor})

    async def show(self, request: Request) -> None:
        """`GET /v1/memory/items/{id}`."""
        await request.respond_json(_shown(await self._found(self._view(request), request.params["id"])))

    async def list_chunks(self, request: Request) -> None:
        """`GET /v1/memory/items/{id}/chunks`."""
        view, query = self._view(request), request.query
        item = await self._found(view, request.params["id"])
        limit = _whole(query, "limit", _PAGE, 1, _PAGE_MAX)
        first = _whole(query, "first", _FIRST, 0, _ORDINAL_MAX)
        await request.respond_json({"items": await self._store.chunks(view, item.id, first=first, limit=limit)})

    async def list_namespaces(self, request: Request) -> None:
        """`GET /v1/memory/namespaces`."""
        await request.respond_json({"items": await self._store.namespaces(self._view(request), Selection())})

    async def export(self, request: Request) -> None:
        """`GET /v1/memory/export`, a line at a time."""
        view, selection = self._view(request), _selection(request.query)
        stream = await request.open_stream(200, b"application/x-ndjson")
        cursor: str | None = None
        while True:
            page = await self._store.items(view, selection, limit=_PAGE, cursor=cursor)
            for item in page.items:
                if stream.write_piece(msgspec.json.encode(await self._whole(view, item)) + b"\n"):
                    await stream.drain()
            cursor = page.next_cursor
            if cursor is None:
                break
        ended = stream.end_stream(b"")
        if isinstance(ended, Awaitable):
            await ended

    async def _whole(self, view: View, item: Item) -> dict[str, Any]:
        shown = _shown(item)
        if item.kind == "record":
            return shown
        texts: list[dict[str, Any]] = []
        while len(texts) < item.chunks:
            chunks = await self._store.chunks(view, item.id, first=len(texts), limit=_PAGE_MAX)
            if not chunks:
                break
            texts += [{"place": chunk.place, "text": chunk.text} for chunk in chunks]
        return {**shown, "content": texts}

    # -- forgetting

    async def forget(self, request: Request) -> None:
        """`DELETE /v1/memory/items/{id}`."""
        if not await self._store.delete(self._view(request), [request.params["id"]]):
            raise MemoryNotFound
        await request.respond(204, b"")

    async def erase(self, request: Request) -> None:
        """`DELETE /v1/memory`. A misspelt parameter must not forget more than was meant."""
        query = request.query
        unknown = sorted(set(query) - {"of"})
        whose = query.get("of", "")
        scope, _, owner = whose.partition(":")
        if unknown or (whose != "all" and not (scope in {"user", "session", "team"} and is_id(owner, NAME_MAX))):
            raise ValidationFailed(
                "Say whose memory is to be forgotten: `?of=user:ada`, `?of=session:…` or `?of=team:…`; of the whole tenant: `?of=all`."
            )
        tenant, audience = request.context.tenant, None if whose == "all" else whose
        await self._forget_aside(tenant, audience)
        await request.respond_json({"deleted_items": await self._store.erase(tenant, audience=audience)})

    # -- who and where

    def _view(self, request: Request) -> View:
        context = request.context
        return self._shelves.view(context.tenant, user_id=context.user_id, session_id=context.session_id)

    async def _found(self, view: View, item_id: str) -> Item:
        item = await self._store.get(view, item_id)
        if item is None:
            raise MemoryNotFound
        return item

    def _document(self, view: View, body: dict[str, Any]) -> Document:
        given = [name for name in ("text", "data", "url") if name in body]
        if len(given) != 1:
            raise ValidationFailed("Send one of `text`, `data` (base64) and `url`.")
        data = _text(body, "text", None).encode("utf-8", "replace")
        if given == ["data"]:
            try:
                data = base64.b64decode(_text(body, "data", None), validate=True)
            except (binascii.Error, ValueError):
                raise _fault("/data", "The file is not base64.") from None
        url = _text(body, "url", _URL_MAX)
        if given == ["url"] and not re.match(URL_PATTERN, url):
            raise _fault("/url", "Documents are fetched from http:// and https:// addresses.")
        kind = body.get("media_type", "")
        if "media_type" in body and kind not in MEDIA_TYPES:
            raise _fault("/media_type", f"Documents are of one of these types: {', '.join(MEDIA_TYPES)}.")
        if not isinstance(body.get("wait", True), bool):
            raise _fault("/wait", "Whether to wait is true or false.")
        return Document(
            data=data,
            namespace=_namespace(view, body),
            media_type=kind,
            source=url or _line(body, "source", _URL_MAX),
            title=_line(body, "title", _TITLE_MAX),
            metadata=_metadata(body),
            ttl_s=_ttl(body),
            fetch=bool(url),
        )


def _namespace(view: View, body: Mapping[str, Any]) -> Namespace:
    """Where something is to be kept: by default for the user who is named, else for the tenant."""
    said = body.get("scope", "user" if view.user_id else "tenant")
    scope, _, team = said.partition(":") if isinstance(said, str) else ("", "", "")
    if scope not in get_args(Scope) or (scope == "team") != is_id(team, NAME_MAX) or (team == "" and said != scope):
        raise _fault("/scope", "A scope is `public`, `tenant`, `user`, `session`, or `team:` and its name.")
    owner = {"user": view.user_id, "session": view.session_id, "team": team}.get(scope, "")
    if not owner and scope in {"user", "session"}:
        raise MemoryForbidden(f"Say whose it is, with the header `X-{scope.title()}-Id`.")
    return Namespace(name=_name(body, "namespace", "main"), scope=cast("Scope", scope), owner=owner)


def _shown(item: Item) -> dict[str, Any]:
    shown = msgspec.structs.asdict(item)
    del shown["tenant"], shown["digest"]
    return shown


def _body(request: Request, body: Any, address: str = "") -> dict[str, Any]:
    """The body, checked for fields that are not known."""
    described = DESCRIPTIONS[address or f"{request.method} {request.scope['path']}"]
    known: Mapping[str, Any] = (described.body or {})["properties"]
    return check_fields(body, known)


def _number(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A whole number from 1 on; `2.0` is one."""
    value = body.get(name, default)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 1 <= value <= most:
        raise _fault(f"/{name}", f"{name} is a whole number from 1 to {most}.")
    return int(value)


def _text(body: Mapping[str, Any], name: str, most: int | None) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or (most is not None and len(value) > most):
        raise _fault(f"/{name}", f"{name} is text{'' if most is None else f' of at most {most} characters'}.")
    return value


def _line(body: Mapping[str, Any], name: str, most: int) -> str:
    text = _text(body, name, most)
    if text and not is_id(text, most):
        raise _fault(f"/{name}", f"{name} contains a control character.")
    return text


def _name(body: Mapping[str, Any], name: str, default: str) -> str:
    if name not in body:
        return default
    if not is_id(body[name], NAME_MAX):
        raise _fault(f"/{name}", f"{name} is text of 1 to {NAME_MAX} characters, without control characters.")
    return str(body[name])


def _record(body: Mapping[str, Any]) -> str:
    text = body.get("text", "")
    if not isinstance(text, str):
        raise _fault("/text", "A fact is text.")
    check_record(text)
    return text.replace("\0", "\ufffd")


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise _fault("/metadata", "Metadata is a JSON object.")
    return metadata


def _ttl(body: Mapping[str, Any]) -> float | None:
    ttl_s = body.get("ttl_s")
    if ttl_s is None:
        return None
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not 0 < ttl_s <= SECONDS_MAX:
        raise _fault("/ttl_s", f"It is kept for a number of seconds above 0, at most {SECONDS_MAX:g}.")
    return float(ttl_s)


def _words(body: Mapping[str, Any], name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    words = body.get(name, [])
    if not isinstance(words, list) or not all(word in known for word in words) or len(words) > len(known):
        raise _fault(f"/{name}", f"{name} is a list of some of {', '.join(known)}.")
    return tuple(words)


def _filters(given: Any) -> tuple[Filter, ...]:
    if not isinstance(given, list) or len(given) > _FILTERS_MAX:
        raise _fault("/filters", f"Filters are a list of at most {_FILTERS_MAX}.")
    found = []
    for at, one in enumerate(given):
        fields = check_fields(one, ("key", "op", "value"), f"/filters/{at}")
        key, op, value = fields.get("key"), fields.get("op", "="), fields.get("value")
        if not isinstance(key, str) or not 0 < len(key) <= NAME_MAX or op not in get_args(Operator):
            raise _fault(f"/filters/{at}", f"A filter has a `key` and an `op`, one of {' '.join(get_args(Operator))}.")
        if isinstance(value, dict | list):
            raise _fault(f"/filters/{at}/value", "Compare with text or with a number.")
        found.append(Filter(key, op, value))
    return tuple(found)


def _selection(query: Mapping[str, str]) -> Selection:
    scope = _one_of(query, "scope", get_args(Scope))
    return Selection(name=_asked(query, "namespace"), scopes=(scope,) if scope else ())


def _asked(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if text is not None and not is_id(text, NAME_MAX):
        raise ValidationFailed(f"`{name}` is text of 1 to {NAME_MAX} characters, without control characters.")
    return text


def _one_of(query: Mapping[str, str], name: str, known: tuple[str, ...]) -> Any:
    word = query.get(name)
    if word is not None and word not in known:
        raise ValidationFailed(f"`{name}` is one of {', '.join(known)}, not {word[:40]!r}.")
    return word


def _whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise ValidationFailed(f"`{name}` is a whole number from {least} to {most}, not {text[:40]!r}.")
    return int(text)


def _fault(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(message, errors=[{"pointer": pointer, "message": message}])
