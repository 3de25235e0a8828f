"""Executions and their tasks, as boto3 asks for them."""

from __future__ import annotations

import asyncio
import json

import pytest
from job_scene import until
from stepfunctions_scene import PASS, PREFIX, ROLE, WAITS, StepFunctions, flow, flows

FAILS = flow({"Type": "Fail", "Error": "Bad", "Cause": "because"})


async def over(step_functions, arn, tenant="acme"):
    """Wait until an execution is over."""
    async with asyncio.timeout(20):
        await step_functions.service.flowing.engine.ended(tenant, arn)


async def test_an_execution_is_described(sfn, step_functions):
    machine = await sfn.machine()
    begun = await sfn.start_execution(stateMachineArn=machine, name="first", input='{"a": 1}')
    arn = f"{PREFIX}:execution:flow:first"
    assert begun["executionArn"] == arn
    await over(step_functions, arn)
    shown = await sfn.describe_execution(executionArn=arn)
    stopped = shown.pop("stopDate")
    assert stopped >= begun["startDate"]
    assert shown == {
        "executionArn": arn,
        "stateMachineArn": machine,
        "name": "first",
        "status": "SUCCEEDED",
        "startDate": begun["startDate"],
        "input": '{"a":1}',
        "inputDetails": {"included": True},
        "output": '{"a":1}',
        "outputDetails": {"included": True},
        "redriveCount": 0,
        "redriveStatus": "NOT_REDRIVABLE",
        "redriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
    }
    bare = await sfn.describe_execution(executionArn=arn, includedData="METADATA_ONLY")
    assert not bare.keys() & {"input", "output"}
    assert bare["outputDetails"] == {"included": False}


async def test_a_name_is_an_execution(sfn):
    machine = await sfn.machine(definition=WAITS)
    first = await sfn.start_execution(stateMachineArn=machine, name="one", input="{}")
    assert await sfn.start_execution(stateMachineArn=machine, name="one", input=" {} ") == first
    code, message = await sfn.refused("start_execution", stateMachineArn=machine, name="one", input="[]")
    assert (code, message) == ("ExecutionAlreadyExists", f"Execution Already Exists: '{first['executionArn']}'")


async def test_versions_and_aliases_are_begun_and_listed_by_themselves(sfn):
    machine = await sfn.machine(publish=True)
    alias = (
        await sfn.create_state_machine_alias(
            name="live", routingConfiguration=[{"stateMachineVersionArn": f"{machine}:1", "weight": 100}]
        )
    )["stateMachineAliasArn"]
    arns = {of: await sfn.begun(of) for of in (machine, f"{machine}:1", alias)}
    shown = await sfn.describe_execution(executionArn=arns[alias])
    assert shown["stateMachineArn"] == machine
    assert (shown["stateMachineVersionArn"], shown["stateMachineAliasArn"]) == (f"{machine}:1", alias)
    listed = {of: (await sfn.list_executions(stateMachineArn=of))["executions"] for of in arns}
    assert {one["executionArn"] for one in listed[machine]} == set(arns.values())
    assert [one["executionArn"] for one in listed[alias]] == [arns[alias]]
    assert {one["executionArn"] for one in listed[f"{machine}:1"]} == {arns[alias], arns[f"{machine}:1"]}


async def test_what_an_execution_began_with_stays(sfn):
    machine = await sfn.machine(definition=WAITS)
    before = await sfn.begun(machine)
    revision = (await sfn.update_state_machine(stateMachineArn=machine, definition=PASS))["revisionId"]
    after = await sfn.begun(machine)
    shown = await sfn.describe_state_machine_for_execution(executionArn=before)
    assert (shown["definition"], shown["roleArn"], shown["name"]) == (WAITS, ROLE, "flow")
    assert "revisionId" not in shown
    shown = await sfn.describe_state_machine_for_execution(executionArn=after)
    assert (shown["definition"], shown["revisionId"]) == (PASS, revision)
    version = (await sfn.publish_state_machine_version(stateMachineArn=machine))["stateMachineVersionArn"]
    of_version = await sfn.begun(version)
    await sfn.update_state_machine(stateMachineArn=machine, definition=WAITS, roleArn=f"{ROLE}-2")
    shown = await sfn.describe_state_machine_for_execution(executionArn=of_version)
    assert (shown["stateMachineArn"], shown["definition"], shown["roleArn"]) == (version, PASS, ROLE)
    assert shown["revisionId"] == revision


