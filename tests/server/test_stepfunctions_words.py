"""What is refused, and in which words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import botocore
import pytest
from stepfunctions_scene import PASS, PREFIX, ROLE

from corral.server.stepfunctions.history import member_of
from corral.server.stepfunctions.shapes import SHAPES

FLOW = f"{PREFIX}:stateMachine:flow"
MODEL = Path(botocore.__file__).parent / "data/stepfunctions/2016-11-23/service-2.json.gz"


@pytest.fixture(scope="module")
def model():
    """What AWS's own client knows of the service."""
    with gzip.open(MODEL) as file:
        return json.load(file)


def test_every_operation_takes_what_the_clients_model_says(model):
    shapes = model["shapes"]

    def same(ours, name):
        theirs = shapes[name]
        kind = {"structure": "object", "list": "array", "long": "integer", "float": "number"}.get(
            theirs["type"], theirs["type"]
        )
        assert ours["type"] == kind, name
        if kind == "object":
            assert set(ours["properties"]) == set(theirs["members"]), name
            assert set(ours["required"]) == set(theirs.get("required", [])), name
            for member, one in ours["properties"].items():
                same(one, theirs["members"][member]["shape"])
        elif kind == "array":
            assert (ours["minItems"], ours.get("maxItems")) == (theirs.get("min", 0), theirs.get("max")), name
            same(ours["items"], theirs["member"]["shape"])
        elif kind == "string":
            assert (ours.get("minLength", 0), ours.get("maxLength")) == (theirs.get("min", 0), theirs.get("max")), name
            assert ours.get("enum") == theirs.get("enum"), name
            assert ("pattern" in ours) == ("pattern" in theirs), name
        elif kind in {"integer", "number"}:
            assert (ours.get("minimum"), ours.get("maximum")) == (theirs.get("min"), theirs.get("max")), name

    assert set(SHAPES) == set(model["operations"])
    for operation, ours in SHAPES.items():
        same(ours, model["operations"][operation]["input"]["shape"])


def test_every_type_of_event_has_the_member_that_the_clients_model_names(model):
    shapes = model["shapes"]
    members = set(shapes["HistoryEvent"]["members"]) - {"timestamp", "type", "id", "previousEventId"}
    named = {member_of(kind) for kind in shapes["HistoryEventType"]["enum"]} - {None}
    assert named == members


@pytest.mark.parametrize(
    ("operation", "given", "code", "says"),
    [
        ("create_activity", {"name": "a b"}, "InvalidName", "Invalid Name: 'a b'"),
        (
            "create_activity",
            {"name": "a" * 81},
            "ValidationException",
            (
                f"1 validation error detected: Value '{'a' * 81}' at 'name' failed to satisfy constraint: "
                "Member must have length less than or equal to 80"
            ),
        ),
        (
            "create_activity",
            {},
            "ValidationException",
            "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null",
        ),
        (
            "list_activities",
            {"maxResults": 1001},
            "ValidationException",
            (
                "1 validation error detected: Value '1001' at 'maxResults' failed to satisfy constraint: "
                "Member must have value less than or equal to 1000"
            ),
        ),
        (
            "start_execution",
            {"stateMachineArn": FLOW, "input": "x" * 262_145},
            "ValidationException",
            (
                "1 validation error detected: Value at 'input' failed to satisfy constraint: "
                "Member must have length less than or equal to 262144"
            ),
        ),
        (
            "create_state_machine_alias",
            {"name": "12", "routingConfiguration": [{"stateMachineVersionArn": f"{FLOW}:1", "weight": 101}]},
            "ValidationException",
            (
                "2 validation errors detected: Value '12' at 'name' failed to satisfy constraint: Member must satisfy regular"
                r" expression pattern: ^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$; Value '101' at"
                " 'routingConfiguration.1.member.weight' failed to satisfy constraint: Member must have value less than or"
                " equal to 100"
            ),
        ),
        ("describe_state_machine", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn: 'Invalid ARN prefix: x'"),
        (
            "describe_execution",
            {"executionArn": FLOW},
            "InvalidArn",
            "Invalid Arn: 'Resource type not valid in this context: stateMachine'",
        ),
        (
            "describe_execution",
            {"executionArn": f"{PREFIX}:execution:flow:none"},
            "ExecutionDoesNotExist",
            f"Execution Does Not Exist: '{PREFIX}:execution:flow:none'",
        ),
        (
            "get_execution_history",
            {"executionArn": f"{PREFIX}:execution:flow:none"},
            "ExecutionDoesNotExist",
            f"Execution Does Not Exist: '{PREFIX}:execution:flow:none'",
        ),
        (
            "start_execution",
            {"stateMachineArn": FLOW},
            "StateMachineDoesNotExist",
            f"State Machine Does Not Exist: '{FLOW}'",
        ),
        ("delete_state_machine", {"stateMachineArn": f"{FLOW}:1"}, "ValidationException", "operations of their own"),
        ("list_executions", {}, "ValidationException", "Exactly one of stateMachineArn and mapRunArn"),
        ("send_task_success", {"taskToken": "x", "output": "{}"}, "InvalidToken", "Invalid Token: 'Invalid token'"),
        ("send_task_success", {"taskToken": "x", "output": "{"}, "InvalidOutput", "Invalid Output: "),
        ("send_task_failure", {"taskToken": "x"}, "InvalidToken", "Invalid Token: 'Invalid token'"),
        ("send_task_heartbeat", {"taskToken": "x"}, "InvalidToken", "Invalid Token: 'Invalid token'"),
        (
            "get_activity_task",
            {"activityArn": f"{PREFIX}:activity:a"},
            "ActivityDoesNotExist",
            "Activity Does Not Exist: ",
        ),
        (
            "create_state_machine",
            {"name": "m", "definition": PASS, "roleArn": "nobody"},
            "InvalidArn",
            "Invalid Role Arn: 'nobody'",
        ),
        (
            "create_state_machine",
            {"name": "m", "definition": "{}", "roleArn": ROLE},
            "InvalidDefinition",
            "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: ",
        ),
        (
            "create_state_machine",
            {"name": "m", "definition": PASS, "roleArn": ROLE, "loggingConfiguration": {"level": "ALL"}},
            "InvalidLoggingConfiguration",
            "Invalid Logging Configuration: Must specify exactly one Log Destination.",
        ),
        (
            "create_state_machine",
            {
                "name": "m",
                "definition": PASS,
                "roleArn": ROLE,
                "loggingConfiguration": {"destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": "x"}}]},
            },
            "InvalidLoggingConfiguration",
            "is not a log group",
        ),
        (
            "create_state_machine",
            {"name": "m", "definition": PASS, "roleArn": ROLE, "versionDescription": "d"},
            "ValidationException",
            "Version description can only be set when publish is true",
        ),
        ("update_state_machine", {"stateMachineArn": FLOW, "roleArn": ROLE}, "StateMachineDoesNotExist", FLOW),
    ],
)
async def test_what_is_refused(sfn, operation, given, code, says):
    got, message = await sfn.refused(operation, **given)
    assert got == code
    assert says in message


