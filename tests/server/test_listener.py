"""The listening socket: who may reach it, what is in its way, and how it is let go of."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import threading

import msgspec
import pytest

from corral.errors import ConfigError
from corral.server import listener as listening
from corral.server.address import url_of
from corral.server.farewell import say_farewell, turn_away
from corral.server.listener import Acceptor, bind, check_exposure
from corral.settings.sections import Settings

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the filter is Linux's")


def settings(host: str, **security: object) -> Settings:
    return msgspec.convert({"server": {"host": host}, "security": security}, Settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_whoever_is_on_this_machine_needs_no_key(host):
    assert check_exposure(settings(host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.com", ""])
def test_beyond_this_machine_keys_are_asked_for(host):
    with pytest.raises(ConfigError, match=r"Set `security\.api_keys`"):
        check_exposure(settings(host))
    assert check_exposure(settings(host, api_keys=[{"key": "secret"}])) is None
    assert "Anybody" in (check_exposure(settings(host, allow_unauthenticated=True)) or "")


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:8"), ("::1", "http://[::1]:8"), ("[::1]", "http://[::1]:8")]
)
def test_an_address_as_a_url(host, url):
    assert url_of(host, 8) == url


def test_what_is_in_the_way_is_said():
    with bind("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="is taken by another program"):
        bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match=r"is not an address of this machine.*server\.host"):
        bind("no such host", 0)
    with pytest.raises(ConfigError, match=r"Cannot listen on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


def test_both_families():
    with bind("::", 0) as both, socket.create_connection(("127.0.0.1", both.getsockname()[1])):
        pass
    with bind("::1", 0) as one, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", one.getsockname()[1]))


@linux
def test_who_is_turned_away_does_not_get_through_and_who_is_in_stays_in():
    with bind("127.0.0.1", 0) as listener:
        inside = socket.create_connection(listener.getsockname())
        turn_away(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.1)
        accepted, address = listener.accept()
        assert address == inside.getsockname()
        inside.sendall(b"hello")
        assert accepted.recv(10) == b"hello"
        inside.close()
        accepted.close()


class Farewell:
    """Three clients in the queue of a socket that nobody accepts from any more."""

    def __init__(self) -> None:
        self.listener = bind("127.0.0.1", 0)
        self.asking, self.silent, self.gone = (socket.create_connection(self.listener.getsockname()) for _ in range(3))
        self.gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_whoever_waits_in_the_queue_is_answered_before_the_end(monkeypatch):
    monkeypatch.setattr("corral.server.farewell._WAIT_S_MAX", 0.3)
    scene = Farewell()
    scene.asking.sendall(b"POST /invocations HTTP/1.1\r\ncontent-length: 4\r\n\r\n")
    scene.gone.close()  # with a reset
    said: list[bytes] = []

    def ask() -> None:
        with scene.asking.makefile("rb") as answer:
            scene.asking.sendall(b"body")
            said.append(answer.read())
        scene.asking.close()

    client = threading.Thread(target=ask)
    client.start()
    say_farewell(scene.listener)
    client.join(10)
    head, _, body = said[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert b"connection: close" in head
    assert msgspec.json.decode(body)["code"] == "draining"
    assert scene.silent.recv(10) == b""
    assert scene.listener.fileno() == -1
    scene.silent.close()


class Echo(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


async def test_without_descriptors_left_connections_wait(monkeypatch, caplog):
    monkeypatch.setattr(listening, "_PAUSE_S", 0.01)

    class Full:
        """A socket whose process has no room for one more, at first."""

        def __init__(self, real: socket.socket) -> None:
            self.refusals = 2
            self.real = real

        def accept(self):
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.real.accept()

        def __getattr__(self, name: str):
            return getattr(self.real, name)

    acceptor = Acceptor(Full(bind("127.0.0.1", 0)), Echo, greedy=True)
    acceptor.start()
    port = acceptor._listener.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(), 10) == b"hello"
    assert "Too many open files" in caplog.text
    writer.close()
    await acceptor.stop(sweep=True, last=True)
    await acceptor.stop(sweep=True, last=True)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_last_look_takes_whoever_is_there():
    acceptor = Acceptor(bind("127.0.0.1", 0), Echo, greedy=False)
    acceptor.start()
    address = acceptor._listener.getsockname()
    clients = [socket.create_connection(address) for _ in range(5)]  # the loop does not run meanwhile
    await acceptor.stop(sweep=True, last=True)
    for client in clients:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"hello")
        assert await asyncio.wait_for(loop.sock_recv(client, 10), 10) == b"hello"
        client.close()
