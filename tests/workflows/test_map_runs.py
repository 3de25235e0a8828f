"""Distributed Maps on a real store and a real engine."""

from __future__ import annotations

import asyncio

import pytest
from map_scene import GET, PUT, SOME_FAIL, mapped, scene_on

import corral.backends.postgres.stores  # noqa: F401 - before any loop runs: importing reads files
from corral.backends.open import open_stores
from corral.errors import ValidationFailed
from corral.workflows.distributed.desk import forget
from corral.workflows.map_run_store import MapRunNotFound, MapRunOver
from corral.workflows.store import ExecutionQuery
from ready import ready_url

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return ready_url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
async def stores(url):
    opened = open_stores(url)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def scene(stores):
    async with scene_on(stores) as one:
        yield one


async def test_items_of_the_input_become_children(scene):
    info = await scene.run(mapped(ItemsPath="$.items"), {"items": [3, 1, 2]})
    assert (info.status, info.output) == ("SUCCEEDED", [3, 1, 2])
    assert await scene.events(info) == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    run = await scene.map_run(info)
    assert run.children.succeeded == run.items.succeeded == run.children.total == 3
    assert run.status == "SUCCEEDED"


async def test_items_are_read_from_objects_and_selected(scene):
    scene.kept.objects["b", "rows.csv"] = b"name,size\nada,1\nbob,2\n"
    reader = {
        "Resource": GET,
        "Parameters": {"Bucket": "b", "Key.$": "$.key"},
        "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
    }
    selector = {
        "n.$": "$$.Map.Item.Index",
        "who.$": "$$.Map.Item.Value.name",
        "of.$": "$.key",
        "from.$": "$$.Map.Item.Source",
    }
    info = await scene.run(mapped(ItemReader=reader, ItemSelector=selector), {"key": "rows.csv"})
    assert info.output == [
        {"n": 0, "who": "ada", "of": "rows.csv", "from": "S3://b/rows.csv"},
        {"n": 1, "who": "bob", "of": "rows.csv", "from": "S3://b/rows.csv"},
    ]


async def test_what_cannot_be_read_fails_the_map_run(scene):
    reader = {"Resource": GET, "Parameters": {"Bucket": "b", "Key": "none"}, "ReaderConfig": {"InputType": "JSON"}}
    info = await scene.run(mapped(ItemReader=reader))
    assert (info.status, info.error) == ("FAILED", "States.ItemReaderFailed")
    assert "does not exist" in info.cause
    assert (await scene.events(info))[3:] == ["MapRunStarted", "MapRunFailed", "MapStateFailed", "ExecutionFailed"]
    scene.kept.objects["b", "o"] = b'{"Hello": "world"}'
    reader["Parameters"]["Key"] = "o"
    info = await scene.run(mapped(ItemReader=reader))
    assert (info.error, info.cause) == ("States.ItemReaderFailed", "Attempting to map over non-iterable node.")
    reader["ReaderConfig"]["MaxItemsPath"] = "$.most"
    info = await scene.run(mapped(ItemReader=reader), {"most": -1})
    assert (info.error, info.cause) == ("States.ItemReaderFailed", "field MaxItems must be positive")
    catch = [{"ErrorEquals": ["States.ItemReaderFailed"], "Next": "Caught"}]
    machine = mapped(ItemReader=reader, Catch=catch)
    machine["States"]["Caught"] = {"Type": "Pass", "Result": "caught", "End": True}
    assert (await scene.run(machine, {"most": 0})).output == "caught"


async def test_batches_have_their_input_in_common(scene):
    batcher = {"MaxItemsPerBatch": 2, "BatchInput": {"job.$": "$.job"}}
    info = await scene.run(mapped(ItemsPath="$.items", ItemBatcher=batcher), {"job": 7, "items": [1, 2, 3, 4, 5]})
    assert info.output == [
        {"BatchInput": {"job": 7}, "Items": [1, 2]},
        {"BatchInput": {"job": 7}, "Items": [3, 4]},
        {"BatchInput": {"job": 7}, "Items": [5]},
    ]
    run = await scene.map_run(info)
    assert (run.children.total, run.items.total, run.items.succeeded) == (3, 5, 5)