async def test_what_stands_against_it(sfn):
    arn = await sfn.machine()
    code, message = await sfn.refused("create_state_machine", name="flow", definition=PASS + " ", roleArn=ROLE)
    assert (code, message) == ("StateMachineAlreadyExists", f"State Machine Already Exists: '{arn}'")
    assert (await sfn.refused("update_state_machine", stateMachineArn=arn))[0] == "MissingRequiredParameter"
    code, message = await sfn.refused("publish_state_machine_version", stateMachineArn=arn, revisionId="r")
    assert code == "ConflictException"
    assert message == (
        "Failed to publish the State Machine version for revision r. The current State Machine revision is INITIAL."
    )
    assert (await sfn.refused("start_sync_execution", stateMachineArn=arn))[0] == "StateMachineTypeNotSupported"
    for text in ("{", "1e999"):
        code, message = await sfn.refused("start_execution", stateMachineArn=arn, input=text)
        assert code == "InvalidExecutionInput"
        assert message.startswith("Invalid State Machine Execution Input: '")
    assert (await sfn.refused("start_execution", stateMachineArn=arn, name="a b"))[0] == "InvalidName"
    express = await sfn.machine("quick", type="EXPRESS")
    assert (await sfn.refused("list_executions", stateMachineArn=express))[0] == "StateMachineTypeNotSupported"
    assert (await sfn.refused("describe_state_machine", stateMachineArn=f"{arn}:none"))[0] == "StateMachineDoesNotExist"


@pytest.mark.parametrize(
    ("target", "body", "name"),
    [
        ("AWSStepFunctions.Nothing", b"{}", "UnknownOperationException"),
        ("DynamoDB_20120810.GetItem", b"{}", "UnknownOperationException"),
        ("AWSStepFunctions.ListActivities", b"{", "SerializationException"),
        ("AWSStepFunctions.ListActivities", b"[]", "ValidationException"),
        ("AWSStepFunctions.ListActivities", b'{"maxResults": "many"}', "ValidationException"),
    ],
)
async def test_what_is_no_request_of_this_protocol(step_functions, target, body, name):
    headers = {"x-api-key": "key-of-acme", "content-type": "application/x-amz-json-1.0"}
    answer = await step_functions.client.post("/", content=body, headers=headers | {"x-amz-target": target})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert answer.json()["__type"] == name
    assert answer.json()["message"]


async def test_an_unknown_operation_hears_which_there_are(step_functions):
    async def said(target):
        headers = {"x-api-key": "key-of-acme", "x-amz-target": target}
        return (await step_functions.client.post("/", content=b"{}", headers=headers)).json()["message"]

    words = await said("AWSStepFunctions.StartExecutions")
    assert (
        "no operation that is answered here: 'AWSStepFunctions.StartExecutions'. Did you mean 'StartExecution'?"
        in words
    )
    assert "There are: CreateActivity, CreateStateMachine," in words
    assert "There are those of AWSStepFunctions" in await said("AmazonSQS.ListQueues")


async def test_without_a_target_there_is_nothing(step_functions):
    answer = await step_functions.client.post("/", json={}, headers={"x-api-key": "key-of-acme"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_empty_body_is_an_empty_object_and_null_is_nothing(step_functions):
    headers = {"x-api-key": "key-of-acme", "x-amz-target": "AWSStepFunctions.ListActivities"}
    for body in (b"", b'{"maxResults": null}'):
        answer = await step_functions.client.post("/", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"activities": []})
        assert answer.headers["x-amzn-requestid"] == answer.headers["x-request-id"]


async def test_nobody_without_a_key(step_functions):
    answer = await step_functions.client.post(
        "/", content=b"{}", headers={"x-amz-target": "AWSStepFunctions.ListActivities"}
    )
    assert answer.status_code == 401
    assert answer.json()["__type"] == "UnrecognizedClientException"
