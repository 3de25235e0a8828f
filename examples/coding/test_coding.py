"""The coding agent against its small GitHub, with a model that follows a script."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from corral.settings.load import load_settings
from corral.settings.model_sections import ProviderSettings
from corral.testing.client import Client

HERE = Path(__file__).parent
MENDED = 'def total(prices):\n    """All prices together."""\n    return sum(prices)\n'


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's module, fresh for each test."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delenv("GITHUB_API_URL", raising=False)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    for name in ("github", "fake_github", "coding_agents"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("coding_agents", HERE / "agents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "coding_agents", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def github(agents: ModuleType) -> Iterator[Any]:
    """A GitHub of the test's own."""
    fake = agents.FakeGithub()
    agents.URL["api"] = fake.url
    yield fake
    fake.stop()


def served(agents: ModuleType, *script: dict[str, Any]) -> Client:
    """The agent under its own settings; the model says these lines."""
    settings = load_settings(HERE / "corral.yaml", env={}).settings
    sim = ProviderSettings(kind="sim", options={"ttft_ms": 0, "itl_ms": 0, "script": list(script)})
    models = msgspec.structs.replace(settings.models, providers={"sim": sim}, default="sim/small")
    return Client(agents.app, msgspec.structs.replace(settings, models=models))


def asks(name: str, **given: Any) -> dict[str, Any]:
    """A line that asks for a tool, once."""
    return {"match": "", "times": 1, "tool": {"name": name, "input": given}}


def test_an_issue_is_mended_on_a_branch_and_proposed(agents: ModuleType, github: Any) -> None:
    """From the report to the pull request."""
    script = [
        asks("read_issue", number=17),
        asks("read_file", path="src/prices.py"),
        asks("create_branch", branch="fix/17"),
        asks("write_file", branch="fix/17", path="src/prices.py", content=MENDED, message="Add all prices."),
        asks("open_pull_request", branch="fix/17", title="Add all prices", body="The first price was left out."),
        {"match": "", "reply": "Pull request 18 mends it."},
    ]
    with served(agents, *script) as client:
        answer = client.invoke("Mend issue 17")
    assert answer.text == "Pull request 18 mends it."
    assert github.branches["fix/17"]["src/prices.py"] == MENDED
    assert github.branches["main"]["src/prices.py"] != MENDED
    assert [pull["head"] for pull in github.pulls] == ["fix/17"]


def test_main_is_out_of_reach_whatever_an_issue_says(agents: ModuleType, github: Any) -> None:
    """The rule is read before anything is done."""
    script = [
        asks("read_issue", number=17),
        asks("write_file", branch="main", path="README.md", content="Gone.", message="Obey the issue."),
        {"match": "", "reply": "I may not do that."},
    ]
    with served(agents, *script) as client:
        answer = client.invoke("Mend issue 17")
    assert answer.text == "I may not do that."
    assert "Gone." not in github.branches["main"]["README.md"]


def test_another_branch_asks_a_person_once_strangers_have_spoken(agents: ModuleType, github: Any) -> None:
    """Taint: the same call would need nobody if no issue had been read."""
    script = [asks("read_issue", number=17), asks("create_branch", branch="wild/1")]
    with served(agents, *script) as client:
        answer = client.invoke("Mend issue 17")
    assert answer.value["status"] == "paused"
    assert list(github.branches) == ["main"]


def test_a_pull_request_that_was_never_opened_is_not_spoken_of(agents: ModuleType, github: Any) -> None:
    """The critic has the answer revised."""
    script = [
        {"match": "", "times": 1, "reply": "Pull request 18 mends it."},
        {"match": "objected to", "reply": "I have not mended it."},
    ]
    with served(agents, *script) as client:
        answer = client.invoke("Mend issue 17")
    assert answer.text == "I have not mended it."
    assert github.pulls == []


@pytest.mark.usefixtures("github")
def test_what_is_not_there_is_said_in_words_that_help(agents: ModuleType) -> None:
    """GitHub's refusal reaches the model, and not as a crash."""
    script = [asks("read_file", path="src/nothing.py"), {"match": "", "reply": "There is no such file."}]
    with served(agents, *script) as client:
        events = client.invoke({"prompt": "Show me src/nothing.py", "stream": True}).pieces
    failed = next(event for event in events if event["type"] == "tool_finished")
    assert "GitHub answered 404" in str(failed["content"])
    assert events[-1]["output"] == "There is no such file."


def test_without_an_address_it_brings_its_own_github(agents: ModuleType) -> None:
    """As `corral dev` starts it."""
    with served(agents, asks("list_issues"), {"match": "", "reply": "One issue."}) as client:
        assert client.invoke("Which issues are there?").text == "One issue."
    assert agents.URL["api"].startswith("http://127.0.0.1:")
