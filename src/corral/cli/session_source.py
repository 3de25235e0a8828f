"""Where the sessions come from: a server that runs, else the project's store itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import urlencode

import msgspec

from corral.cli.client import DEFAULT_URL, Client, segment
from corral.cli.failure import Exit, Failure
from corral.cli.project import load_project, local_url, open_store
from corral.cli.waiting import waiting
from corral.errors import SessionNotFound

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.settings.sections import Settings
    from corral.wiring.tiering import KeptSessions

T = TypeVar("T")
K = TypeVar("K")


class SessionSource(Protocol):
    """What the verbs ask. All answers are as the API gives them."""

    name: str
    """What people read: the server's or the store's URL."""

    def sessions(self, *, limit: int, cursor: str | None, actor: str | None) -> dict[str, Any]:
        """A page of sessions."""
        ...

    def session(self, session_id: str) -> dict[str, Any]:
        """One session."""
        ...

    def events(self, session_id: str, *, limit: int, cursor: str | None, branch: str | None) -> dict[str, Any]:
        """A page of events, newest first."""
        ...

    def state(self, session_id: str) -> dict[str, Any]:
        """The state document."""
        ...

    def delete(self, session_id: str) -> None:
        """Delete one."""
        ...

    def forget(self, actor: str) -> int:
        """Forget an actor; returns how many sessions went with them."""
        ...

    def fork(self, session_id: str, new_id: str, at_event: str | None) -> dict[str, Any]:
        """Copy one."""
        ...

    def tiers(self) -> dict[str, Any]:
        """How much is where."""
        ...


def choose_source(
    url: str | None, key: str | None, store: str | None, config: Path | None, tenant: str
) -> SessionSource:
    """The server that was named or runs from this folder, else the store, else the server at the usual address."""
    if store is None and (named := url or local_url()):
        return ServerSessions(Client(named, key))
    settings = load_project(None, config, {"store.url": store}).settings
    if store is not None or _is_there(settings.store.url):
        return StoredSessions(settings, tenant)
    try:
        Client(DEFAULT_URL, key).ask("GET", "/livez", timeout_s=2)
    except Failure:
        raise Failure(
            f"There are no sessions here: no server runs from {Path.cwd()}, and it has no store ({settings.store.url}).",
            "Go to the project's folder, or name a server (`--url`) or a store (`--store`).",
            code="unreachable",
            status=Exit.NOT_FOUND,
        ) from None
    return ServerSessions(Client(DEFAULT_URL, key))


def _is_there(store_url: str) -> bool:
    if not store_url.startswith("sqlite:"):
        return True
    return Path(store_url.partition("///")[2].partition("?")[0]).is_file()


class ServerSessions:
    """Sessions through the API."""

    def __init__(self, client: Client) -> None:
        """Asks `client`."""
        self.name = client.url
        self._client = client

    def sessions(self, *, limit: int, cursor: str | None, actor: str | None) -> dict[str, Any]:
        """`GET /v1/sessions`."""
        return self._get("/v1/sessions", limit=limit, cursor=cursor, actor=actor)

    def session(self, session_id: str) -> dict[str, Any]:
        """`GET /v1/sessions/{id}`."""
        return self._get(_path(session_id))

    def events(self, session_id: str, *, limit: int, cursor: str | None, branch: str | None) -> dict[str, Any]:
        """`GET /v1/sessions/{id}/events`."""
        return self._get(_path(session_id) + "/events", limit=limit, cursor=cursor, branch=branch)

    def state(self, session_id: str) -> dict[str, Any]:
        """`GET /v1/sessions/{id}/state`."""
        return self._get(_path(session_id) + "/state")

    def delete(self, session_id: str) -> None:
        """`DELETE /v1/sessions/{id}`."""
        self._client.ask("DELETE", _path(session_id))

    def forget(self, actor: str) -> int:
        """`DELETE /v1/actors/{actor}`."""
        return int(self._client.ask("DELETE", f"/v1/actors/{segment(actor)}")["deleted_sessions"])

    def fork(self, session_id: str, new_id: str, at_event: str | None) -> dict[str, Any]:
        """`POST /v1/sessions/{id}/fork`."""
        copy = {"session_id": new_id, "at_event": at_event}
        answer: dict[str, Any] = self._client.ask("POST", _path(session_id) + "/fork", copy)
        return answer

    def tiers(self) -> dict[str, Any]:
        """`GET /v1/session-tiers`."""
        return self._get("/v1/session-tiers")

    def _get(self, path: str, **query: object) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        answer: dict[str, Any] = self._client.ask("GET", f"{path}?{urlencode(given)}" if given else path)
        return answer


def _path(session_id: str) -> str:
    return f"/v1/sessions/{segment(session_id)}"


class StoredSessions:
    """Sessions straight from the store, opened anew for each question."""

    def __init__(self, settings: Settings, tenant: str) -> None:
        """The sessions of `tenant`."""
        self._settings = settings
        self._tenant = tenant
        self.name = self._open().url

    def sessions(self, *, limit: int, cursor: str | None, actor: str | None) -> dict[str, Any]:
        """A page of sessions."""
        from corral.sessions.event import SessionQuery  # noqa: PLC0415 - the room is loaded when it is entered

        query = SessionQuery(limit=limit, cursor=cursor, actor=actor)
        return self._run(lambda store: store.sessions(self._tenant, query), dict)

    def session(self, session_id: str) -> dict[str, Any]:
        """One session."""
        found = self._run(lambda store: store.get(self._key(session_id)), object)
        if not isinstance(found, dict):
            raise SessionNotFound(f"There is no session {session_id!r}.")
        return found

    def events(self, session_id: str, *, limit: int, cursor: str | None, branch: str | None) -> dict[str, Any]:
        """A page of events."""
        from corral.sessions.event import EventQuery  # noqa: PLC0415 - as above

        query = EventQuery(limit=limit, cursor=cursor, branch=branch)
        return self._run(lambda store: store.events(self._key(session_id), query), dict)

    def state(self, session_id: str) -> dict[str, Any]:
        """The state document."""
        return self._run(lambda store: store.read_state(self._key(session_id)), dict)

    def delete(self, session_id: str) -> None:
        """Delete one."""
        self._run(lambda store: store.delete(self._tenant, session_id=session_id), int)

    def forget(self, actor: str) -> int:
        """Forget an actor."""
        return self._run(lambda store: store.delete(self._tenant, actor=actor), int)

    def fork(self, session_id: str, new_id: str, at_event: str | None) -> dict[str, Any]:
        """Copy one."""
        from corral.sessions.drafts import check_id  # noqa: PLC0415 - as above

        copy = check_id(new_id, "session id of the copy")
        return self._run(lambda store: store.fork(self._key(session_id), copy, at_event=at_event), dict)

    def tiers(self) -> dict[str, Any]:
        """How much is where."""
        return self._run(lambda store: store.counts(self._tenant), dict)

    def _key(self, session_id: str) -> Any:
        from corral.sessions.event import SessionKey  # noqa: PLC0415 - as above

        return SessionKey(self._tenant, session_id)

    def _open(self) -> Stores:
        return open_store(self._settings.store)

    def _run(self, ask: Callable[[KeptSessions], Awaitable[T]], kind: type[K]) -> K:
        from corral.wiring.tiering import tiered_stores  # noqa: PLC0415 - as above

        stores = tiered_stores(self._settings, self._open())

        async def asked() -> object:
            try:
                await stores.start()
                return msgspec.to_builtins(await ask(cast("KeptSessions", stores.sessions)))
            finally:
                await stores.stop()

        with waiting(f"asking {self.name}"):
            return msgspec.convert(asyncio.run(asked()), kind)
