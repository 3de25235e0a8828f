"""The support desk, with a model that follows a script."""

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


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's module, fresh for each test: its CRM is written to."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("support_agents", HERE / "agents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "support_agents", module)
    spec.loader.exec_module(module)
    return module


def served(agents: ModuleType, *script: dict[str, Any]) -> Client:
    """The desk under its own settings; the model says these lines."""
    settings = load_settings(HERE / "corral.yaml", env={}).settings
    sim = ProviderSettings(kind="sim", options={"ttft_ms": 0, "itl_ms": 0, "script": list(script)})
    models = msgspec.structs.replace(settings.models, providers={"sim": sim}, default="sim/small")
    return Client(agents.app, msgspec.structs.replace(settings, models=models))


def test_an_order_is_looked_up(agents: ModuleType) -> None:
    """The classifier, a tool, and the answer."""
    script = [
        {"match": "ORD-7781", "times": 1, "tool": {"name": "order_status", "input": {"order_id": "ORD-7781"}}},
        {"match": "ORD-7781", "reply": "Your saddle is on its way: RR-4471-AT."},
    ]
    with served(agents, *script) as client:
        answer = client.invoke("Where is my order ORD-7781?")
    assert answer.text == "Your saddle is on its way: RR-4471-AT."


def test_what_no_tool_said_is_not_told(agents: ModuleType) -> None:
    """The critic sends an invented tracking number back."""
    script = [
        {"match": "ORD-7781", "times": 1, "tool": {"name": "order_status", "input": {"order_id": "ORD-7781"}}},
        {"match": "/^Where is my order/", "reply": "It is on its way: XX-9999-ZZ."},
        {"match": "XX-9999-ZZ", "reply": "It is on its way: RR-4471-AT."},
    ]
    with served(agents, *script) as client:
        answer = client.invoke("Where is my order ORD-7781?")
    assert answer.text == "It is on its way: RR-4471-AT."


def test_the_handbook_is_searched(agents: ModuleType) -> None:
    """What the retriever finds is what the simulated model answers from."""
    asks = {"name": "search_handbook", "input": {"question": "return a saddle"}}
    with served(agents, {"match": "return", "times": 1, "tool": asks}) as client:
        events = client.invoke({"prompt": "How long do I have to return a saddle?", "stream": True}).pieces
    hand_off = next(event for event in events if event["type"] == "hand_off")
    assert hand_off["to"] == "handbook"
    found = next(event for event in events if event["type"] == "tool_finished")
    assert "within 30 days" in str(found["content"])
    assert "30 days" in events[-1]["output"]


def test_small_talk_costs_nothing(agents: ModuleType) -> None:
    """Code answers what nobody else is for."""
    with served(agents) as client:
        events = client.invoke({"prompt": "Are you a horse?", "stream": True}).pieces
    assert events[-1]["type"] == "finished"
    assert events[-1]["usage"] == {}
    assert "ORD-7781" in events[-1]["output"]


@pytest.mark.parametrize(("amount", "given"), [(20, 20.0), (200, 0.0)])
def test_a_large_refund_waits_for_a_person(agents: ModuleType, amount: int, given: float) -> None:
    """A rule in `corral.yaml`, whatever the model wants."""
    refund = {"name": "refund", "input": {"order_id": "ORD-7781", "amount_eur": amount}}
    script = [{"match": "money back", "times": 1, "tool": refund}, {"match": "money back", "reply": "It is done."}]
    with served(agents, *script) as client:
        answer = client.invoke("I want my money back for order ORD-7781")
    assert agents.crm.order("ORD-7781")["refunded_eur"] == given
    if not given:
        assert answer.value["status"] == "paused"
        assert answer.value["approvals"][0]["rule"] == "larger refunds need a person"
