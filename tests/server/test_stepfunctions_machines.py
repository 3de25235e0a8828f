"""State machines, versions, aliases and tags, as boto3 asks for them."""

from __future__ import annotations

import json

import pytest
from stepfunctions_scene import PASS, PREFIX, ROLE, WAITS, flow

FLOW = f"{PREFIX}:stateMachine:flow"


async def test_a_machine_is_described_as_it_was_declared(sfn):
    text = json.dumps(json.loads(PASS), indent=4)
    made = await sfn.create_state_machine(
        name="flow",
        definition=text,
        roleArn=ROLE,
        tags=[{"key": "a", "value": "1"}],
        publish=True,
        versionDescription="first",
    )
    assert (made["stateMachineArn"], made["stateMachineVersionArn"]) == (FLOW, f"{FLOW}:1")
    shown = await sfn.describe_state_machine(stateMachineArn=FLOW)
    assert shown == {
        "stateMachineArn": FLOW,
        "name": "flow",
        "status": "ACTIVE",
        "definition": text,
        "roleArn": ROLE,
        "type": "STANDARD",
        "creationDate": made["creationDate"],
        "loggingConfiguration": {"level": "OFF", "includeExecutionData": False},
        "tracingConfiguration": {"enabled": False},
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
    }
    version = await sfn.describe_state_machine(stateMachineArn=f"{FLOW}:1")
    assert (version["stateMachineArn"], version["description"]) == (f"{FLOW}:1", "first")
    bare = await sfn.describe_state_machine(stateMachineArn=FLOW, includedData="METADATA_ONLY")
    assert "definition" not in bare
    assert (await sfn.list_tags_for_resource(resourceArn=FLOW))["tags"] == [{"key": "a", "value": "1"}]


async def test_configurations_are_kept(sfn):
    group = "arn:aws:logs:us-east-1:000000000000:log-group:/flows:*"
    logging = {
        "level": "ALL",
        "includeExecutionData": True,
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}],
    }
    encryption = {"type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": "k", "kmsDataKeyReusePeriodSeconds": 60}
    arn = await sfn.machine(
        loggingConfiguration=logging, tracingConfiguration={"enabled": True}, encryptionConfiguration=encryption
    )
    shown = await sfn.describe_state_machine(stateMachineArn=arn)
    assert shown["loggingConfiguration"] == logging
    assert shown["tracingConfiguration"] == {"enabled": True}
    assert shown["encryptionConfiguration"] == encryption
    await sfn.update_state_machine(
        stateMachineArn=arn,
        loggingConfiguration={"level": "OFF"},
        tracingConfiguration={"enabled": False},
        encryptionConfiguration={"type": "AWS_OWNED_KEY"},
    )
    shown = await sfn.describe_state_machine(stateMachineArn=arn)
    assert shown["loggingConfiguration"] == {"level": "OFF", "includeExecutionData": False}
    assert shown["encryptionConfiguration"] == {"type": "AWS_OWNED_KEY"}


async def test_variables_that_states_refer_to_are_named(sfn):
    definition = flow({"Type": "Pass", "Assign": {"x": 1}}, {"Type": "Pass", "Parameters": {"y.$": "$x"}})
    arn = await sfn.machine(definition=definition)
    assert (await sfn.describe_state_machine(stateMachineArn=arn))["variableReferences"] == {"B": ["x"]}


async def test_a_long_definition_is_described_as_well(sfn):
    definition = flow(
        {"Type": "Pass", "Assign": {"x": 1}}, {"Type": "Pass", "Parameters": {"y.$": "$x", "z": "z" * 20_000}}
    )
    arn = await sfn.machine(definition=definition)
    for _ in range(2):
        shown = await sfn.describe_state_machine(stateMachineArn=arn)
        assert (shown["variableReferences"], shown["definition"]) == ({"B": ["x"]}, definition)


