"""A server that is a program of this machine: one message a line, through its standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from corral.tools.mcp.wire import MESSAGE_BYTES_MAX, Ears, McpLost, Message, decode, encode

_log = logging.getLogger("corral.tools.mcp")

INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
)
"""All that a program gets of our environment: keys of other services are none of its business."""
_GRACE_S = 2.0
_LINE_MAX = 2_000
_LINES_KEPT = 20
_UNWRITTEN_MAX = 4 * 1024 * 1024


class StdioWire:
    """Starts a program, and ends it with all it started."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = ""
    ) -> None:
        """`env` comes beside `INHERITED`."""
        self._name = name
        self._command = list(command)
        self._env = {key: os.environ[key] for key in INHERITED if key in os.environ} | dict(env or {})
        self._cwd = cwd or None
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._ears: Ears | None = None

    @property
    def pid(self) -> int:
        """Of the program; 0: it does not run."""
        return 0 if self._process is None else self._process.pid

    async def start(self, ears: Ears) -> None:
        """Start the program."""
        self._ears = ears
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
                cwd=self._cwd,
                limit=MESSAGE_BYTES_MAX,
                start_new_session=True,  # so that it ends with its children, and not by our terminal's Ctrl-C
            )
        except OSError as error:
            raise McpLost(
                f"The program {self._command[0]!r} of the MCP server {self._name!r} cannot be started: {error.strerror or error}."
            ) from None
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101 - as above
        self._readers = [
            asyncio.create_task(self._read(process.stdout, ears)),
            asyncio.create_task(self._read_errors(process.stderr)),
        ]

    async def send(self, message: Message) -> None:
        """One line."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            raise McpLost(f"The MCP server {self._name!r} does not run.")
        if process.stdin.transport.get_write_buffer_size() > _UNWRITTEN_MAX:
            raise McpLost(f"The MCP server {self._name!r} does not read what it is sent.")
        try:
            process.stdin.write(encode(message) + b"\n")
            await process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise McpLost(f"The MCP server {self._name!r} does not listen any more: {error}.") from None

    def agreed(self, version: str) -> None:
        """Lines are lines in every version."""

    async def stop(self) -> None:
        """Close its input; then ask it to end; then end it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if not await self._ended(process):
            self._signal(process, signal.SIGTERM)
            if not await self._ended(process):
                self._signal(process, signal.SIGKILL)
                await process.wait()
        self._signal(process, signal.SIGKILL)  # its children, if it left any
        for reader in self._readers:
            reader.cancel()
        if self._readers:
            await asyncio.wait(self._readers)

    @staticmethod
    async def _ended(process: asyncio.subprocess.Process) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
                return True
        return False

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    # -- reading

    async def _read(self, stream: asyncio.StreamReader, ears: Ears) -> None:
        why = "its program has ended"
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                why = f"it said a line of more than {MESSAGE_BYTES_MAX} bytes"
                break
            if not line:
                break
            if not line.strip():
                continue
            try:
                message = decode(line)
            except (msgspec.DecodeError, UnicodeError):
                self._said.append(
                    line[:_LINE_MAX].decode(errors="replace").rstrip()
                )  # a program that prints to its output
                continue
            if isinstance(message, dict):
                ears.heard(message)
        last = "; ".join(list(self._said)[-3:])
        ears.lost(f"{why}; it said last: {last}" if last else why)

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65_536):
            for raw in chunk.decode(errors="replace").splitlines():
                if line := raw.strip()[:_LINE_MAX]:
                    self._said.append(line)
                    _log.debug("The MCP server %s: %s", self._name, line)
