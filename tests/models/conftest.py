from __future__ import annotations

from collections.abc import Iterator

import pytest
from sim_process import SimServer, simulating


@pytest.fixture(scope="session")
def sim_server() -> Iterator[SimServer]:
    """A simulator without waits or limits, strict about fields, for all tests of the session: count nothing there."""
    with simulating("--ttft-ms", "0", "--itl-ms", "0", "--strict", "--seed", "7") as server:
        yield server
