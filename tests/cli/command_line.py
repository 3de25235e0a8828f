"""What the tests of the command line share: real servers, and servers that misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

CORRAL = str(Path(sys.executable).parent / "corral")
COMMAND = "from corral.cli.main import run; run()"


class Done(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)


def plain_environment() -> dict[str, str]:
    """The environment without settings, and without what belongs to this test run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CORRAL_", "PYTEST_"))}


class RunningServer:
    """`corral serve`, or `corral dev`, as a process of its own."""

    def __init__(self, folder: Path, *arguments: str, verb: str = "serve") -> None:
        self.folder = folder
        with (folder / "server.out").open("wb") as out, (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [CORRAL, verb, "--port", "0", *arguments], cwd=folder, stdout=out, stderr=log, env=plain_environment()
            )
        try:
            self.url = self._wait()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _wait(self) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            for path in (self.folder / ".corral/run").glob("*.json"):
                content = json.loads(path.read_bytes())
                if content["state"] == "serving" and content["workers"]:
                    return f"http://127.0.0.1:{content['port']}"
            time.sleep(0.02)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class Stub:
    """A server that says exactly these bytes to each connection, and remembers what it was sent."""

    def __init__(self, *answers: bytes, hold: bool = False) -> None:
        self.requests: list[bytes] = []
        self.left = threading.Event()
        self._answers = list(answers)
        self._hold = hold
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                self.requests.append(self._read(connection))
                connection.sendall(answer)
                if self._hold:  # until the client leaves
                    with contextlib.suppress(OSError):  # a reset is leaving as well
                        connection.recv(1)
                    self.left.set()

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")]
        while lengths and len(body) < lengths[0]:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it ended, or waits for somebody who never came
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def json_answer(content: Any, status: int = 200, kind: str = "application/json") -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\nx-request-id: r1\r\n\r\n%s" % (
        status,
        kind.encode(),
        len(body),
        body,
    )


def event_stream(*chunks: bytes, ended: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if ended else b"")


DONE = b'id: 9\nevent: done\ndata: {"request_id": "r1", "pieces": 1}\n\n'
