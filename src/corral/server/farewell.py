"""The last answer of a server: to clients that connected when no worker took connections any more."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import sys
import time

from corral.errors import Draining

_WAIT_S_MAX = 1.0
_HEAD_END = b"\r\n\r\n"


def say_farewell(listener: socket.socket) -> None:
    """Close the listening socket, and answer whoever was in its queue: nobody who got through is cut off."""
    turn_away(listener)
    with selectors.DefaultSelector() as selector, listener:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, _Guest(connection))
        end = time.monotonic() + _WAIT_S_MAX
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if not key.data.heard():
                    selector.unregister(key.fileobj)
                    key.data.connection.close()
        for key in list(selector.get_map().values()):
            key.data.connection.close()


class _Guest:
    """One connection: its request is read, answered, and read on until the client closes (closing first would cut the answer off)."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._head = b""
        self._answered = False

    def heard(self) -> bool:
        """Read on. False: this is over."""
        try:
            data = self.connection.recv(65_536)
            if not self._answered and data:
                self._head += data
                if _HEAD_END in self._head:
                    self._answered = True
                    self.connection.send(_ANSWER)
                    self.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return False  # the client has gone
        return bool(data)


def _answer() -> bytes:
    detail = Draining().message
    content = {
        "type": "about:blank",
        "title": "Draining",
        "status": 503,
        "code": Draining.code,
        "detail": detail,
        "error": detail,
    }
    body = json.dumps(content).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )


_ANSWER = _answer()


_SO_ATTACH_FILTER = 26
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A packet filter: load the TCP flags; if SYN is set, drop the packet; else take it."""


def turn_away(listener: socket.socket) -> None:
    """Have the kernel take no new connection, while those it has taken stay: the last act before closing the socket.

    Whoever the kernel connected between the last look and the closing would be cut off. Where there is no such filter
    (it is Linux's), that moment is short, but not nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 - only who ends needs it

    program = b"".join(struct.pack("HBBI", *line) for line in _NO_SYN)
    held = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_NO_SYN), ctypes.addressof(held))
        )
