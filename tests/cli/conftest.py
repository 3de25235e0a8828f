from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from command_line import CORRAL, Done, RunningServer, Stub

from corral.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to stand in, without settings from outside."""
    for name in os.environ:
        if name.startswith("CORRAL_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("NO_COLOR", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def corral(capfd) -> Callable[..., Done]:
    """Run a command in this process: `corral("sessions", "list")`."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        status = main(arguments)
        out, err = capfd.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture
def project(here, corral):
    """A folder that `corral init` filled."""
    assert corral("init").status == 0
    return here


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory) -> Iterator[RunningServer]:
    """One server with the agents of `corral init`, for all tests whose names are their own."""
    folder = tmp_path_factory.mktemp("served")
    subprocess.run([CORRAL, "init", str(folder)], check=True, capture_output=True)
    server = RunningServer(folder)
    yield server
    assert server.stop() == 0


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    """Makes stubs: `stub(answer, …)`."""
    made: list[Stub] = []

    def make(*answers: bytes, hold: bool = False) -> Stub:
        made.append(Stub(*answers, hold=hold))
        return made[-1]

    yield make
    for one in made:
        one.close()