async def test_a_failing_child_fails_the_state_unless_that_is_tolerated(scene):
    given = {"items": [1, -1, 2, -2, 3]}
    info = await scene.run(mapped(SOME_FAIL, ItemsPath="$.items"), given)
    assert (info.status, info.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    assert info.cause == "The specified tolerated failure threshold was exceeded"
    info = await scene.run(mapped(SOME_FAIL, ItemsPath="$.items", ToleratedFailureCount=2), given)
    assert info.status == "SUCCEEDED"
    assert [one for one in info.output if isinstance(one, int)] == [1, 2, 3]
    failed = info.output[1]
    assert (failed["Status"], failed["Error"], failed["Cause"], failed["Input"]) == (
        "FAILED",
        "Negative",
        "less than nothing",
        "-1",
    )
    info = await scene.run(mapped(SOME_FAIL, ItemsPath="$.items", ToleratedFailurePercentage=39.9), given)
    assert info.error == "States.ExceedToleratedFailureThreshold"
    info = await scene.run(mapped(SOME_FAIL, ItemsPath="$.items", ToleratedFailurePercentage=40), given)
    assert info.status == "SUCCEEDED"


async def test_express_children_leave_no_execution(scene):
    processor = {
        "StartAt": "Do",
        "States": {
            "Do": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": True},
        },
    }
    info = await scene.run(mapped(processor, "EXPRESS", ItemsPath="$.items"), {"items": list(range(30))})
    assert info.output == list(range(30))
    assert sorted(scene.calls) == list(range(30))
    assert (await scene.stores.executions.counts("acme", (await scene.map_run(info)).arn)) == {}


async def test_children_are_executions_with_a_history_of_their_own(scene):
    info = await scene.run(mapped(ItemsPath="$.items"), {"items": ["x", "y"]})
    run = await scene.map_run(info)
    page = await scene.engine.find("acme", query(run.arn))
    assert len(page.items) == 2
    child = await scene.engine.describe("acme", page.items[0].arn)
    assert child.machine_arn.endswith(":stateMachine:machine/each")
    assert ":execution:machine/each:" in child.arn
    assert child.map_run_arn == run.arn
    assert run.arn.startswith("arn:aws:states:us-east-1:000000000000:mapRun:machine/each:")
    assert await scene.events(child) == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]


async def test_results_are_written_to_files(scene):
    writer = {"Resource": PUT, "Parameters": {"Bucket": "out", "Prefix": "jobs"}}
    machine = mapped(SOME_FAIL, ItemsPath="$.items", ToleratedFailureCount=1, ResultWriter=writer)
    info = await scene.run(machine, {"items": [1, -1]})
    details = info.output["ResultWriterDetails"]
    assert info.output["MapRunArn"] == (await scene.map_run(info)).arn
    manifest = scene.kept.json(details["Bucket"], details["Key"])
    assert manifest["DestinationBucket"] == "out"
    assert {group: len(files) for group, files in manifest["ResultFiles"].items()} == {
        "FAILED": 1,
        "PENDING": 0,
        "SUCCEEDED": 1,
    }
    (file,) = manifest["ResultFiles"]["SUCCEEDED"]
    (good,) = scene.kept.json("out", file["Key"])
    assert file["Key"].startswith("jobs/")
    assert file["Key"].endswith("/SUCCEEDED_0.json")
    assert (good["Status"], good["Input"], good["Output"]) == ("SUCCEEDED", "1", "1")
    (bad,) = scene.kept.json("out", manifest["ResultFiles"]["FAILED"][0]["Key"])
    assert (bad["Status"], bad["Error"]) == ("FAILED", "Negative")
    closed = {"Resource": PUT, "Parameters": {"Bucket": "closed"}}
    info = await scene.run(mapped(ItemsPath="$.items", ResultWriter=closed), {"items": [1]})
    assert (info.error, info.cause) == ("States.ResultWriterFailed", "Access Denied")


