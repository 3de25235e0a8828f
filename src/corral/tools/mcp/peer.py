"""JSON-RPC with one server over one wire: questions and their answers, progress, cancelling, and what the server asks itself."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

from corral.tools.mcp.wire import McpLost, Message, Wire
from corral.version import VERSION

_log = logging.getLogger("corral.tools.mcp")

OFFERED = "2025-06-18"
SPOKEN = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Versions in which tools mean the same to us."""
_PENDING_MAX = 1_000
_TASKS_MAX = 100
_NO_METHOD = -32601
_SAID_MAX = 1_000


class McpError(Exception):
    """The server answered with an error of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        """As the server says it."""
        super().__init__(message[:_SAID_MAX] or f"error {code}")
        self.code = code


class _Question:
    """One that waits for its answer, and how long it may."""

    __slots__ = ("answer", "idle_s", "timer", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float, timeout_max_s: float) -> None:
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.idle_s = timeout_s
        self.until = loop.time() + max(timeout_s, timeout_max_s)
        self.timer: asyncio.TimerHandle | None = None
        self.wait(loop)

    def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, so long again."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = loop.call_at(min(self.until, loop.time() + self.idle_s), self._late)

    def _late(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())

    def over(self) -> None:
        """Nobody waits any more."""
        if self.timer is not None:
            self.timer.cancel()


class Peer:
    """One server, for as long as its wire holds. Used from one event loop."""

    def __init__(self, name: str, wire: Wire, *, tools_changed: Callable[[], None]) -> None:
        """Not connected yet."""
        self.name = name
        self.closed = asyncio.Event()
        self.why = ""
        """Why it is closed."""
        self.version = ""
        self.server: dict[str, Any] = {}
        """What the server says of itself."""
        self._wire = wire
        self._tools_changed = tools_changed
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life

    async def start(self, *, within_s: float) -> None:
        """Connect, and agree on a version. Raises `McpLost`, `McpError` or `TimeoutError`."""
        async with asyncio.timeout(within_s):
            await self._wire.start(self)
            said = await self.ask(
                "initialize",
                {
                    "protocolVersion": OFFERED,
                    "capabilities": {},
                    "clientInfo": {"name": "corral", "version": VERSION},
                },
                timeout_s=within_s,
            )
            self.version = str(said.get("protocolVersion", ""))
            if self.version not in SPOKEN:
                raise McpLost(
                    f"The MCP server {self.name!r} speaks version {self.version[:40]!r} of the protocol; we speak {', '.join(SPOKEN)}."
                )
            self.server = said
            self._wire.agreed(self.version)
            await self.tell("notifications/initialized")

    async def stop(self) -> None:
        """Close the wire; who waits for an answer hears that there is none. Stopping twice is stopping once."""
        self.lost("it was stopped")
        await self._wire.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- asking

    async def ask(
        self, method: str, params: dict[str, Any] | None = None, *, timeout_s: float, timeout_max_s: float = 0.0
    ) -> dict[str, Any]:
        """The server's answer.

        Progress that it reports lets it take longer, up to `timeout_max_s`. Who gives up, or is cancelled, tells the server so.
        Raises `McpError`, `McpLost`, `TimeoutError`.
        """
        if self.closed.is_set():
            raise McpLost(self._gone())
        if len(self._questions) >= _PENDING_MAX:
            raise McpLost(f"The MCP server {self.name!r} owes {_PENDING_MAX} answers already: try again later.")
        number = next(self._numbers)
        question = self._questions[number] = _Question(asyncio.get_running_loop(), timeout_s, timeout_max_s)
        given = dict(params or {})
        if timeout_max_s:
            given["_meta"] = {"progressToken": number}
        try:
            async with asyncio.timeout(timeout_s):  # a server may be slow to take it as well
                await self._wire.send({"jsonrpc": "2.0", "id": number, "method": method, "params": given})
            result = await question.answer
        except (TimeoutError, asyncio.CancelledError) as error:
            if method != "initialize":  # which must not be cancelled
                late = isinstance(error, TimeoutError)
                self._spawn(self._cancelled(number, "it took too long" if late else "nobody waits for it any more"))
            raise
        finally:
            question.over()
            question.answer.cancel()
            self._questions.pop(number, None)
        return result if isinstance(result, dict) else {}

    async def tell(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Something that has no answer. Raises `McpLost`."""
        message: Message = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        await self._wire.send(message)

    async def _cancelled(self, number: int, reason: str) -> None:
        await self._quietly({"method": "notifications/cancelled", "params": {"requestId": number, "reason": reason}})

    async def _quietly(self, message: Message) -> None:
        try:
            await self._wire.send({"jsonrpc": "2.0", **message})
        except McpLost as error:
            _log.debug("The MCP server %s could not be told: %s", self.name, error)

    # -- hearing

    def heard(self, message: Message) -> None:
        """A message of the server's. Nothing it says can break anything."""
        method = message.get("method")
        if isinstance(method, str):
            if "id" in message:
                self._asked(message["id"], method)
            else:
                self._told(method, message.get("params"))
            return
        number = message.get("id")
        question = self._questions.get(number) if type(number) is int else None
        if question is None or question.answer.done():
            return  # an answer to what nobody waits for any more
        error = message.get("error")
        if error is None:
            question.answer.set_result(message.get("result"))
        else:
            detail = error if isinstance(error, dict) else {}
            code = detail.get("code")
            said = str(detail.get("message", error))
            question.answer.set_exception(McpError(code if type(code) is int else 0, said))

    def _asked(self, number: object, method: str) -> None:
        """The server wants something: that we are there, or what we do not offer."""
        if method == "ping":
            answer: Message = {"id": number, "result": {}}
        else:
            answer = {"id": number, "error": {"code": _NO_METHOD, "message": f"This client has no {method[:100]}."}}
        self._spawn(self._quietly(answer))

    def _told(self, method: str, params: object) -> None:
        given = params if isinstance(params, dict) else {}
        if method == "notifications/progress":
            token = given.get("progressToken")
            question = self._questions.get(token) if type(token) is int else None
            if question is not None:
                question.wait(asyncio.get_running_loop())
        elif method == "notifications/tools/list_changed":
            self._tools_changed()
        elif method == "notifications/message":
            _log.debug("The MCP server %s says: %s", self.name, str(given.get("data"))[:_SAID_MAX])

    def lost(self, why: str) -> None:
        """The wire is gone: everybody who waits hears so."""
        if self.closed.is_set():
            return
        self.why = why
        self.closed.set()
        for question in list(self._questions.values()):
            if not question.answer.done():
                question.answer.set_exception(McpLost(self._gone()))

    def _gone(self) -> str:
        return f"The MCP server {self.name!r} is not there: {self.why}."

    def _spawn(self, work: Any) -> None:
        if (
            self.closed.is_set() or len(self._tasks) >= _TASKS_MAX
        ):  # a server that asks without end is not answered without end
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
