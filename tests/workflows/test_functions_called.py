"""Functions do the work of tasks: by ARN, through `lambda:invoke` and by name, each within its own bounds."""

import asyncio
import functools
import json
import threading
from typing import TypedDict

import msgspec
import pytest
from flow_scene import INVOKE, LAMBDA, begun, done, events, over, task

from corral import App, current_context


class Order(msgspec.Struct):
    item: str
    count: int = 1


class Ticket(TypedDict):
    id: int


class Odd(Exception):
    pass


class _Callable:
    async def __call__(self, payload):
        return {"called": payload}


def handler(event, context):
    return {
        "event": event,
        "name": context.function_name,
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "request": context.aws_request_id,
        "left": context.get_remaining_time_in_millis(),
        "group": context.log_group_name,
        "stream": context.log_stream_name,
        "tenant": current_context().tenant,
    }


async def echo(event):
    return event


def in_thread(event):
    return {"event": event, "thread": threading.current_thread() is not threading.main_thread()}


def fails(event):
    raise Odd(f"cannot {event}")


async def leaves(_event):
    raise SystemExit(3)


def ordered(order: Order):
    return f"{order.count} {order.item}"


async def ticket(ticket: Ticket, context):
    return [ticket["id"], context.idempotency_key is not None, context.job_id is not None]


async def pieces(event):
    for word in event:
        yield word


def numbers(event):
    yield from range(event)


async def slow(_event):
    await asyncio.sleep(30)


def hands_back(event):
    return asyncio.sleep(0, {"later": event})


@pytest.fixture
def app():
    app = App()
    app.functions.add_handlers(
        {
            "handler": handler,
            "raw": lambda _event, _context: b'{"raw": true}',
            "broken": lambda _event, _context: b"{",
            "strange": lambda _event, _context: object(),
            "no_arguments": lambda: "none",
        }
    )
    for fn in (echo, in_thread, fails, leaves, ordered, ticket, pieces, numbers, hands_back):
        app.function(fn)
    app.function(timeout_s=0.05)(slow)
    app.function(name="object")(_Callable())
    app.function(name="partial")(functools.partial(lambda first, event: [first, event], "first"))
    return app


async def all_done(service, wanted):
    """Executions of one Task each, all at once."""
    return await asyncio.gather(*(done(service, definition, given) for definition, given in wanted))


async def test_a_handler_gets_what_lambda_passes(build, app):
    service = await build(app)
    info = await done(service, task(LAMBDA + "handler"), {"a": 1})
    assert info.status == "SUCCEEDED", info.cause
    said = info.output
    assert said["event"] == {"a": 1}
    assert (said["name"], said["version"], said["memory"]) == ("handler", "$LATEST", "128")
    assert said["arn"] == LAMBDA + "handler"
    assert said["group"] == "/aws/lambda/handler"
    assert said["stream"].startswith("[$LATEST]")
    assert 800_000 < said["left"] <= 900_000
    assert said["request"]
    assert said["tenant"] == "default"
    assert await events(service, info) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


async def test_every_kind_of_function(build, app):
    service = await build(app)
    wanted = {
        "echo": ([1, {"b": None}], [1, {"b": None}]),
        "in_thread": (1, {"event": 1, "thread": True}),
        "raw": ({}, {"raw": True}),
        "no_arguments": ({}, "none"),
        "ordered": ({"item": "tea", "count": 2}, "2 tea"),
        "ticket": ({"id": 7}, [7, True, True]),
        "pieces": (["a", "b"], "ab"),
        "numbers": (3, [0, 1, 2]),
        "hands_back": (5, {"later": 5}),
        "object": (5, {"called": 5}),
        "partial": (5, ["first", 5]),
    }
    found = await all_done(service, [(task(f"corral:function:{name}"), one[0]) for name, one in wanted.items()])
    assert [(info.status, info.output, info.cause) for info in found] == [
        ("SUCCEEDED", output, None) for _, output in wanted.values()
    ]