@pytest.mark.parametrize(
    ("config", "name", "body"),
    [
        ({"OutputType": "JSONL", "Transformation": "COMPACT"}, "SUCCEEDED_0.jsonl", b"[1,2]\n[3]\n"),
        ({"OutputType": "JSON", "Transformation": "FLATTEN"}, "SUCCEEDED_0.json", b"[1,2,3]"),
    ],
)
async def test_results_are_transformed(scene, config, name, body):
    writer = {"Resource": PUT, "Parameters": {"Bucket": "out"}, "WriterConfig": config}
    info = await scene.run(mapped(ItemsPath="$.items", ResultWriter=writer), {"items": [[1, 2], [3]]})
    folder = info.output["ResultWriterDetails"]["Key"].removesuffix("/manifest.json")
    assert scene.kept.objects["out", f"{folder}/{name}"] == body
    plain = {"WriterConfig": config}
    info = await scene.run(mapped(ItemsPath="$.items", ResultWriter=plain), {"items": [[1, 2], [3]]})
    assert info.output == ([1, 2, 3] if config["Transformation"] == "FLATTEN" else [[1, 2], [3]])


async def test_a_result_that_is_too_large_fails(scene):
    item = "x" * 20_000
    info = await scene.run(mapped(ItemsPath="$.items"), {"items": [item] * 8})
    assert info.status == "SUCCEEDED"
    big = {"StartAt": "One", "States": {"One": {"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "End": True}}}
    info = await scene.run(mapped(big, ItemsPath="$.items"), {"items": [item] * 8})
    assert (info.status, info.error) == ("FAILED", "States.DataLimitExceeded")


async def test_no_items_are_no_trouble(scene):
    info = await scene.run(mapped(ItemsPath="$.items"), {"items": []})
    assert (info.status, info.output) == ("SUCCEEDED", [])


async def test_hundreds_of_children(scene):
    scene.kept.objects["b", "many.jsonl"] = b"".join(b'{"n": %d}\n' % n for n in range(300))
    reader = {
        "Resource": GET,
        "Parameters": {"Bucket": "b", "Key": "many.jsonl"},
        "ReaderConfig": {"InputType": "JSONL"},
    }
    info = await scene.run(mapped(ItemReader=reader, MaxConcurrency=100))
    assert info.output == [{"n": n} for n in range(300)]
    run = await scene.map_run(info)
    assert (run.children.succeeded, run.max_concurrency) == (300, 100)


async def test_stopping_the_parent_stops_the_children(scene):
    waiting = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    info = await scene.start(mapped(waiting, ItemsPath="$.items", MaxConcurrency=2), {"items": [1, 2, 3]})
    async with asyncio.timeout(20):
        while len((await scene.engine.find("acme", query(None))).items) < 3:  # noqa: ASYNC110 - the store has no event of ours
            await asyncio.sleep(0.01)
    await scene.engine.stop("acme", info.id)
    run = await scene.map_run(info)
    assert run.status == "ABORTED"
    assert (run.children.aborted, run.children.pending) == (2, 1)
    assert (await scene.events(info))[-2:] == ["MapRunAborted", "ExecutionAborted"]
    page = await scene.engine.find("acme", query(run.arn))
    assert [child.status for child in page.items] == ["ABORTED"] * 2


async def test_a_redrive_runs_what_failed_and_what_never_began(scene):
    processor = {
        "StartAt": "Do",
        "States": {
            "Do": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.ok", "BooleanEquals": True, "Next": "Good"}],
                "Default": "Bad",
            },
            "Good": {"Type": "Pass", "End": True},
            "Bad": {"Type": "Fail", "Error": "Bad"},
        },
    }
    given = {"items": [{"ok": True}, {"ok": False}, {"ok": True}, {"ok": True}]}
    info = await scene.run(mapped(processor, ItemsPath="$.items", MaxConcurrency=1), given)
    assert info.error == "States.ExceedToleratedFailureThreshold"
    run = await scene.map_run(info)
    assert (run.children.succeeded, run.children.failed, run.children.pending) == (1, 1, 2)
    again = await scene.engine.redrive("acme", info.id)
    info = await scene.engine.ended("acme", again.id)
    run = await scene.map_run(info)
    assert (run.redrives, run.children.succeeded, run.children.failed) == (1, 1, 1)
    children = (await scene.engine.find("acme", query(run.arn))).items
    assert sorted(child.redrives for child in children) == [0, 1]


async def test_a_map_run_can_be_changed_while_it_runs(scene):
    waiting = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    info = await scene.start(mapped(waiting, ItemsPath="$.items", MaxConcurrency=1), {"items": [1, 2]})
    async with asyncio.timeout(20):
        while not (runs := await scene.desk.of_execution("acme", info.id)) or not runs[0].children.running:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    arn = runs[0].arn
    await scene.desk.update("acme", arn, max_concurrency=0, tolerated_count=2, tolerated_percentage=50.0)
    changed = await scene.desk.describe("acme", arn)
    assert (changed.max_concurrency, changed.tolerated_count, changed.tolerated_percentage) == (0, 2, 50.0)
    for wrong in ({"max_concurrency": -1}, {"tolerated_count": -1}, {"tolerated_percentage": 101}):
        with pytest.raises(ValidationFailed):
            await scene.desk.update("acme", arn, **wrong)
    for tenant, name in (("other", arn), ("acme", arn + "x")):
        with pytest.raises(MapRunNotFound):
            await scene.desk.describe(tenant, name)
    await scene.engine.stop("acme", info.id)
    await scene.map_run(info)
    with pytest.raises(MapRunOver):
        await scene.desk.update("acme", arn, max_concurrency=1)
    assert await forget(scene.place, before=0.0) == 0
    assert await forget(scene.place, before=10e10) == 1
    assert await scene.desk.of_execution("acme", info.id) == []


async def test_an_object_s_members_are_items(scene):
    selector = {"key.$": "$$.Map.Item.Key", "value.$": "$$.Map.Item.Value"}
    info = await scene.run(mapped(ItemsPath="$.items", ItemSelector=selector), {"items": {"a": 1, "b": 2}})
    assert info.output == [{"key": "a", "value": 1}, {"key": "b", "value": 2}]


async def test_jsonata(scene):
    state = {
        "Items": "{% $states.input.items %}",
        "ItemSelector": {"n": "{% $states.context.Map.Item.Value * 2 %}"},
        "MaxConcurrency": "{% 1 + 1 %}",
        "ToleratedFailurePercentage": "{% 10 %}",
        "Output": "{% $sum($states.result.n) %}",
    }
    info = await scene.run(mapped(language="JSONata", **state), {"items": [1, 2, 3]})
    assert (info.status, info.output) == ("SUCCEEDED", 12)
    state["ItemSelector"] = {"n": "{% $states.context.Map.Item.Value.nothing %}"}
    info = await scene.run(mapped(language="JSONata", **state), {"items": [1, 2, 3]})
    assert info.error == "States.QueryEvaluationError"


def query(arn):
    return ExecutionQuery(map_run_arn=arn, limit=100)


FAILS_ONCE = {
    "StartAt": "Which",
    "States": {
        "Which": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$", "NumericGreaterThan": 0, "Next": "Good"},
                {"Variable": "$$.Execution.RedriveCount", "NumericGreaterThan": 0, "Next": "Good"},
            ],
        },
        "Good": {"Type": "Pass", "End": True},
    },
}


