"""Trying one state."""

from __future__ import annotations

import json

import msgspec
import pytest
from machine_scene import RECORDED, Lambdas, recorded_module

from corral.errors import BadRequest, ValidationFailed
from corral.workflows.arns import Arns
from corral.workflows.failing import StateFailed
from corral.workflows.language.fault import DefinitionInvalid
from corral.workflows.machine.happening import TaskFailed, TaskSucceeded
from corral.workflows.testing_request import StateUntriable, TryInputInvalid
from corral.workflows.testing_state import Tried, TryRequest, try_state

ARNS = Arns(region="us-east-1", account="000000000000")


async def tried(definition, given=None, *, call_task=None, **members) -> Tried:
    request = {"definition": json.dumps(definition), "input": json.dumps({} if given is None else given), **members}
    return await try_state(msgspec.convert(request, TryRequest), arns=ARNS, call_task=call_task)


async def test_a_pass_state_shows_how_data_went_through_it():
    answer = await tried(
        {"Type": "Pass", "InputPath": "$.a", "Parameters": {"b.$": "$.x"}, "ResultPath": "$.out", "Next": "There"},
        {"a": {"x": 1}},
        inspectionLevel="TRACE",
    )
    assert answer.status == "SUCCEEDED"
    assert answer.next_state == "There"
    assert json.loads(answer.output or "") == {"a": {"x": 1}, "out": {"b": 1}}
    shown = {name: json.loads(text) for name, text in (answer.inspection_data or {}).items()}
    assert shown["afterInputPath"] == {"x": 1}
    assert shown["afterParameters"] == shown["afterResultSelector"] == {"b": 1}
    assert shown["afterResultPath"] == {"a": {"x": 1}, "out": {"b": 1}}


async def test_variables_are_given_and_shown_with_what_was_assigned():
    answer = await tried(
        {
            "Type": "Pass",
            "QueryLanguage": "JSONata",
            "Assign": {"y": "{% $x + 1 %}"},
            "Output": "{% $x %}",
            "End": True,
        },
        inspectionLevel="DEBUG",
        variables='{"x": 41}',
    )
    assert answer.output == "41"
    assert json.loads((answer.inspection_data or {})["variables"]) == {"x": 41, "y": 42}


async def test_a_wait_state_is_tried_without_waiting():
    answer = await tried({"Type": "Wait", "Seconds": 10_000, "Next": "Later"}, {"a": 1})
    assert (answer.status, answer.output, answer.next_state) == ("SUCCEEDED", '{"a":1}', "Later")


TASK = {
    "Type": "Task",
    "Resource": "arn:aws:states:::sqs:sendMessage",
    "Parameters": {"QueueUrl": "q", "MessageBody": "m"},
    "Retry": [{"ErrorEquals": ["Slow"], "IntervalSeconds": 3, "MaxAttempts": 2}],
    "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Sorry"}],
    "Next": "There",
}


@pytest.mark.parametrize(
    ("before", "status", "next_state", "details"),
    [
        (0, "RETRIABLE", None, {"retryIndex": 0, "retryBackoffIntervalSeconds": 3}),
        (1, "RETRIABLE", None, {"retryIndex": 0, "retryBackoffIntervalSeconds": 6}),
        (2, "CAUGHT_ERROR", "Sorry", {"catchIndex": 0}),
    ],
)
async def test_an_error_is_tried_again_until_it_is_caught(before, status, next_state, details):
    answer = await tried(
        TASK,
        {"a": 1},
        inspectionLevel="DEBUG",
        mock={"errorOutput": {"error": "Slow", "cause": "snail"}},
        stateConfiguration={"retrierRetryCount": before},
    )
    assert (answer.status, answer.error, answer.cause, answer.next_state) == (status, "Slow", "snail", next_state)
    assert (answer.inspection_data or {})["errorDetails"] == details
    if status == "CAUGHT_ERROR":
        assert json.loads(answer.output or "") == {"a": 1, "error": {"Error": "Slow", "Cause": "snail"}}


async def test_a_task_without_a_mock_is_done():
    async def call(order, facts):
        assert facts.role_arn == "arn:aws:iam::1:role/r"
        return TaskSucceeded(order.token, {"seen": order.payload})

    async def fail(order, facts):
        return TaskFailed(order.token, "Broken", "glass")

    task = {"Type": "Task", "Resource": "corral:function:add", "End": True}
    answer = await tried(task, {"a": 1}, call_task=call, roleArn="arn:aws:iam::1:role/r")
    assert answer.output == '{"seen":{"a":1}}'
    answer = await tried(task, {"a": 1}, call_task=fail, roleArn="arn:aws:iam::1:role/r")
    assert (answer.status, answer.error, answer.cause) == ("FAILED", "Broken", "glass")


@pytest.mark.parametrize(("failures", "items", "status"), [(1, 4, "SUCCEEDED"), (2, 4, "FAILED"), (1, 3, "FAILED")])
async def test_a_map_bears_as_many_failures_as_it_tolerates(failures, items, status):
    answer = await tried(
        {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"n.$": "$$.Map.Item.Value"},
            "ToleratedFailurePercentage": 25,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "One",
                "States": {"One": {"Type": "Pass", "End": True}},
            },
            "End": True,
        },
        {"items": list(range(items))},
        inspectionLevel="DEBUG",
        mock={"result": json.dumps([0] * items)},
        stateConfiguration={"mapIterationFailureCount": failures},
    )
    assert answer.status == status
    shown = answer.inspection_data or {}
    assert json.loads(shown["afterItemSelector"]) == [{"n": one} for one in range(items)]
    assert (shown["maxConcurrency"], shown["toleratedFailurePercentage"]) == (0, 25.0)