async def test_how_functions_fail(build, app):
    service = await build(app)
    wanted = {
        "fails": ("Odd", "cannot fly"),
        "leaves": ("SystemExit", "3"),
        "broken": ("Runtime.MarshalError", "not JSON text"),
        "strange": ("Runtime.MarshalError", "Object of type object is not JSON serializable"),
        "slow": ("Sandbox.Timedout", "Task timed out after 0.05 seconds"),
    }
    found = await all_done(service, [(task(LAMBDA + name), "fly") for name in wanted])
    for info, (error, said) in zip(found, wanted.values(), strict=True):
        assert (info.status, info.error) == ("FAILED", error)
        cause = json.loads(info.cause)
        assert cause["errorType"] == error
        assert said in cause["errorMessage"]
        assert cause["requestId"]
    (frame,) = json.loads(found[0].cause)["stackTrace"]
    assert frame.endswith('in fails\n    raise Odd(f"cannot {event}")\n')


async def test_a_payload_that_is_not_what_a_function_takes(build, app):
    service = await build(app)
    info = await done(service, task("corral:function:ordered"), {"count": "two"})
    assert (info.status, info.error) == ("FAILED", "ValidationFailed")


async def test_invoke_answers_as_the_service_does(build, app):
    service = await build(app)
    info = await done(service, task(INVOKE, {"FunctionName": LAMBDA + "echo:$LATEST", "Payload": {"x": 1}}))
    said = info.output
    assert (said["Payload"], said["StatusCode"], said["ExecutedVersion"]) == ({"x": 1}, 200, "$LATEST")
    headers = said["SdkHttpMetadata"]["HttpHeaders"]
    assert headers["Content-Length"] == "7"
    assert headers["x-amzn-RequestId"] == said["SdkResponseMetadata"]["RequestId"]
    assert said["SdkHttpMetadata"]["AllHttpHeaders"] == {name: [value] for name, value in headers.items()}
    assert said["SdkHttpMetadata"]["HttpStatusCode"] == 200


async def test_a_payload_that_is_text_is_json(build, app):
    service = await build(app)
    wanted = [('"text"', "text"), ("0.5", 0.5), ("", {}), (["x"], ["x"]), ('{"a":[]}', {"a": []})]
    found = await all_done(
        service, [(task(INVOKE, {"FunctionName": "echo", "Payload": payload}), None) for payload, _ in wanted]
    )
    assert [info.output["Payload"] for info in found] == [event for _, event in wanted]


async def test_what_invoke_refuses(build, app):
    service = await build(app)
    wanted = [
        (
            {"FunctionName": "none"},
            "Lambda.ResourceNotFoundException",
            f"Function not found: {LAMBDA}none:$LATEST (Ser",
        ),
        ({"FunctionName": "not a name"}, "Lambda.ValidationException", "FunctionName"),
        ({"FunctionName": "echo", "InvocationType": "Now"}, "Lambda.ValidationException", "Event or DryRun"),
        ({"FunctionName": "echo", "Payload": "{no"}, "Lambda.InvalidRequestContentException", "Could not parse"),
    ]
    found = await all_done(service, [(task(INVOKE, parameters), None) for parameters, _, _ in wanted])
    for info, (_, error, said) in zip(found, wanted, strict=True):
        assert (info.status, info.error) == ("FAILED", error)
        assert said in info.cause


async def test_a_name_that_is_nearly_right(build, app):
    service = await build(app)
    info = await done(service, task("corral:function:echoo"))
    assert (info.error, info.cause) == (
        "Corral.FunctionNotFound",
        "There is no function named 'echoo'; did you mean 'echo'?.",
    )


async def test_dry_runs_and_logs(build, app):
    service = await build(app)
    dry = await done(service, task(INVOKE, {"FunctionName": "fails", "InvocationType": "DryRun"}))
    assert (dry.output["StatusCode"], dry.output["Payload"]) == (204, "")
    tail = await done(service, task(INVOKE, {"FunctionName": "echo", "LogType": "Tail", "Payload": {}}))
    assert tail.output["LogResult"]


