"""Where keys are given out: by a server that an admin's key is shown to, else in the store itself."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from corral.cli.client import Client, client_for, segment
from corral.cli.project import load_project, open_store
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.backends.stores import Stores
    from corral.messages import AuditEntry
    from corral.security.issuing import KeyDesk
    from corral.settings.sections import Settings


class KeySource(Protocol):
    """What the verbs ask. All answers are as the API gives them."""

    name: str
    """What people read: the server's or the store's URL."""

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a key."""
        ...

    def closed_the_door(self) -> bool:
        """Whether nobody was asked for a key until the last one was made."""
        ...

    def listed(self, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """A page of keys."""
        ...

    def show(self, key_id: str) -> dict[str, Any]:
        """One key."""
        ...

    def rotate(self, key_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Exchange a key."""
        ...

    def revoke(self, key_id: str) -> dict[str, Any]:
        """Take a key back."""
        ...


def choose_source(url: str | None, key: str | None, store: str | None, config: Path | None, tenant: str) -> KeySource:
    """The server, where one is named or a key for it is given; else the store: whoever can read that needs no key."""
    if store is None and (url or key):
        return ServerKeys(client_for(url, key))
    return StoredKeys(load_project(None, config, {"store.url": store}).settings, tenant)


class ServerKeys:
    """Keys through the API."""

    def __init__(self, client: Client) -> None:
        """Asks `client`."""
        self.name = client.url
        self._client = client

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """`POST /v1/keys`."""
        answer: dict[str, Any] = self._client.ask("POST", "/v1/keys", asked)
        return answer

    def closed_the_door(self) -> bool:
        """No: an admin's key was asked for."""
        return False

    def listed(self, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """`GET /v1/keys`."""
        given = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        answer: dict[str, Any] = self._client.ask("GET", f"/v1/keys?{urlencode(given)}")
        return answer

    def show(self, key_id: str) -> dict[str, Any]:
        """`GET /v1/keys/{id}`."""
        answer: dict[str, Any] = self._client.ask("GET", f"/v1/keys/{segment(key_id)}")
        return answer

    def rotate(self, key_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        """`POST /v1/keys/{id}/rotate`."""
        answer: dict[str, Any] = self._client.ask("POST", f"/v1/keys/{segment(key_id)}/rotate", asked)
        return answer

    def revoke(self, key_id: str) -> dict[str, Any]:
        """`DELETE /v1/keys/{id}`."""
        answer: dict[str, Any] = self._client.ask("DELETE", f"/v1/keys/{segment(key_id)}")
        return answer


class StoredKeys:
    """Keys straight in the store, opened anew for each question. What is done is in the audit, with who did it."""

    def __init__(self, settings: Settings, tenant: str) -> None:
        """The keys of `tenant`."""
        self._settings = settings
        self._tenant = tenant
        self._actor = f"{getpass.getuser()} on the machine"
        self.name = self._open().url

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a key."""
        from corral.security.issuing import grant_of  # noqa: PLC0415 - the room is loaded when it is entered

        given = dict(asked)
        ttl_s = given.pop("ttl_s", None)
        grant = grant_of(given)
        return self._run(
            lambda desk: desk.create(self._tenant, grant, ttl_s=ttl_s, actor=self._actor),
            _once,
        )

    def closed_the_door(self) -> bool:
        """Whether it is the first of the store, and the settings ask for none."""
        security = self._settings.security
        if security.api_keys or security.jwt or security.require_key:
            return False
        return asyncio.run(self._changes()) == 1

    async def _changes(self) -> int:
        """How often a key was made or changed."""
        stores = self._open()
        try:
            await stores.start()
            return (await stores.keys.head()).version
        finally:
            await stores.stop()

    def listed(self, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """A page of keys."""
        return self._run(
            lambda desk: desk.listed(self._tenant, limit=limit, cursor=cursor),
            lambda page: {"items": [_plain(one) for one in page.items], "next_cursor": page.next_cursor},
        )

    def show(self, key_id: str) -> dict[str, Any]:
        """One key."""
        return self._run(lambda desk: desk.get(self._tenant, key_id), _plain)

    def rotate(self, key_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Exchange a key."""
        return self._run(lambda desk: desk.rotate(self._tenant, key_id, actor=self._actor, **asked), _once)

    def revoke(self, key_id: str) -> dict[str, Any]:
        """Take a key back."""
        return self._run(lambda desk: desk.revoke(self._tenant, key_id, actor=self._actor), _plain)

    def _open(self) -> Stores:
        return open_store(self._settings.store)

    def _run(self, ask: Callable[[KeyDesk], Awaitable[Any]], shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        from corral.security.issuing import KeyDesk  # noqa: PLC0415 - as above

        stores = self._open()
        done: list[AuditEntry] = []
        security = self._settings.security

        async def asked() -> dict[str, Any]:
            try:
                await stores.start()
                desk = KeyDesk(stores.keys, secret=security.secret, audit=done.append if security.audit else None)
                found = shown(await ask(desk))
                await stores.audit.append(done)
            finally:
                await stores.stop()
            return found

        with waiting(f"asking {self.name}"):
            return asyncio.run(asked())


def _plain(record: Any) -> dict[str, Any]:
    from corral.clock import SYSTEM_CLOCK  # noqa: PLC0415 - as above
    from corral.security.issuing import shown  # noqa: PLC0415 - as above

    return shown(record, SYSTEM_CLOCK.now())


def _once(issued: Any) -> dict[str, Any]:
    from corral.clock import SYSTEM_CLOCK  # noqa: PLC0415 - as above
    from corral.security.issuing import shown_once  # noqa: PLC0415 - as above

    return shown_once(issued, SYSTEM_CLOCK.now())