PASS = {"Type": "Pass", "End": True}
MAP = {
    "Type": "Map",
    "ItemsPath": "$.items",
    "ItemProcessor": {"StartAt": "In", "States": {"In": {**PASS, "Parameters": {"n.$": "$$.Map.Item"}}}},
    "End": True,
}
MANY = {"mapIterationFailureCount": 1}
SYNC = {
    "Type": "Task",
    "Resource": "arn:aws:states:::states:startExecution.sync:2",
    "Parameters": {"StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:m"},
    "End": True,
}
PARALLEL = {"Type": "Parallel", "Branches": [{"StartAt": "P", "States": {"P": PASS}}], "End": True}


async def test_a_state_within_a_map_sees_its_input_as_the_first_item():
    answer = await tried({"StartAt": "M", "States": {"M": MAP}}, {"a": 1}, stateName="In")
    assert answer.output == '{"n":{"Index":0,"Value":{"a":1}}}'


async def test_the_answer_of_an_execution_is_what_is_asked_of_it_until_it_ends():
    described = {
        "ExecutionArn": "x",
        "StateMachineArn": "m",
        "Status": "SUCCEEDED",
        "StartDate": "now",
        "Output": {"a": 1},
    }
    answer = await tried(SYNC, mock={"result": json.dumps(described)})
    assert answer.status == "SUCCEEDED"


@pytest.mark.parametrize(
    ("definition", "members", "refused", "said"),
    [
        (MAP, {"mock": {"result": "[1]"}, "variables": "1"}, ValidationFailed, "Invalid variables"),
        (PASS, {"input": "{"}, TryInputInvalid, "Invalid State Machine Execution Input"),
        (PASS, {"variables": "[]"}, ValidationFailed, "Invalid variables"),
        (PASS, {"mock": {"result": "1"}}, ValidationFailed, "State type 'Pass' is not supported"),
        (PARALLEL, {}, StateUntriable, "does not support Map or Parallel"),
        (PARALLEL, {"mock": {"result": "{}"}}, ValidationFailed, "must be an array"),
        (PARALLEL, {"mock": {"result": "[1, 2]"}}, ValidationFailed, "each of the 1 branches"),
        (MAP, {"mock": {"result": "[]"}, "stateConfiguration": MANY}, ValidationFailed, "number of items"),
        (SYNC, {"roleArn": "r"}, ValidationFailed, "only be tested when a mock"),
        (SYNC, {"mock": {"result": '{"ExecutionArn": "x"}'}}, ValidationFailed, "Required field .* is missing"),
        (TASK, {"mock": {}}, ValidationFailed, "only one of the following fields"),
        (TASK, {"mock": {"result": "{"}}, ValidationFailed, "must be valid JSON"),
        (TASK, {"mock": {"result": '{"MessageId": "1"}'}, "context": "[]"}, ValidationFailed, "must be an object"),
        (TASK, {"mock": {"result": '{"MessageId": 1}'}}, ValidationFailed, "Field 'MessageId' must be a string"),
        (TASK, {"roleArn": "r", "context": "{}"}, DefinitionInvalid, "not recognized"),
        ({"Type": "Pas"}, {}, DefinitionInvalid, "Type"),
        ({"Type": "Task", "Resource": "corral:function:f", "End": True}, {}, ValidationFailed, "RoleArn must be"),
        (
            {"Type": "Task", "Resource": "corral:function:f", "End": True},
            {"roleArn": "r"},
            StateUntriable,
            "a mock alone",
        ),
        (PASS, {"context": "{}"}, ValidationFailed, "only be specified when a mock"),
    ],
)
async def test_what_cannot_be_tried_is_refused(definition, members, refused, said):
    with pytest.raises(refused, match=said):
        await tried(definition, None if "input" in members else {"items": []}, **members)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings lie beside the repository, or nowhere")
async def test_states_are_tried_as_they_were_recorded():
    runner, lambdas = recorded_module("run"), Lambdas(recorded_module("functions").FUNCTIONS)

    async def call(order, _facts):
        try:
            return TaskSucceeded(order.token, lambdas(order))
        except StateFailed as failure:
            return TaskFailed(order.token, failure.error, failure.cause or "")

    wrong, cases = {}, json.loads((RECORDED / "cases" / "test_state.json").read_text())
    for case in cases:
        expected = case["expected"]
        try:
            answer = await try_state(msgspec.convert(case["args"], TryRequest), arns=ARNS, call_task=call)
        except BadRequest as error:
            raised = expected.get("exception", {})
            told = raised.get("Message") or raised.get("Raw", "").partition("operation: ")[2]
            if str(error) != told:
                wrong[case["name"]] = str(error)
            continue
        got = msgspec.to_builtins(answer)
        differing = [name for name in expected if not runner.same(expected[name], got.get(name))]
        if differing:
            wrong[case["name"]] = {name: got.get(name) for name in differing}
    # A JSON string is JSON text: the recording has lost its quotation marks.
    assert [name for name, got in wrong.items() if got != {"output": '"HelloWorld!"'}] == []
    assert len(wrong) <= 1