async def test_nobody_waits_for_an_event(build):
    app, heard = App(), asyncio.Queue()

    @app.function
    async def note(event):
        heard.put_nowait(event)
        raise Odd

    service = await build(app, jobs={"retry_initial_s": 0.001})
    info = await done(service, task(INVOKE, {"FunctionName": "note", "InvocationType": "Event", "Payload": {"n": 1}}))
    assert (info.status, info.output["StatusCode"]) == ("SUCCEEDED", 202)
    async with asyncio.timeout(20):
        assert await heard.get() == {"n": 1}
        assert await heard.get() == {"n": 1}, "it is tried again by itself"


async def test_retries_of_a_functions_own(build):
    app, calls = App(), []

    @app.function(retries=2)
    async def shaky(event):
        calls.append(current_context().idempotency_key)
        if len(calls) < 3:
            raise Odd
        return event

    service = await build(app)
    info = await done(service, task("corral:function:shaky"), {"x": 1})
    assert info.output == {"x": 1}
    assert len(calls) == 3
    assert len(set(calls)) == 1, "every call of a task has its token as the key"
    calls.clear()
    info = await done(service, task("corral:function:shaky"), {"x": 2}, kind="EXPRESS")
    assert info.output == {"x": 2}
    assert len(calls) == 3


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_what_a_function_does_to_its_event_stays_with_it(build, kind):
    app, seen = App(), []

    @app.function(retries=1)
    async def spoils(event):
        seen.append(sorted(event))
        event["spoiled"] = True
        if len(seen) == 1:
            raise Odd("once more")
        return "done"

    service = await build(app)
    definition = {
        "StartAt": "Do",
        "States": {"Do": task("corral:function:spoils", ResultPath="$.said")["States"]["Do"]},
    }
    info = await done(service, definition, {"text": "x" * 20_000}, kind=kind)
    assert seen == [["text"], ["text"]]
    assert sorted(info.output) == ["said", "text"]


async def test_only_so_many_calls_at_once(build):
    app = App()
    now = most = 0

    @app.function(concurrency=2)
    async def few(event):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return event

    each = {
        "StartAt": "All",
        "States": {
            "All": {
                "Type": "Map",
                "End": True,
                "ItemProcessor": task("corral:function:few"),
            }
        },
    }
    service = await build(app)
    info = await done(service, each, [1, 2, 3, 4, 5])
    assert (info.output, most) == ([1, 2, 3, 4, 5], 2)
    most = 0
    info = await done(service, each, [1, 2, 3, 4, 5], kind="EXPRESS")
    assert (info.output, most) == ([1, 2, 3, 4, 5], 2)


async def test_a_task_that_nobody_waits_for_is_stopped(build):
    app = App()
    begun_here, stopped = asyncio.Event(), asyncio.Event()

    @app.function
    async def long(_event):
        begun_here.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    service = await build(app)
    info = await begun(service, task("corral:function:long"))
    async with asyncio.timeout(20):
        await begun_here.wait()
        await service.flowing.engine.stop("default", info.id)
        await stopped.wait()
    assert (await over(service, info)).status == "ABORTED"


async def test_heartbeats_come_by_themselves(build):
    app = App()

    @app.function
    async def steady(event):
        await asyncio.sleep(1.3)
        return event

    service = await build(app)
    info = await done(service, task("corral:function:steady", HeartbeatSeconds=1, TimeoutSeconds=30), {"x": 1})
    assert (info.status, info.output) == ("SUCCEEDED", {"x": 1})


async def test_an_express_execution_calls_here_and_now(build, app):
    service = await build(app)
    info = await done(service, task("corral:function:echo"), {"x": 1}, kind="EXPRESS")
    assert (info.status, info.output) == ("SUCCEEDED", {"x": 1})
    info = await done(service, task(LAMBDA + "fails"), "x", kind="EXPRESS")
    assert (info.status, info.error) == ("FAILED", "Odd")


async def test_a_result_that_is_too_large(build):
    app = App()
    app.function(name="large")(lambda _event: "a" * 300_000)
    service = await build(app)
    info = await done(service, task("corral:function:large"))
    assert (info.status, info.error) == ("FAILED", "States.DataLimitExceeded")
