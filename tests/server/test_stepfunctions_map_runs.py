"""Runs of distributed Maps, as boto3 asks for them."""

from __future__ import annotations

import asyncio
import json

from stepfunctions_scene import PREFIX, flow


def each(state: dict, **more) -> str:
    """A Map that begins an execution for every number in its input."""
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "One",
        "States": {"One": state},
    }
    return flow({"Type": "Map", "Label": "each", "ItemProcessor": processor, **more})


async def over(step_functions, arn):
    async with asyncio.timeout(20):
        await step_functions.service.flowing.engine.ended("acme", arn)


async def test_a_map_run_is_listed_described_and_its_children_are_executions(sfn, step_functions):
    arn = await sfn.begun(await sfn.machine(definition=each({"Type": "Pass", "End": True})), input="[1, 2, 3]")
    await over(step_functions, arn)
    assert json.loads((await sfn.describe_execution(executionArn=arn))["output"]) == [1, 2, 3]
    (run,) = (await sfn.list_map_runs(executionArn=arn))["mapRuns"]
    assert run["executionArn"] == arn
    assert run["mapRunArn"].startswith(f"{PREFIX}:mapRun:flow/each:")
    assert run["stateMachineArn"] == f"{PREFIX}:stateMachine:flow/each"
    shown = await sfn.describe_map_run(mapRunArn=run["mapRunArn"])
    assert (shown["status"], shown["executionArn"]) == ("SUCCEEDED", arn)
    for counts in (shown["itemCounts"], shown["executionCounts"]):
        assert (counts["succeeded"], counts["total"], counts["running"], counts["pending"]) == (3, 3, 0, 0)
    children = (await sfn.list_executions(mapRunArn=run["mapRunArn"]))["executions"]
    assert len(children) == 3
    assert {child["mapRunArn"] for child in children} == {run["mapRunArn"]}
    child = await sfn.describe_execution(executionArn=children[0]["executionArn"])
    assert child["mapRunArn"] == run["mapRunArn"]
    machine = await sfn.describe_state_machine_for_execution(executionArn=children[0]["executionArn"])
    assert (machine["label"], machine["mapRunArn"]) == ("each", run["mapRunArn"])
    assert await sfn.refused("update_map_run", mapRunArn=run["mapRunArn"], maxConcurrency=2) == (
        "ValidationException",
        "This map run is over.",
    )


async def test_a_map_run_goes_on_differently_and_is_its_tenants_own(sfn_of):
    acme, other = await sfn_of("acme"), await sfn_of("other")
    machine = await acme.machine(definition=each({"Type": "Wait", "Seconds": 99_999, "End": True}, MaxConcurrency=1))
    arn = await acme.begun(machine, input="[1, 2]")
    async with asyncio.timeout(20):
        while not (runs := (await acme.list_map_runs(executionArn=arn))["mapRuns"]):
            continue
        run = runs[0]["mapRunArn"]
        while (shown := await acme.describe_map_run(mapRunArn=run))["executionCounts"]["running"] < 1:
            continue
    assert (shown["status"], shown["maxConcurrency"], shown["toleratedFailureCount"]) == ("RUNNING", 1, 0)
    await acme.update_map_run(mapRunArn=run, maxConcurrency=2, toleratedFailureCount=1, toleratedFailurePercentage=12.5)
    shown = await acme.describe_map_run(mapRunArn=run)
    assert (shown["maxConcurrency"], shown["toleratedFailureCount"], shown["toleratedFailurePercentage"]) == (
        2,
        1,
        12.5,
    )
    missing = ("ResourceNotFound", f"Resource not found: '{run}'")
    assert await other.refused("describe_map_run", mapRunArn=run) == missing
    assert await other.refused("update_map_run", mapRunArn=run, maxConcurrency=1) == missing
    assert (await other.refused("list_map_runs", executionArn=arn))[0] == "ExecutionDoesNotExist"
    assert (await other.list_executions(mapRunArn=run))["executions"] == []
    assert (await acme.refused("describe_map_run", mapRunArn=machine))[0] == "InvalidArn"
    await acme.stop_execution(executionArn=arn)