async def test_updates_versions_and_aliases(sfn):
    arn = await sfn.machine()
    first = await sfn.update_state_machine(stateMachineArn=arn, definition=WAITS, publish=True, versionDescription="w")
    assert first["stateMachineVersionArn"] == f"{arn}:1"
    same = await sfn.publish_state_machine_version(stateMachineArn=arn, revisionId=first["revisionId"])
    assert same["stateMachineVersionArn"] == f"{arn}:1"
    await sfn.update_state_machine(stateMachineArn=arn, roleArn=f"{ROLE}-2")
    second = await sfn.publish_state_machine_version(stateMachineArn=arn, description="later")
    assert second["stateMachineVersionArn"] == f"{arn}:2"
    page = await sfn.list_state_machine_versions(stateMachineArn=arn, maxResults=1)
    assert [one["stateMachineVersionArn"] for one in page["stateMachineVersions"]] == [f"{arn}:2"]
    rest = await sfn.list_state_machine_versions(stateMachineArn=arn, nextToken=page["nextToken"])
    assert [one["stateMachineVersionArn"] for one in rest["stateMachineVersions"]] == [f"{arn}:1"]
    assert "nextToken" not in rest

    routing = [
        {"stateMachineVersionArn": f"{arn}:1", "weight": 20},
        {"stateMachineVersionArn": f"{arn}:2", "weight": 80},
    ]
    alias = (await sfn.create_state_machine_alias(name="live", description="d", routingConfiguration=routing))[
        "stateMachineAliasArn"
    ]
    shown = await sfn.describe_state_machine_alias(stateMachineAliasArn=alias)
    assert (shown["name"], shown["description"], shown["routingConfiguration"]) == ("live", "d", routing)
    for of in (arn, f"{arn}:2"):
        listed = await sfn.list_state_machine_aliases(stateMachineArn=of)
        assert [one["stateMachineAliasArn"] for one in listed["stateMachineAliases"]] == [alias]
    code, message = await sfn.refused("delete_state_machine_version", stateMachineVersionArn=f"{arn}:1")
    assert (code, "[live]" in message) == ("ConflictException", True)
    await sfn.update_state_machine_alias(
        stateMachineAliasArn=alias, description="", routingConfiguration=[{**routing[1], "weight": 100}]
    )
    shown = await sfn.describe_state_machine_alias(stateMachineAliasArn=alias)
    assert "description" not in shown
    await sfn.delete_state_machine_version(stateMachineVersionArn=f"{arn}:1")
    await sfn.delete_state_machine_alias(stateMachineAliasArn=alias)
    assert await sfn.refused("describe_state_machine_alias", stateMachineAliasArn=alias) == (
        "ResourceNotFound",
        "Request references a resource that does not exist.",
    )


async def test_lists_come_in_pages(sfn):
    arns = [await sfn.machine(f"flow{number}") for number in range(3)]
    first = await sfn.list_state_machines(maxResults=2)
    second = await sfn.list_state_machines(maxResults=2, nextToken=first["nextToken"])
    assert [one["stateMachineArn"] for one in first["stateMachines"] + second["stateMachines"]] == arns[::-1]
    assert "nextToken" not in second
    assert len((await sfn.list_state_machines(maxResults=0))["stateMachines"]) == 3
    token = ("InvalidToken", "Invalid Token: 'Invalid token'")
    assert await sfn.refused("list_state_machines", nextToken="nonsense") == token
    assert await sfn.refused("list_state_machine_versions", stateMachineArn=arns[0], nextToken="99") == token


async def test_a_deleted_machine_is_gone(sfn):
    arn = await sfn.machine()
    await sfn.delete_state_machine(stateMachineArn=arn)
    await sfn.delete_state_machine(stateMachineArn=arn)
    assert await sfn.refused("describe_state_machine", stateMachineArn=arn) == (
        "StateMachineDoesNotExist",
        f"State Machine Does Not Exist: '{arn}'",
    )


async def test_a_machine_with_executions_goes_with_the_last_of_them(sfn):
    arn = await sfn.machine(definition=WAITS)
    execution = await sfn.begun(arn)
    await sfn.delete_state_machine(stateMachineArn=arn)
    assert (await sfn.describe_state_machine(stateMachineArn=arn))["status"] == "DELETING"
    assert (await sfn.refused("start_execution", stateMachineArn=arn))[0] == "StateMachineDeleting"
    await sfn.stop_execution(executionArn=execution)
    assert (await sfn.refused("start_execution", stateMachineArn=arn))[0] == "StateMachineDoesNotExist"
    assert (await sfn.describe_state_machine_for_execution(executionArn=execution))["definition"] == WAITS


async def test_tags(sfn):
    arn = await sfn.machine()
    await sfn.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    await sfn.untag_resource(resourceArn=arn, tagKeys=["a", "none"])
    assert (await sfn.list_tags_for_resource(resourceArn=arn))["tags"] == [{"key": "b", "value": "2"}]
    many = [{"key": f"k{number}", "value": ""} for number in range(51)]
    assert (await sfn.refused("tag_resource", resourceArn=arn, tags=many))[0] == "TooManyTags"
    missing = f"{PREFIX}:stateMachine:none"
    assert await sfn.refused("tag_resource", resourceArn=missing, tags=[]) == (
        "ResourceNotFound",
        f"Resource not found: '{missing}'",
    )


@pytest.mark.parametrize(
    ("definition", "kind", "result", "codes"),
    [
        (PASS, "STANDARD", "OK", []),
        ("{}", "STANDARD", "FAIL", ["SCHEMA_VALIDATION_FAILED"]),
        ("not json", "EXPRESS", "FAIL", ["INVALID_JSON_DESCRIPTION"]),
    ],
)
async def test_a_definition_is_looked_at(sfn, definition, kind, result, codes):
    found = await sfn.validate_state_machine_definition(definition=definition, type=kind)
    assert (found["result"], found["truncated"]) == (result, False)
    assert sorted({one["code"] for one in found["diagnostics"]}) == codes


async def test_diagnostics_are_cut_to_what_was_asked_for(sfn):
    wrong = flow({"Type": "Task"}, {"Type": "Wait"}, {"Type": "Choice"})
    whole = await sfn.validate_state_machine_definition(definition=wrong)
    assert len(whole["diagnostics"]) > 1
    short = await sfn.validate_state_machine_definition(definition=wrong, maxResults=1)
    assert (len(short["diagnostics"]), short["truncated"]) == (1, True)
