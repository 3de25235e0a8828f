from __future__ import annotations

import os
import select

import pytest


class Pipe:
    """A stream whose other end the test reads."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.writer

    def lines(self, wait_s: float = 0) -> list[str]:
        ready, _, _ = select.select([self.reader], [], [], wait_s)
        return os.read(self.reader, 1 << 20).decode().splitlines() if ready else []

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()
