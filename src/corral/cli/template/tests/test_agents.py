"""How to test agents: in this process, without a port, against a store that is thrown away."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.testing.client import Client

sys.path.insert(0, str(Path(__file__).parent.parent))

from agents import answer, app


@pytest.fixture
def client() -> Iterator[Client]:
    """The app, ready to be called."""
    with Client(app) as ready:
        yield ready


def test_the_rules_can_be_tested_alone() -> None:
    """No server, no session: just the function."""
    assert answer("What is 12 * 7?", {"notes": []}) == "12 * 7 is 84."


def test_a_session_remembers(client: Client) -> None:
    """Two turns of one session, and one of another."""
    client.invoke("My name is Ada", session="first")
    assert "Your name is Ada" in client.invoke("Who am I?", session="first").text
    assert "Ada" not in client.invoke("Who am I?", session="second").text


def test_a_failure_is_an_error_the_caller_sees(client: Client) -> None:
    """A stream that has begun ends with an event that says what went wrong."""
    broken = client.invoke({"after": 2}, agent="fragile")
    assert broken.pieces == ["Piece 1. ", "Piece 2. "]
    assert broken.error is not None
    assert broken.error["code"] == "agent_error"