async def test_lists_come_filtered_and_in_pages(sfn, step_functions):
    machine = await sfn.machine(definition=WAITS)
    arns = [await sfn.begun(machine, name=f"x{number}") for number in range(3)]
    stopped = await sfn.stop_execution(executionArn=arns[0], error="E", cause="c")
    assert stopped["stopDate"]
    page = await sfn.list_executions(stateMachineArn=machine, maxResults=2)
    rest = await sfn.list_executions(stateMachineArn=machine, maxResults=2, nextToken=page["nextToken"])
    assert [one["name"] for one in page["executions"] + rest["executions"]] == ["x2", "x1", "x0"]
    aborted = await sfn.list_executions(stateMachineArn=machine, statusFilter="ABORTED", redriveFilter="NOT_REDRIVEN")
    assert [one["executionArn"] for one in aborted["executions"]] == [arns[0]]
    assert (await sfn.list_executions(stateMachineArn=machine, redriveFilter="REDRIVEN"))["executions"] == []
    shown = await sfn.describe_execution(executionArn=arns[0])
    assert (shown["status"], shown["error"], shown["cause"]) == ("ABORTED", "E", "c")
    assert await sfn.refused("list_executions", stateMachineArn=machine, nextToken="nonsense") == (
        "InvalidToken",
        "Invalid Token: 'Invalid token'",
    )


async def test_a_history_is_read_forwards_backwards_in_pages_and_without_data(sfn, step_functions):
    machine = await sfn.machine(definition=flow({"Type": "Pass", "Assign": {"x": 1}}))
    arn = await sfn.begun(machine, input='{"a":1}')
    await over(step_functions, arn)
    whole = (await sfn.get_execution_history(executionArn=arn))["events"]
    assert [(one["id"], one["previousEventId"], one["type"]) for one in whole] == [
        (1, 0, "ExecutionStarted"),
        (2, 0, "PassStateEntered"),
        (3, 2, "PassStateExited"),
        (4, 3, "ExecutionSucceeded"),
    ]
    assert whole[0]["executionStartedEventDetails"]["roleArn"] == ROLE
    assert whole[1]["stateEnteredEventDetails"] == {
        "name": "A",
        "input": '{"a":1}',
        "inputDetails": {"truncated": False},
    }
    assert whole[2]["stateExitedEventDetails"]["assignedVariables"] == {"x": "1"}
    first = await sfn.get_execution_history(executionArn=arn, maxResults=3)
    second = await sfn.get_execution_history(executionArn=arn, maxResults=3, nextToken=first["nextToken"])
    assert first["events"] + second["events"] == whole
    assert "nextToken" not in second
    first = await sfn.get_execution_history(executionArn=arn, maxResults=3, reverseOrder=True)
    second = await sfn.get_execution_history(executionArn=arn, reverseOrder=True, nextToken=first["nextToken"])
    assert first["events"] + second["events"] == whole[::-1]
    bare = (await sfn.get_execution_history(executionArn=arn, includeExecutionData=False))["events"]
    assert bare[1]["stateEnteredEventDetails"] == {"name": "A", "inputDetails": {"truncated": False}}
    assert (await sfn.refused("get_execution_history", executionArn=arn, nextToken="x"))[0] == "InvalidToken"


async def test_an_execution_that_failed_is_redriven(sfn, step_functions):
    arn = await sfn.begun(await sfn.machine(definition=FAILS))
    await over(step_functions, arn)
    shown = await sfn.describe_execution(executionArn=arn)
    assert (shown["status"], shown["error"], shown["cause"], shown["redriveStatus"]) == (
        "FAILED",
        "Bad",
        "because",
        "REDRIVABLE",
    )
    redriven = await sfn.redrive_execution(executionArn=arn, clientToken="one")
    await over(step_functions, arn)
    assert await sfn.redrive_execution(executionArn=arn, clientToken="one") == redriven
    shown = await sfn.describe_execution(executionArn=arn)
    assert (shown["redriveCount"], shown["status"]) == (1, "FAILED")
    fine = await sfn.begun(await sfn.machine("fine"))
    await over(step_functions, fine)
    assert await sfn.refused("redrive_execution", executionArn=fine) == (
        "ExecutionNotRedrivable",
        "Execution is SUCCEEDED and cannot be redriven",
    )