async def test_a_redriven_map_run_goes_on_in_the_same_executions(scene):
    given = {"items": [1, -1, 2, -2, 3]}
    info = await scene.run(mapped(FAILS_ONCE, ItemsPath="$.items", MaxConcurrency=1), given)
    assert info.error == "States.ExceedToleratedFailureThreshold"
    before = await scene.map_run(info)
    assert (before.children.succeeded, before.children.failed, before.children.pending) == (1, 1, 3)
    again = await scene.engine.redrive("acme", info.id)
    async with asyncio.timeout(20):
        info = await scene.engine.ended("acme", again.id)
    run = await scene.map_run(info)
    assert (run.arn, run.redrives) == (before.arn, 1)
    assert (run.children.succeeded, run.children.failed) == (3, 1), "the other one fails for its first time"
    again = await scene.engine.redrive("acme", info.id)
    async with asyncio.timeout(20):
        info = await scene.engine.ended("acme", again.id)
    assert (info.status, info.output) == ("SUCCEEDED", [1, -1, 2, -2, 3])
    run = await scene.map_run(info)
    assert (run.status, run.redrives, run.children.succeeded, run.children.failed) == ("SUCCEEDED", 2, 5, 0)
    children = (await scene.engine.find("acme", query(run.arn))).items
    assert sorted(child.redrives for child in children) == [0, 0, 0, 1, 1]
    events = await scene.events(info)
    assert events.count("MapRunRedriven") == 2
    assert events.count("MapRunStarted") == 1


