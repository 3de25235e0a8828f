"""The operations copilot, with a model that follows a script."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from corral.settings.load import load_settings
from corral.settings.model_sections import ProviderSettings
from corral.testing.client import Client

HERE = Path(__file__).parent
TRIAGE, REMEDY, WORD = "/^(?!.*Others have worked)/", "/first_response(?!.*from=.remediation)/", "/from=.remediation/"
"""By what the model is asked, it is known who asks: the first one sees no others, the last one sees both."""


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's module, fresh for each test: its cloud is acted on."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("cloud_ops_agents", HERE / "agents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cloud_ops_agents", module)
    spec.loader.exec_module(module)
    return module


def served(agents: ModuleType, *script: dict[str, Any]) -> Client:
    """The copilot under its own settings; the model says these lines."""
    settings = load_settings(HERE / "corral.yaml", env={}).settings
    sim = ProviderSettings(kind="sim", options={"ttft_ms": 0, "itl_ms": 0, "script": list(script)})
    models = msgspec.structs.replace(settings.models, providers={"sim": sim}, default="sim/small")
    return Client(agents.app, msgspec.structs.replace(settings, models=models))


def asks(match: str, name: str, **given: Any) -> dict[str, Any]:
    """A line that asks for a tool, once."""
    return {"match": match, "times": 1, "tool": {"name": name, "input": given}}


def script_of(service: str, cause: str, remedy: dict[str, Any]) -> list[dict[str, Any]]:
    """What the three agents say about a broken service."""
    return [
        asks(TRIAGE, "query_logs", service=service),
        asks(TRIAGE, "list_deployments", service=service),
        {"match": TRIAGE, "reply": f"{service} is broken: {cause}."},
        asks(REMEDY, "find_runbook", symptom=cause),
        asks(REMEDY, **remedy),
        {"match": REMEDY, "reply": f"I mended {service}."},
        asks(WORD, "post_update", message=f"{service} works again."),
        asks(WORD, "open_ticket", title=f"Why did {service} break?"),
        {"match": WORD, "reply": f"{service} is mended, and everybody knows."},
    ]


def test_what_is_not_severe_is_mended_without_asking(agents: ModuleType) -> None:
    """Medium severity: restarted, nobody paged, word given."""
    script = script_of("search", "it ran out of memory", {"name": "restart_service", "service": "search"})
    with served(agents, *script) as client:
        answer = client.invoke("The search is slow")
    cloud = agents.cloud
    assert answer.text == "search is mended, and everybody knows."
    assert (cloud.service("search").restarts, cloud.service("search").error_rate) == (1, 0.0)
    assert cloud.pages == []
    assert cloud.updates == ["search works again."]
    assert len(cloud.tickets) == 1


def test_what_is_severe_pages_at_once_and_waits_for_a_person(agents: ModuleType) -> None:
    """High severity: paged while triage looks, and nothing done before somebody says yes."""
    remedy = {"name": "roll_back", "service": "checkout", "version": "v2.14.0"}
    with served(agents, *script_of("checkout", "errors since the deployment v2.15.0", remedy)) as client:
        events = client.invoke({"prompt": "The checkout fails", "stream": True}).pieces
    assert agents.cloud.pages == ["checkout"]
    assert agents.cloud.service("checkout").version == "v2.15.0"
    asked = next(event for event in events if event["type"] == "approval")
    assert (asked["agent"], asked["tool"]) == ("with_approval", "roll_back")
    assert asked["input"] == {"service": "checkout", "version": "v2.14.0"}
    assert events[-1]["reason"] == "paused"
    hand_offs = [event["to"] for event in events if event["type"] == "hand_off"]
    assert hand_offs == ["first_response", "triage", "page", "remediation", "with_approval"]


def test_an_alarm_says_who_worked(agents: ModuleType) -> None:
    """The entrypoint for monitors."""
    script = script_of("search", "it ran out of memory", {"name": "restart_service", "service": "search"})
    with served(agents, *script) as client:
        answer = client.invoke({"service": "search", "text": "errors above 5 %"}, agent="alarm")
    assert answer.value["severity"] == "low"
    assert [one["agent"] for one in answer.value["agents"]] == ["first_response", "remediation", "communicator"]
