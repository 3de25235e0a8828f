"""Workflows written in Python: what comes out is a definition and nothing else."""

from __future__ import annotations

import json

import pytest

from corral import App, Workflow
from corral.errors import ConfigError
from corral.workflows.builder import Catch, Retry, steps, when
from corral.workflows.language.fault import DefinitionInvalid
from corral.workflows.language.reading import read


def states(workflow: Workflow):
    return workflow.definition()["States"]


def test_steps_follow_one_another():
    made = Workflow("w", comment="Why", timeout_s=60).shape("a", {"x": 1}).wait("b", 5).succeed("c")
    assert made.definition() == {
        "Comment": "Why",
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 60,
        "StartAt": "a",
        "States": {
            "a": {"Type": "Pass", "Output": {"x": 1}, "Next": "b"},
            "b": {"Type": "Wait", "Seconds": 5, "Next": "c"},
            "c": {"Type": "Succeed"},
        },
    }
    assert json.loads(made.to_json()) == made.definition()
    assert read(made.to_json(indent=None)) == made.machine()


def test_the_last_step_is_the_end_and_more_may_be_written_after_a_look():
    made = Workflow("w").wait("a", until="2030-01-01T00:00:00Z")
    assert states(made)["a"] == {"Type": "Wait", "Timestamp": "2030-01-01T00:00:00Z", "End": True}
    assert states(made.shape("b"))["a"]["Next"] == "b"


@pytest.mark.parametrize(
    ("said", "resource"),
    [
        ({"agent": "a"}, "corral:agent:a"),
        ({"tool": "a", "callback": True}, "corral:tool:a.waitForTaskToken"),
        ({"function": "a"}, "corral:function:a"),
        ({"job": "a"}, "corral:job:a"),
        ({"workflow": "a"}, "arn:aws:states:::states:startExecution.sync:2"),
        ({"workflow": "a", "callback": True}, "arn:aws:states:::states:startExecution.waitForTaskToken"),
        (
            {"activity": "arn:aws:states:us-east-1:000000000000:activity:a"},
            "arn:aws:states:us-east-1:000000000000:activity:a",
        ),
        ({"resource": "arn:aws:states:::lambda:invoke"}, "arn:aws:states:::lambda:invoke"),
    ],
)
def test_a_task_names_who_does_it(said, resource):
    assert states(Workflow("w").task("t", **said))["t"]["Resource"] == resource


def test_a_task_says_how_it_is_tried_and_where_it_goes_on():
    made = Workflow("w").task(
        "t",
        function="f",
        arguments={"a": "{% $states.input.a %}"},
        timeout_s=30,
        heartbeat_s=5,
        output="{% $states.result.b %}",
        assign={"kept": "{% $states.result %}"},
        retry=[Retry(errors=["Busy"], attempts=5, interval_s=2, backoff=1.5, max_delay_s=60, jitter=True), Retry()],
        catch=Catch(
            then="handled", output="{% $states.errorOutput %}", assign={"why": "{% $states.errorOutput.Cause %}"}
        ),
        next="done",
        comment="Does it",
    )
    made.succeed("handled").succeed("done")
    assert states(made)["t"] == {
        "Type": "Task",
        "Resource": "corral:function:f",
        "Arguments": {"a": "{% $states.input.a %}"},
        "TimeoutSeconds": 30,
        "HeartbeatSeconds": 5,
        "Comment": "Does it",
        "Output": "{% $states.result.b %}",
        "Assign": {"kept": "{% $states.result %}"},
        "Retry": [
            {
                "ErrorEquals": ["Busy"],
                "IntervalSeconds": 2,
                "MaxAttempts": 5,
                "BackoffRate": 1.5,
                "MaxDelaySeconds": 60,
                "JitterStrategy": "FULL",
            },
            {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 3, "BackoffRate": 2.0},
        ],
        "Catch": [
            {
                "ErrorEquals": ["States.ALL"],
                "Next": "handled",
                "Output": "{% $states.errorOutput %}",
                "Assign": {"why": "{% $states.errorOutput.Cause %}"},
            }
        ],
        "Next": "done",
    }


def test_another_workflow_is_given_the_input_unless_something_else_is_said():
    made = states(Workflow("w").task("a", workflow="other").task("b", workflow="other", arguments={"x": 1}))
    assert made["a"]["Arguments"] == {"StateMachineArn": "other", "Input": "{% $states.input %}"}
    assert made["b"]["Arguments"] == {"StateMachineArn": "other", "Input": {"x": 1}}