async def test_more_than_a_tenant_may_have_open_are_refused(serve):
    server = await serve(flows(), workflows={"open_max": 1})
    one = await asyncio.to_thread(StepFunctions, server.port)
    machine = await one.machine(definition=WAITS)
    await one.begun(machine)
    assert (await one.refused("start_execution", stateMachineArn=machine))[0] == "ExecutionLimitExceeded"
    one.close()


async def test_what_is_too_long_in_bytes_is_refused(sfn):
    machine = await sfn.machine()
    text = json.dumps("ä" * 200_000, ensure_ascii=False)
    assert (await sfn.refused("start_execution", stateMachineArn=machine, input=text))[0] == "InvalidExecutionInput"
    assert (await sfn.refused("send_task_success", taskToken="x", output=text))[0] == "InvalidOutput"


async def test_functions_are_called_as_lambda_functions(sfn, step_functions):
    name = "arn:aws:lambda:us-east-1:000000000000:function:"
    good = await sfn.begun(
        await sfn.machine(definition=flow({"Type": "Task", "Resource": f"{name}echo"})), input='{"a":1}'
    )
    bad = await sfn.begun(await sfn.machine("bad", flow({"Type": "Task", "Resource": f"{name}broken"})), input='"x"')
    for arn in (good, bad):
        await over(step_functions, arn)
    assert json.loads((await sfn.describe_execution(executionArn=good))["output"]) == {"a": 1}
    shown = await sfn.describe_execution(executionArn=bad)
    assert (shown["status"], shown["error"]) == ("FAILED", "ValueError")
    assert json.loads(shown["cause"])["errorMessage"] == "x"


async def test_an_express_execution_is_answered_at_once(sfn):
    machine = await sfn.machine(type="EXPRESS")
    done = await sfn.start_sync_execution(stateMachineArn=machine, name="quick", input='{"a":1}')
    assert done["executionArn"].startswith(f"{PREFIX}:express:flow:quick:")
    assert (done["status"], done["output"], done["stateMachineArn"]) == ("SUCCEEDED", '{"a":1}', machine)
    assert done["billingDetails"] == {"billedDurationInMilliseconds": 100, "billedMemoryUsedInMB": 64}
    bare = await sfn.start_sync_execution(stateMachineArn=machine, includedData="METADATA_ONLY")
    assert not bare.keys() & {"input", "output"}
    failed = await sfn.start_sync_execution(stateMachineArn=await sfn.machine("bad", FAILS, type="EXPRESS"))
    assert (failed["status"], failed["error"], failed["cause"]) == ("FAILED", "Bad", "because")
    begun = await sfn.begun(machine)
    assert begun.startswith(f"{PREFIX}:express:flow:")
    assert (await sfn.refused("describe_execution", executionArn=begun))[0] == "InvalidArn"


# -- activities and tokens ----------------------------------------------------------------------------------------------


@pytest.fixture
async def work(sfn):
    """An activity, and an execution that waits for it."""
    activity = (await sfn.create_activity(name="work"))["activityArn"]
    machine = await sfn.machine("works", flow({"Type": "Task", "Resource": activity, "HeartbeatSeconds": 60}))
    return activity, machine


async def test_activities_are_declared(sfn):
    made = await sfn.create_activity(name="work", tags=[{"key": "a", "value": "1"}])
    assert await sfn.create_activity(name="work") == made
    arn = made["activityArn"]
    assert await sfn.describe_activity(activityArn=arn) == {
        "activityArn": arn,
        "name": "work",
        "creationDate": made["creationDate"],
        "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
    }
    assert (await sfn.list_activities())["activities"] == [{**made, "name": "work"}]
    await sfn.delete_activity(activityArn=arn)
    await sfn.delete_activity(activityArn=arn)
    assert (await sfn.list_activities())["activities"] == []


