"""One process that answers: the loop, the connections, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Protocol

import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from corral.server.http import Receive, Scope, Send
from corral.server.interpreter import settle
from corral.server.listener import Acceptor
from corral.server.protocol import CorralProtocol
from corral.settings.sections import ServerSettings

_log = logging.getLogger("corral.server")

_LINGER_S = 1.0
"""How long idle clients may still send one more request, and be told to go elsewhere, before they are cut off."""
_CLOSE_S_MAX = 5.0
"""How long closing the stores, and hooks of the user's, may take once nothing runs any more."""


def _websocket(**given: Any) -> asyncio.Protocol:
    """A connection that became a WebSocket. The first one loads what that takes, where no supervisor has loaded it."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import (  # noqa: PLC0415 - many servers never see one
        WebSocketsSansIOProtocol,
    )

    return WebSocketsSansIOProtocol(**given)


class Servable(Protocol):
    """What a worker serves: `corral.wiring.service.Service`."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        ...

    @property
    def in_flight(self) -> int:
        """Invocations that run or wait."""
        ...

    def own_process(self) -> None:
        """Nothing else is served by this process."""
        ...

    async def start(self) -> None:
        """Open what is needed, or raise."""
        ...

    def begin_drain(self) -> None:
        """Refuse new work."""
        ...

    def retire(self) -> None:
        """Have clients leave."""
        ...

    def cancel_running(self) -> None:
        """Cancel what runs."""
        ...

    async def stop(self) -> None:
        """End, after what still runs."""
        ...


class Worker:
    """Serves one application on one listening socket until it is told to stop; without a socket, it has work of its own."""

    def __init__(
        self,
        service: Servable,
        listener: socket.socket | None,
        settings: ServerSettings,
        *,
        alone: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        """`alone`: no other process accepts from `listener`. `options` go to uvicorn's `Config`."""
        self._service = service
        self._listener = listener
        self._settings = settings
        self._alone = alone
        self._options = options or {}
        self._state = ServerState()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._retiring = False
        self._last = False
        """Nobody takes connections after this worker."""

    async def run(
        self, ready: Callable[[], None], parent: int | None = None, deaf: Callable[[], None] = lambda: None
    ) -> None:
        """Start, call `ready`, serve, and end cleanly.

        `parent` is a pipe that closes when the supervisor dies. `deaf` is called when no connection is accepted any more.
        """
        loop = asyncio.get_running_loop()
        config = self._config()
        self._service.own_process()
        await self._service.start()
        acceptor = self._acceptor(config, loop)
        self._last = parent is None
        self._tick()
        if parent is None:
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGINT, self.stop)
        else:  # Ctrl-C reaches the supervisor as well, and it tells us what to do
            # Each in a word of its own: where two signals come together, uvloop may tell one of them twice.
            loop.add_signal_handler(signal.SIGTERM, self.drain)
            loop.add_signal_handler(signal.SIGUSR1, self.retire)
            loop.add_signal_handler(signal.SIGUSR2, self._hurry.set)
            loop.add_reader(parent, self._orphaned, parent)
        if acceptor is not None:
            acceptor.start()
        settle()
        ready()
        await self._stopping.wait()
        await self._end(acceptor, deaf)

    def stop(self) -> None:
        """Drain and end; said twice: end at once."""
        if self._stopping.is_set() and not self._retiring:
            self._hurry.set()
        self.drain()

    def drain(self) -> None:
        """Refuse what is new, answer what runs, and end."""
        self._retiring = False
        self._service.begin_drain()
        self._stopping.set()

    def retire(self) -> None:
        """Another generation has taken over: answer who is here, and end."""
        if not self._stopping.is_set():
            self._retiring = True
            self._service.retire()
            self._stopping.set()

    def _orphaned(self, parent: int) -> None:
        asyncio.get_running_loop().remove_reader(parent)
        _log.error("The supervisor is gone; this worker ends as well.")
        # Not a drain: the socket must be free at once for the supervisor that comes after.
        self._last = True
        self.retire()

    def _acceptor(self, config: Config, loop: asyncio.AbstractEventLoop) -> Acceptor | None:
        if self._listener is None:
            return None
        return Acceptor(
            self._listener,
            lambda: CorralProtocol(config=config, server_state=self._state, app_state={}, _loop=loop),
            greedy=self._alone,
        )

    def _config(self) -> Config:
        config = Config(
            self._service,
            **{
                "http": CorralProtocol,
                "ws": _websocket,
                "lifespan": "off",
                "interface": "asgi3",
                "log_config": None,
                "access_log": False,
                "proxy_headers": False,
                "server_header": False,
                "timeout_keep_alive": self._settings.keep_alive_s,
                **self._options,
            },
        )
        config.load()
        return config

    def _tick(self) -> None:
        """Say the right time in every response's date."""
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
        asyncio.get_running_loop().call_later(1.0, self._tick)

    # -- the end: what was accepted is answered, or told to come back, before its connection closes

    async def _end(self, acceptor: Acceptor | None, deaf: Callable[[], None]) -> None:
        if not self._retiring:
            await self._unless_hurried(self._settings.drain_delay_s)
        end = time.monotonic() + self._settings.drain_s
        if not self._retiring:
            await self._wait_while(lambda: self._service.in_flight, end)
        if acceptor is not None:
            await acceptor.stop(sweep=not self._retiring or self._last, last=self._last)
        deaf()
        # Clients that are connected may still send a request each, and are asked to leave with its answer.
        await self._wait_while(self._connections, time.monotonic() + _LINGER_S)
        for connection in self._connections():
            connection.shutdown()
        await self._wait_while(lambda: self._state.tasks or self._connections() or self._service.in_flight, end)
        await self._cut_off()
        try:
            async with asyncio.timeout(_CLOSE_S_MAX):
                await self._service.stop()
        except TimeoutError:
            _log.warning(
                "Something does not end, such as a synchronous agent in its thread; this worker ends without it."
            )

    async def _cut_off(self) -> None:
        """Tell whoever is still there that it is over."""
        if self._service.in_flight:
            _log.warning("%d invocations did not end in time and are cancelled.", self._service.in_flight)
            self._service.cancel_running()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=_LINGER_S)

    def _connections(self) -> list[CorralProtocol]:
        """Those that speak HTTP. A WebSocket is work in progress, and may go on as long as that may."""
        return [connection for connection in self._state.connections if isinstance(connection, CorralProtocol)]

    async def _wait_while(self, something: Callable[[], object], until: float) -> None:
        while something() and time.monotonic() < until and not self._hurry.is_set():
            await self._unless_hurried(0.02)

    async def _unless_hurried(self, seconds: float) -> None:
        if seconds > 0 and not self._hurry.is_set():
            try:
                await asyncio.wait_for(self._hurry.wait(), seconds)
            except TimeoutError:
                return


def run_worker(
    worker: Callable[[], Worker],
    ready: Callable[[], None],
    parent: int | None = None,
    deaf: Callable[[], None] = lambda: None,
) -> None:
    """Run a worker on a loop of its own, to its end. See `Worker.run`."""

    async def main() -> None:
        await worker().run(ready, parent, deaf)

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.run(main())
    finally:
        if parent is None:
            runner.close()
        # A process of our own ends next: closing the loop would wait for threads that may never end.
