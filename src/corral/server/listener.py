"""The listening socket: bound once by the supervisor, shared by the workers, read by one connection at a time."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable

from corral.errors import ConfigError
from corral.server.farewell import turn_away
from corral.settings.sections import Settings

_log = logging.getLogger("corral.server")

_BACKLOG = 2048
_PAUSE_S = 0.5
"""When the process has no file descriptors left: how long to leave connections waiting."""


def check_exposure(settings: Settings) -> str | None:
    """Refuse to listen beyond loopback without keys; returns a warning when the operator insists."""
    host, security = settings.server.host, settings.security
    if security.api_keys or security.jwt or security.require_key or is_loopback(host):
        return None
    if security.allow_unauthenticated:
        return f"Anybody who can reach {host}:{settings.server.port} can run your agents: no keys are configured."
    raise ConfigError(
        f"Listening on {host} lets other machines in, and no keys are configured. Set `security.api_keys` in corral.yaml "
        "(CORRAL_SECURITY_API_KEYS), or `security.require_key: true` with keys of `corral keys create`, listen on 127.0.0.1, or say `security.allow_unauthenticated: true` "
        "(`--allow-unauthenticated`) if something in front of Corral asks who is there."
    )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen, or say what is in the way."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"{host!r} is not an address of this machine: {error.strerror} (`server.host`).") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} on {host} is taken by another program; stop it, or choose another port "
                "(`--port`, `server.port`; 0 takes a free one)."
            ) from None
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror} (`server.host`, `server.port`).") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


class Acceptor:
    """Takes connections off the listening socket, so that several workers share them fairly.

    A worker that takes all it can get in one go leaves nothing to the others: with several workers each takes one
    connection per turn of its loop, and a busy one takes fewer.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], *, greedy: bool) -> None:
        """`protocol` makes one for each connection; `greedy` when nobody else accepts from this socket."""
        self._listener = listener
        self._protocol = protocol
        self._burst = 64 if greedy else 1
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    def start(self) -> None:
        """Begin to accept."""
        self._open = True
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._burst):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not self._open:
                    return
                _log.warning("Cannot accept a connection now: %s", error)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_PAUSE_S, self._resume)
                return
            connection.setblocking(False)
            if connection.family in {socket.AF_INET, socket.AF_INET6}:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # the client has gone already

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def stop(self, *, sweep: bool, last: bool) -> None:
        """Accept no more, and let go of the socket.

        With `sweep` whoever is connected already is still taken. `last`: nobody else will take connections after that.
        """
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._listener.fileno())
        if sweep:
            if last:
                turn_away(self._listener)
            self._burst = _BACKLOG
            self._accept()
        self._listener.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
