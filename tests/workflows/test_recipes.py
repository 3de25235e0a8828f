"""What the recipes show is what the example runs: `examples/tickets/test_tickets.py` tries it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from corral.app import App
from corral.workflows.language.checking import faults
from corral.workflows.tasks.approvals import asked_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/tickets"
BLOCK = re.compile(r"```(python|yaml)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block for kind, block in BLOCK.findall(text) if kind == language]


def test_the_flow_that_is_shown_is_the_one_that_runs() -> None:
    (shown,) = blocks("recipes/support-flow.md", "yaml")
    assert shown == (EXAMPLE / "workflows/support.asl.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["recipes/support-flow.md", "recipes/approval-flow.md"])
def test_the_code_that_is_shown_is_the_one_that_runs(page: str) -> None:
    code = (EXAMPLE / "agents.py").read_text(encoding="utf-8")
    assert [block for block in blocks(page, "python") if block.strip() not in code] == []


def test_the_definition_on_the_page_is_valid() -> None:
    first, *_ = blocks("workflows.md", "yaml")
    assert faults(yaml.safe_load(first)) == []


def test_the_workflow_that_is_built_on_the_page_can_be_built() -> None:
    (built,) = [block for block in blocks("workflows.md", "python") if "app.add(triage)" in block]
    app = App()
    exec(built, {"app": app})
    (workflow,) = app.workflows
    assert list(workflow.definition()["States"]) == ["classify", "route", "allow", "answer"]


def test_the_state_that_is_shown_asks_what_can_be_asked() -> None:
    (shown,) = blocks("recipes/approval-flow.md", "yaml")
    states = yaml.safe_load(shown) | {"Allowed?": {"Type": "Succeed"}}
    assert faults({"QueryLanguage": "JSONata", "StartAt": "Ask", "States": states}) == []
    asked = asked_of(states["Ask"]["Arguments"])
    assert (asked.otherwise, asked.deadline_s, asked.assignee_after(3600)) == ("reject", 86_400, "head-of-support")
