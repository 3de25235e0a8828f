"""A simulator in a process of its own, for whoever needs models over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PROGRAM = "from corral.cli.main import run; run()"


class SimServer:
    """`url` is where it is; `flags` are those of `corral sim`."""

    def __init__(self, *flags: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "sim", "--port", "0", "--json", *flags],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = ""
        while not said.endswith("}\n"):
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            said += line
        self.url: str = json.loads(said)["url"]
        self.openai = f"{self.url}/v1"

    def stats(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/__sim/stats").raise_for_status().json()

    def reset(self) -> None:
        httpx.post(f"{self.url}/__sim/reset").raise_for_status()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=20)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with self.process:
            return self.process.wait(20)


@contextmanager
def simulating(*flags: str, script: Path | None = None) -> Iterator[SimServer]:
    server = SimServer(*flags, *(("--script", str(script)) if script else ()))
    try:
        yield server
    finally:
        server.stop()