async def test_a_worker_asks_for_work_and_answers(sfn, work, step_functions):
    activity, machine = work
    asking = asyncio.create_task(sfn.get_activity_task(activityArn=activity, workerName="w"))
    arn = await sfn.begun(machine, input='{"a":1}')
    task = await asking
    assert json.loads(task["input"]) == {"a": 1}
    await sfn.send_task_heartbeat(taskToken=task["taskToken"])
    await sfn.send_task_success(taskToken=task["taskToken"], output='{"b":2}')
    await over(step_functions, arn)
    assert json.loads((await sfn.describe_execution(executionArn=arn))["output"]) == {"b": 2}
    for call in ("send_task_heartbeat", "send_task_failure"):
        assert await sfn.refused(call, taskToken=task["taskToken"]) == (
            "TaskTimedOut",
            "Task Timed Out: 'Provided task does not exist anymore'",
        )
    kinds = [one["type"] for one in (await sfn.get_execution_history(executionArn=arn))["events"]]
    assert kinds[2:5] == ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"]


async def test_a_worker_fails(sfn, work, step_functions):
    activity, machine = work
    arn = await sfn.begun(machine)
    task = await sfn.get_activity_task(activityArn=activity)
    await sfn.send_task_failure(taskToken=task["taskToken"], error="E", cause="c")
    await over(step_functions, arn)
    shown = await sfn.describe_execution(executionArn=arn)
    assert (shown["status"], shown["error"], shown["cause"]) == ("FAILED", "E", "c")


async def test_who_waits_for_work_is_let_go_when_the_server_ends(sfn, work, step_functions):
    activity, _ = work
    api = step_functions.service.flowing.step_functions
    asking = asyncio.create_task(sfn.get_activity_task(activityArn=activity))
    await until(lambda: api.waiting)
    api.drain()
    assert await asking == {}
    assert await sfn.get_activity_task(activityArn=activity) == {}


async def test_a_worker_that_left_gets_no_work(sfn, work, step_functions):
    activity, machine = work
    api = step_functions.service.flowing.step_functions
    headers = {"x-api-key": "key-of-acme", "x-amz-target": "AWSStepFunctions.GetActivityTask"}
    client = step_functions.client_of(**headers)
    asking = asyncio.create_task(client.post("/", json={"activityArn": activity}))
    await until(lambda: api.waiting)
    asking.cancel()
    await asyncio.wait([asking])
    await client.aclose()
    await until(lambda: not api.waiting)
    await sfn.begun(machine)
    assert (await sfn.get_activity_task(activityArn=activity))["taskToken"]


async def test_a_task_is_ended_by_its_token(sfn, step_functions):
    arn = "arn:aws:states:::lambda:invoke.waitForTaskToken"
    parameters = {"FunctionName": "echo", "Payload": {"token.$": "$$.Task.Token"}}
    machine = await sfn.machine(definition=flow({"Type": "Task", "Resource": arn, "Parameters": parameters}))
    execution = await sfn.begun(machine)
    token = None
    async with asyncio.timeout(20):
        while token is None:
            events = (await sfn.get_execution_history(executionArn=execution))["events"]
            scheduled = [one for one in events if one["type"] == "TaskScheduled"]
            if scheduled:
                details = scheduled[0]["taskScheduledEventDetails"]
                token = json.loads(details["parameters"])["Payload"]["token"]
    await sfn.send_task_success(taskToken=token, output='"done"')
    await over(step_functions, execution)
    assert (await sfn.describe_execution(executionArn=execution))["output"] == '"done"'


