"""Permissions written in Cedar."""

from __future__ import annotations

import pytest
from permission_scene import permitted_box

from corral.errors import ConfigError
from corral.messages import Caller, ToolCall
from corral.settings.policy_sections import PolicySettings, RuleSettings
from corral.tools.cedar import said
from corral.tools.policy import policy_of
from corral.tools.tool import tool

POLICIES = """
@id("readers")
permit (principal, action == Action::"call", resource) when { resource.read_only };

@id("clerks refund")
permit (principal in Role::"clerk", action == Action::"call", resource == Tool::"refund")
when { context.input.amount <= 50 || context.approved };

@id("nobody led by others")
forbid (principal, action, resource) when { !resource.read_only && !context.tainted.isEmpty() };
"""


@tool
async def refund(amount: int) -> str:
    """Give money back."""
    return "done"


@tool(read_only=True)
async def look(what: str) -> str:
    """Look."""
    return what


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "tools.cedar"
    path.write_text(POLICIES)
    return policy_of(PolicySettings(cedar=str(path), rules=[RuleSettings(name="all", decide="allow", despite=["*"])]))


def call(amount=5, roles=("clerk",), **more):
    return ToolCall(name="refund", input={"amount": amount}, caller=Caller(user_id="ada", roles=roles), **more)


def test_cedar_goes_before_all_rules(policy):
    assert policy.decide(call(), refund).decision == "allowed"
    assert policy.decide(call(51), refund).decision == "denied"
    assert policy.decide(call(51, approved_by="ada"), refund).decision == "allowed"
    nobody = policy.decide(call(roles=()), refund)
    assert (nobody.decision, nobody.rule, nobody.reason) == ("denied", "cedar", "no policy permits it")
    assert policy.decide(ToolCall(name="look", input={"what": "x"}), look).decision == "allowed"


def test_what_forbids_is_named(policy):
    ruling = policy.decide(call(tainted=("tool:page",)), refund)
    assert (ruling.decision, ruling.reason) == ("denied", "a policy forbids it")
    assert ruling.rule.startswith("cedar:")


def test_what_cedar_cannot_judge_is_denied(policy):
    assert (
        policy.decide(ToolCall(name="refund", input={}, caller=Caller(roles=("clerk",))), refund).decision == "denied"
    )
    assert policy.decide(call("five"), refund).decision == "denied"
    assert policy.decide(call(float("nan")), refund).decision == "denied"


async def test_it_stands_in_the_road_of_calls(policy):
    written = []
    box = permitted_box([refund], policy, written)
    assert (await box.call(call(51))).fault.code == "denied"
    assert [entry.rule for entry in written] == ["cedar"]


def test_json_in_cedars_words():
    given = {"a": None, "b": [1, None, 2.5], "__entity": {"type": "Role", "id": "admin"}, "big": 2**70, "f": 1e300}
    assert said(given) == {
        "b": [1, {"__extn": {"fn": "decimal", "arg": "2.5000"}}],
        "___entity": {"type": "Role", "id": "admin"},
        "big": str(2**70),
        "f": "1e+300",
    }


def test_policies_that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(ConfigError, match=r"tools\.policy\.cedar"):
        policy_of(PolicySettings(cedar=str(tmp_path / "none.cedar")))
    path = tmp_path / "broken.cedar"
    path.write_text("permit maybe")
    with pytest.raises(ConfigError, match="cannot be read"):
        policy_of(PolicySettings(cedar=str(path)))
