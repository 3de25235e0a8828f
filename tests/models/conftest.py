from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_scene import wrap_both
from sim_process import SimServer, simulating


@pytest.fixture(scope="session")
def sim_server() -> Iterator[SimServer]:
    """A simulator without waits or limits, strict about fields, for all tests of the session: count nothing there."""
    with simulating("--ttft-ms", "0", "--itl-ms", "0", "--strict", "--seed", "7") as server:
        yield server


@pytest.fixture(params=["event by event", "in one piece"])
def both_roads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that do not stream take either of two roads past the layers around a provider: a test must not tell which."""
    if request.param == "in one piece":
        monkeypatch.setattr(request.module, "wrap", wrap_both)