async def test_a_state_is_tried_by_itself(sfn):
    state = json.dumps({"Type": "Pass", "Parameters": {"b.$": "$.a"}, "Next": "There"})
    tried = await sfn.test_state(definition=state, input='{"a": 1}', inspectionLevel="DEBUG")
    assert (tried["status"], tried["nextState"], json.loads(tried["output"])) == ("SUCCEEDED", "There", {"b": 1})
    assert json.loads(tried["inspectionData"]["afterParameters"]) == {"b": 1}
    task = {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:echo", "End": True}
    tried = await sfn.test_state(definition=json.dumps(task), roleArn=ROLE, input='{"a": 1}')
    assert (tried["status"], json.loads(tried["output"])) == ("SUCCEEDED", {"a": 1})
    assert await sfn.refused("test_state", definition=json.dumps(task)) == (
        "ValidationException",
        "RoleArn must be specified when testing a Task state",
    )
    assert (await sfn.refused("test_state", definition=state, input="{"))[0] == "InvalidExecutionInput"
    assert (await sfn.refused("test_state", definition="{}"))[0] == "InvalidDefinition"


# -- tenants --------------------------------------------------------------------------------------------------------------


async def test_tenants_see_nothing_of_each_other(sfn_of, step_functions):
    acme, other = await sfn_of("acme"), await sfn_of("other")
    activity = (await acme.create_activity(name="work"))["activityArn"]
    machine = await acme.machine(definition=flow({"Type": "Task", "Resource": activity}), publish=True)
    alias = (
        await acme.create_state_machine_alias(
            name="live", routingConfiguration=[{"stateMachineVersionArn": f"{machine}:1", "weight": 100}]
        )
    )["stateMachineAliasArn"]
    execution = await acme.begun(machine)
    token = (await acme.get_activity_task(activityArn=activity))["taskToken"]

    assert await other.list_state_machines() == {"stateMachines": []}
    assert await other.list_activities() == {"activities": []}
    routing = [{"stateMachineVersionArn": f"{machine}:1", "weight": 100}]
    gone = {
        "describe_state_machine": {"stateMachineArn": machine},
        "update_state_machine": {"stateMachineArn": machine, "roleArn": ROLE},
        "publish_state_machine_version": {"stateMachineArn": machine},
        "list_state_machine_versions": {"stateMachineArn": machine},
        "list_state_machine_aliases": {"stateMachineArn": machine},
        "list_executions": {"stateMachineArn": machine},
        "start_execution": {"stateMachineArn": machine},
        "start_sync_execution": {"stateMachineArn": machine},
        "create_state_machine_alias": {"name": "mine", "routingConfiguration": routing},
        "update_state_machine_alias": {"stateMachineAliasArn": alias, "description": "mine"},
        "describe_state_machine_alias": {"stateMachineAliasArn": alias},
        "describe_execution": {"executionArn": execution},
        "describe_state_machine_for_execution": {"executionArn": execution},
        "get_execution_history": {"executionArn": execution},
        "stop_execution": {"executionArn": execution},
        "redrive_execution": {"executionArn": execution},
        "describe_activity": {"activityArn": activity},
        "get_activity_task": {"activityArn": activity},
        "tag_resource": {"resourceArn": machine, "tags": []},
        "untag_resource": {"resourceArn": machine, "tagKeys": []},
        "list_tags_for_resource": {"resourceArn": machine},
        "send_task_success": {"taskToken": token, "output": "1"},
        "send_task_failure": {"taskToken": token},
        "send_task_heartbeat": {"taskToken": token},
    }
    for call, given in gone.items():
        code, _ = await other.refused(call, **given)
        assert code.endswith(("DoesNotExist", "ResourceNotFound", "TaskTimedOut")), (call, code)
    for call, given in {
        "delete_state_machine": {"stateMachineArn": machine},
        "delete_state_machine_version": {"stateMachineVersionArn": f"{machine}:1"},
        "delete_state_machine_alias": {"stateMachineAliasArn": alias},
        "delete_activity": {"activityArn": activity},
    }.items():
        assert await getattr(other, call)(**given) == {}
    await acme.describe_state_machine_alias(stateMachineAliasArn=alias)
    await acme.describe_activity(activityArn=activity)
    await acme.send_task_success(taskToken=token, output="1")
    await over(step_functions, execution)
    assert (await acme.describe_execution(executionArn=execution))["status"] == "SUCCEEDED"
    assert await other.machine(definition=WAITS) == machine