def test_a_choice_leads_to_names_to_steps_of_its_own_and_on():
    made = (
        Workflow("w")
        .choice(
            "route",
            when("{% $states.input.kind = 'refund' %}", steps().shape("ask").shape("pay"), assign={"kind": "refund"}),
            when("{% $states.input.kind = 'spam' %}", "drop"),
            when(True, output={"x": 1}),
        )
        .shape("answer", next="done")
        .fail("drop", error="Spam", cause="Nobody reads it.")
        .succeed("done")
    )
    found = states(made)
    assert [(rule["Condition"], rule["Next"]) for rule in found["route"]["Choices"]] == [
        ("{% $states.input.kind = 'refund' %}", "ask"),
        ("{% $states.input.kind = 'spam' %}", "drop"),
        (True, "answer"),
    ]
    assert (found["route"]["Default"], found["ask"]["Next"], found["pay"]["Next"]) == ("answer", "pay", "answer")
    assert (found["route"]["Choices"][0]["Assign"], found["route"]["Choices"][2]["Output"]) == (
        {"kind": "refund"},
        {"x": 1},
    )


def test_choices_inside_of_choices_go_on_with_the_same_step():
    inner = steps().choice("inner", when(True, steps().shape("deep")), otherwise="last")
    found = states(Workflow("w").choice("outer", when(True, inner), otherwise=steps().shape("other")).shape("last"))
    assert (found["deep"]["Next"], found["other"]["Next"]) == ("last", "last")
    assert (found["outer"]["Default"], found["outer"]["Choices"][0]["Next"]) == ("other", "inner")


def test_branches_and_items_are_steps_of_their_own():
    made = (
        Workflow("w")
        .parallel("both", steps().shape("left"), steps().wait("pause", 1).shape("right"), arguments={"a": 1})
        .map(
            "each",
            steps().task("one", function="f"),
            items="{% $states.input.items %}",
            selector={"value": "{% $states.context.Map.Item.Value %}"},
            concurrency=5,
            distributed="EXPRESS",
            label="items",
            tolerated_failures=1,
            tolerated_failures_percent=2.5,
            batcher={"MaxItemsPerBatch": 10},
        )
    )
    found = states(made)
    assert found["both"]["Branches"][1]["States"]["right"]["End"] is True
    assert found["both"]["Arguments"] == {"a": 1}
    assert found["each"]["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}
    assert (found["each"]["ToleratedFailureCount"], found["each"]["ToleratedFailurePercentage"]) == (1, 2.5)
    assert (found["each"]["MaxConcurrency"], found["each"]["Label"], found["each"]["End"]) == (5, "items", True)


def test_people_are_asked_and_addresses_are_called():
    made = (
        Workflow("w")
        .approval(
            "ask", message="Go on?", choices=["yes", "no"], deadline_s=60, otherwise="no", escalate={30.0: "boss"}
        )
        .http(
            "call", "https://example.com", method="PUT", query={"q": 1}, body={"a": "{% $states.input %}"}, timeout_s=5
        )
    )
    found = states(made)
    assert found["ask"]["Arguments"] == {
        "message": "Go on?",
        "choices": ["yes", "no"],
        "deadline_s": 60,
        "otherwise": "no",
        "escalate": [{"after_s": 30.0, "assignee": "boss"}],
    }
    assert found["call"]["Arguments"] == {
        "url": "https://example.com",
        "method": "PUT",
        "query": {"q": 1},
        "body": {"a": "{% $states.input %}"},
    }


def test_a_state_of_the_language_may_stand_between_others():
    made = Workflow("w").state("raw", {"Type": "Pass", "Output": 1}).state("end", {"Type": "Succeed"})
    assert states(made)["raw"] == {"Type": "Pass", "Output": 1, "Next": "end"}


def test_what_cannot_be_is_said_when_it_is_built():
    with pytest.raises(ConfigError, match="There is a state 'a' already"):
        Workflow("w").shape("a").shape("a")
    with pytest.raises(ConfigError, match="'a' already"):
        Workflow("w").shape("a").choice("c", when(True, steps().shape("a")))
    with pytest.raises(ConfigError, match="names nobody: name one of agent"):
        Workflow("w").task("t")
    with pytest.raises(ConfigError, match="names agent and tool"):
        Workflow("w").task("t", agent="a", tool="b")
    with pytest.raises(ConfigError, match="named by the ARN"):
        Workflow("w").task("t", activity="a")
    with pytest.raises(ConfigError, match="say where it leads"):
        Workflow("w").choice("c", when(True)).definition()
    with pytest.raises(DefinitionInvalid, match="Missing 'Next' target: gone"):
        Workflow("w").shape("a", next="gone").succeed("b").definition()
    with pytest.raises(DefinitionInvalid, match="does not support approvals"):
        Workflow("w", kind="EXPRESS").approval("a", message="?").definition()


def test_an_app_has_workflows_each_name_once():
    app = App()
    first = app.add(Workflow("first").shape("a"))
    assert app.workflows == [first]
    with pytest.raises(ConfigError, match="two workflows with the name 'first'"):
        app.add(Workflow("first"))
    with pytest.raises(ConfigError, match="name of its own"):
        app.add(Workflow("second"), name="other")