async def test_express_children_that_failed_run_again(scene):
    processor = {
        "StartAt": "Do",
        "States": {"Do": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": True}},
    }
    machine = mapped(processor, "EXPRESS", ItemsPath="$.items", MaxConcurrency=1)
    info = await scene.run(machine, {"items": ["a", "fail", "b"]})
    assert info.error == "States.ExceedToleratedFailureThreshold"
    await scene.map_run(info)
    scene.broken = ()
    await scene.engine.redrive("acme", info.id)
    async with asyncio.timeout(20):
        info = await scene.engine.ended("acme", info.id)
    assert info.output == ["a", "fail", "b"]
    assert scene.calls == ["a", "fail", "fail", "b"]


async def test_items_that_could_not_be_read_are_read_by_a_redrive(scene):
    reader = {"Resource": GET, "Parameters": {"Bucket": "b", "Key": "late"}, "ReaderConfig": {"InputType": "JSON"}}
    info = await scene.run(mapped(ItemReader=reader))
    assert info.error == "States.ItemReaderFailed"
    await scene.map_run(info)
    scene.kept.objects["b", "late"] = b"[1, 2]"
    await scene.engine.redrive("acme", info.id)
    async with asyncio.timeout(20):
        info = await scene.engine.ended("acme", info.id)
    assert info.output == [1, 2]


async def test_a_retry_is_another_map_run(scene):
    retry = [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    info = await scene.run(mapped(SOME_FAIL, ItemsPath="$.items", Retry=retry), {"items": [-1]})
    assert info.status == "FAILED"
    runs = await scene.desk.of_execution("acme", info.id)
    assert len(runs) == 2
    assert [run.status for run in runs] == ["FAILED", "FAILED"]
    assert (await scene.events(info)).count("MapRunFailed") == 2


async def test_a_branch_that_is_given_up_stops_its_map_run(scene):
    waiting = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    machine = {
        "StartAt": "Both",
        "States": {
            "Both": {
                "Type": "Parallel",
                "End": True,
                "Branches": [
                    mapped(waiting, ItemsPath="$.items"),
                    {
                        "StartAt": "Wait",
                        "States": {
                            "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Bad"},
                            "Bad": {"Type": "Fail", "Error": "Bad"},
                        },
                    },
                ],
            }
        },
    }
    info = await scene.run(machine, {"items": [1, 2]})
    assert info.error == "Bad"
    run = await scene.map_run(info)
    assert (run.status, run.children.aborted) == ("ABORTED", 2)


async def test_distributed_maps_within_distributed_maps(scene):
    inner = mapped(Label="inner", ItemsPath="$.x")["States"]["Each"]
    machine = mapped({"StartAt": "In", "States": {"In": inner}}, ItemsPath="$.items")
    info = await scene.run(machine, {"items": [{"x": [1, 2]}, {"x": []}, {"x": [3]}]})
    assert info.output == [[1, 2], [], [3]]


async def test_what_was_not_begun_is_written_as_pending(scene):
    writer = {"Resource": PUT, "Parameters": {"Bucket": "out", "Prefix": "p/"}}
    machine = mapped(SOME_FAIL, ItemsPath="$.items", MaxConcurrency=1, ResultWriter=writer)
    info = await scene.run(machine, {"items": [1, -1, 2, 3]})
    assert info.error == "States.ExceedToleratedFailureThreshold"
    run = await scene.map_run(info)
    folder = f"p/{run.arn.rpartition(':')[2]}"
    pending = scene.kept.json("out", f"{folder}/PENDING_0.json")
    assert [(one["Status"], one["Input"]) for one in pending] == [("PENDING", "2"), ("PENDING", "3")]
    assert run.children.results_written == 2


async def test_a_child_knows_its_item(scene):
    processor = {
        "StartAt": "One",
        "States": {"One": {"Type": "Pass", "Parameters": {"of.$": "$$.Map.Item"}, "End": True}},
    }
    info = await scene.run(mapped(processor, ItemsPath="$.items"), {"items": ["x"]})
    assert info.output == [{"of": {"Index": 0, "Value": "x", "Source": "STATE_DATA"}}]
