"""Calls an app's agents in this process, as a server would, with a store that is thrown away at the end.

with Client(app) as client:
assert "Ada" in client.invoke("Who am I?", session="first").text
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Any, Self

import msgspec

from corral.settings.sections import Settings, StoreSettings

if TYPE_CHECKING:
    from types import TracebackType

    from corral.app import App
    from corral.wiring.service import Service


class Reply(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    value: Any = None
    """The reply of an agent that does not stream."""
    pieces: list[Any] = []
    """What an agent that streams has yielded."""
    error: dict[str, Any] | None = None
    """The problem, of a request that was refused as of a stream that broke off."""

    @property
    def text(self) -> str:
        """All that was said, as one text."""
        if self.value is not None:
            return self.value if isinstance(self.value, str) else msgspec.json.encode(self.value).decode()
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


class Client:
    """One app under test, with all that a server has: validation, sessions, turns, limits."""

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        """`settings` are the defaults unless given; the store is always a new one."""
        self._app = app
        self._settings = settings or Settings()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="corral-test-")
        self._service: Service

    def __enter__(self) -> Self:
        """Start the app, warm-ups included."""
        store = StoreSettings(url=f"sqlite:///{self._folder.name}/corral.db")
        self._service = self._app.build(msgspec.structs.replace(self._settings, store=store))
        self._runner.run(self._service.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the app and forget what it kept."""
        try:
            self._runner.run(self._service.stop())
        finally:
            self._runner.close()
            self._folder.cleanup()

    def invoke(
        self, payload: Any, *, agent: str = "main", session: str | None = None, user: str | None = None
    ) -> Reply:
        """Run an agent; a text stands for `{"prompt": text}`. Errors are returned, not raised."""
        content = {"prompt": payload} if isinstance(payload, str) else payload
        headers = {"x-session-id": session, "x-user-id": user}
        given = {name: value for name, value in headers.items() if value is not None}
        body = msgspec.json.encode(content)
        return _reply(*self.request("POST", f"/v1/agents/{agent}/invocations", body, given))

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Any request; returns status, headers and body."""
        return self._runner.run(self._request(method, path, body, headers or {}))

    async def _request(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        target, _, query = path.partition("?")
        given = {"host": "testserver", "content-type": "application/json", "content-length": str(len(body)), **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            return await asyncio.Future()  # this client never leaves

        async def send(message: Any) -> None:
            sent.append(message)

        await self._service(scope, receive, send)
        head = next(message for message in sent if message["type"] == "http.response.start")
        answered = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
        return head["status"], answered, b"".join(message.get("body", b"") for message in sent)


def _reply(status: int, headers: dict[str, str], body: bytes) -> Reply:
    if not headers.get("content-type", "").startswith("text/event-stream"):
        content = msgspec.json.decode(body)
        return Reply(status, content) if status == 200 else Reply(status, error=content)  # noqa: PLR2004 - HTTP's word
    pieces: list[Any] = []
    error: dict[str, Any] | None = None
    for event in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
        if "data" in fields and "event" not in fields:
            pieces.append(msgspec.json.decode(fields["data"]))
        elif fields.get("event") == "error":
            error = msgspec.json.decode(fields["data"])
    return Reply(status, pieces=pieces, error=error)
