"""The flows of tickets, with a model that follows a script and a person who answers."""

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
CUSTOMER = "ada@example.com"
SCRIPT = [
    {"match": "The customer wrote", "reply": "You will have it soon."},
    {"match": "EUR", "reply": "Refund"},
    {"match": "saddle", "reply": "care"},
]


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's module, fresh for each test: its helpdesk is written to."""
    spec = importlib.util.spec_from_file_location("ticket_agents", HERE / "agents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ticket_agents", module)
    spec.loader.exec_module(module)
    return module


class Desk(Client):
    """The app under its own settings; the model says the lines of the script."""

    def __init__(self, agents: ModuleType) -> None:
        settings = load_settings(HERE / "corral.yaml", env={}).settings
        sim = ProviderSettings(kind="sim", options={"ttft_ms": 0, "itl_ms": 0, "script": SCRIPT})
        models = msgspec.structs.replace(settings.models, providers={"sim": sim}, default="sim/small")
        workflows = msgspec.structs.replace(settings.workflows, folder=str(HERE / "workflows"))
        super().__init__(agents.app, msgspec.structs.replace(settings, models=models, workflows=workflows))

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> Any:
        """One request, and its answer as JSON."""
        body = b"" if content is None else msgspec.json.encode(content)
        status, _, answer = self.request(method, path, body, headers)
        assert status in {200, 202}, answer
        return msgspec.json.decode(answer)

    def begin(self, workflow: str, given: dict[str, Any], *, wait: str = "20s") -> Any:
        """An execution, over if it can be."""
        return self.ask("POST", f"/v1/workflows/{workflow}/executions?wait={wait}", {"input": given})

    def question(self) -> Any:
        """What a person is asked."""
        while not (found := self.ask("GET", "/v1/approvals?status=waiting")["items"]):
            assert self.ask("GET", "/v1/executions?status=running")["items"], self.ask("GET", "/v1/executions")
        return found[0]

    def ended(self, execution: str) -> Any:
        """How an execution ended."""
        return self.ask("GET", f"/v1/executions/{execution}?wait=20s")


@pytest.fixture
def desk(agents: ModuleType) -> Iterator[Desk]:
    """A running one."""
    with Desk(agents) as opened:
        yield opened


def test_a_question_is_answered_from_the_handbook(desk: Desk, agents: ModuleType) -> None:
    """Every step of the flow, and none that asks a person."""
    ended = desk.begin("support", {"text": "How do I care for my saddle?", "customer": CUSTOMER})
    assert ended["status"] == "succeeded", ended
    assert ended["output"] == {"number": "T-1", "kind": "care", "answer": "You will have it soon.", "paid": 0}
    assert agents.TICKETS["T-1"]["status"] == "answered"
    history = desk.ask("GET", f"/v1/executions/{ended['id']}/history?limit=1000")["items"]
    entered = [event["details"]["name"] for event in history if event["type"].endswith("StateEntered")]
    assert entered[:3] == ["Receive", "Classify", "Retrieve"]
    assert entered[-2:] == ["Update ticket", "Respond"]


def test_a_refund_waits_for_a_person_and_the_flow_goes_on(desk: Desk) -> None:
    """Two workflows, one question, and an amount that the person changed."""
    begun = desk.begin("support", {"text": "I want my 200 EUR back.", "customer": CUSTOMER}, wait="0")
    asked = desk.question()
    assert asked["message"] == "Pay 200 EUR back to ada@example.com?"
    assert (asked["workflow"], asked["state"], asked["assignee"]) == ("refund", "Ask", "support-leads")
    answer = {"decision": "approve", "form": {"amount": 150}, "note": "it is scratched"}
    desk.ask("POST", f"/v1/approvals/{asked['id']}", answer, **{"x-user-id": "grace"})
    ended = desk.ended(begun["id"])
    assert ended["status"] == "succeeded", ended
    assert (ended["output"]["kind"], ended["output"]["paid"]) == ("refund", 150)


@pytest.mark.parametrize(("amount", "decision", "paid"), [(20, None, 20), (80, "approve", 80), (80, "reject", 0)])
def test_who_may_give_money_back(desk: Desk, amount: int, decision: str | None, paid: int) -> None:
    """A little is paid at once; more is a person's decision."""
    begun = desk.begin("refund", {"amount": amount, "customer": CUSTOMER}, wait="0")
    if decision is not None:
        desk.ask("POST", f"/v1/approvals/{desk.question()['id']}", {"decision": decision})
    ended = desk.ended(begun["id"])
    assert (ended["status"], ended["output"]["paid"]) == ("succeeded", paid), ended
