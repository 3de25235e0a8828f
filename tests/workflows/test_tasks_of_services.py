"""Tasks that are agents, tools, addresses, jobs and other executions: each does its work on a real service."""

import asyncio

import httpx
import msgspec
import pytest
from flow_scene import begun, done, events, over, task

from corral import App
from corral.errors import ConfigError
from corral.jobs.job import JobDraft
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.builder import Workflow
from corral.workflows.functions import Functions
from corral.workflows.machine.happening import TaskSucceeded
from corral.workflows.machine.run import Behalf
from corral.workflows.tasks.jobs import job_id_of
from corral.workflows.tasks.queue import TaskQueue

START = "arn:aws:states:::states:startExecution"


# -- agents


@pytest.fixture
def app():
    app = App()

    @app.entrypoint(name="speaker")
    async def speaker(payload, context):
        await context.progress(0.5, "half way")
        for word in payload["prompt"].split():
            yield f"{word} "

    @app.entrypoint(name="memory")
    async def memory(payload, context):
        messages = await context.session.messages()
        return {"turn": len(messages), "payload": payload, "by": [context.user_id, list(context.roles)]}

    @app.entrypoint(name="failing")
    async def failing(payload):
        raise LookupError(f"no {payload}")

    app.function(name="echo")(lambda event: event)
    return app


async def test_an_agent_answers_as_it_does_in_a_job(build, app):
    service = await build(app)
    spoken = await done(service, task("corral:agent:speaker", {"prompt": "one two"}))
    assert (spoken.status, spoken.output) == ("SUCCEEDED", "one two ")
    failed = await done(service, task("corral:agent:failing"), "luck")
    assert (failed.status, failed.error) == ("FAILED", "LookupError")
    assert '"errorMessage":"no luck"' in failed.cause
    missing = await done(service, task("corral:agent:speeker"))
    assert (missing.error, "did you mean 'speaker'" in missing.cause) == ("AgentUnavailable", True)


async def test_an_agent_takes_its_turn_of_a_session(build, app):
    service = await build(app)
    definition = task("corral:agent:memory", {"prompt": "hello", "session": "s-1"})
    first = await done(service, definition)
    assert first.output == {"turn": 0, "payload": {"prompt": "hello"}, "by": [None, []]}
    second = await done(service, definition)
    assert second.output["turn"] == 2, "what was said in the first turn is there"


async def test_what_a_task_says_is_heard_while_it_runs(build):
    app, go_on = App(), asyncio.Event()

    @app.function
    async def slowly(event, context):
        yield "first"
        await context.progress(0.5, "half way")
        await go_on.wait()
        yield "last"

    service = await build(app)
    info = await begun(service, task("corral:function:slowly"))
    told = []
    async with asyncio.timeout(20):
        async for news in service.flowing.engine.follow("default", info.id):
            if hasattr(news, "data"):
                told.append(news.data)
                if {"progress": {"fraction": 0.5, "message": "half way"}} in told or len(told) == 2:
                    go_on.set()
    assert told[0] == "first"
    assert {"progress": {"fraction": 0.5, "message": "half way"}} in told
    assert (await over(service, info)).output == "firstlast"


async def test_who_listens_before_the_job_of_a_task_is_there_hears_it_all_the_same(build, app):
    service = await build(app)
    token = "01J00000000000000000000000.early"
    queue = TaskQueue(service.stores.jobs, service.hub, Functions(), WorkflowSettings())

    async def heard():
        return [data async for data in queue.progress("default", token)]

    listening = asyncio.get_running_loop().create_task(heard())
    await asyncio.sleep(0)
    draft = JobDraft(id=job_id_of(token), tenant="default", agent="speaker", input=b'{"prompt": "one two"}')
    await service.stores.jobs.enqueue([draft])
    async with asyncio.timeout(20):
        progress, *pieces = await listening
    assert progress == {"progress": {"fraction": 0.5, "message": "half way"}}
    assert "".join(pieces) == "one two "


async def test_a_task_that_waits_for_a_signal_gives_its_worker_back(build):
    app, steps = App(), []

    @app.entrypoint(name="patient")
    async def patient(payload, context):
        first = await context.step("look", look, payload["x"])
        return [first, await context.wait_for("go")]

    @app.function
    async def waits(event, context):
        return await context.wait_for("go")

    async def look(x):
        steps.append(x)
        return x + 1

    service = await build(app)
    agent = await begun(service, task("corral:agent:patient", {"x": 1}))
    function = await begun(service, task("corral:function:waits"))
    for info, output in ((agent, [2, "on"]), (function, "on")):
        (work,) = await service.flowing.engine.open_jobs("default", info.id)
        job_id, moved = job_id_of(work.token), asyncio.Event()
        async with asyncio.timeout(20):
            async for news in service.flowing.engine.follow("default", info.id):
                if getattr(news, "type", "") == "TaskStarted":
                    break
            follower = await service.hub.follow("default", job_id, moved.set, events=False)
            while follower.info.status != "waiting":
                await moved.wait()
                moved.clear()
            follower.close()
        await service.desk.signal("default", job_id, "go", "on")
        ended = await over(service, info)
        assert (ended.status, ended.output) == ("SUCCEEDED", output)
    assert steps == [1], "what was done before the wait is not done again"


# -- tools


async def test_a_tool_has_the_rights_of_who_began(build):
    app, seen = App(), []

    @app.tool(permissions=["refunds"], idempotent=True)
    async def refund(amount: int) -> dict[str, int]:
        """Give money back."""
        seen.append(amount)
        return {"refunded": amount}

    app.function(name="echo")(lambda event: event)
    service = await build(app)
    definition = task("corral:tool:refund", {"amount": 5})
    denied = await done(service, definition)
    assert (denied.status, denied.error) == ("FAILED", "Tool.denied")
    desk = service.flowing.desk
    info = await desk.begin("default", denied.machine_name, {}, behalf=Behalf(user_id="ada", roles=("refunds",)))
    info = await over(service, info)
    assert (info.status, info.output) == ("SUCCEEDED", {"refunded": 5})
    assert seen == [5]
    wrong = await done(service, task("corral:tool:refund", {"amount": "five"}))
    assert wrong.error in {"Tool.invalid_input", "Tool.denied"}
    assert (await done(service, task("corral:tool:refunds", {}))).error == "NotFound"


# -- HTTP


async def test_an_address_is_called(build, app, serve, tmp_path):
    service = await build(app, workflows={"http_allow": ["127.0.0.1"]})
    other = await serve(app, store={"url": f"sqlite:///{tmp_path / 'other.db'}"})
    ok = await done(
        service, task("corral:http", {"method": "GET", "url": f"{other.url}/readyz", "query": {"a": "b c"}})
    )
    assert (ok.output["StatusCode"], ok.output["ResponseBody"]["status"]) == (200, "ok")
    assert ok.output["Headers"]["content-type"] == "application/json"
    posted = await done(
        service, task("corral:http", {"url": f"{other.url}/v1/agents/speaker/invocations", "body": {"prompt": "hi"}})
    )
    assert posted.output["StatusCode"] == 200
    lost = await done(service, task("corral:http", {"url": f"{other.url}/nothing"}))
    assert lost.error == "States.Http.StatusCode.404"
    assert '"StatusCode":404' in lost.cause


async def test_what_cannot_be_called(build, app):
    service = await build(app)
    inside = await done(service, task("corral:http", {"url": "http://127.0.0.1:1/"}))
    assert inside.error == "OutboundRefused"
    assert "not public" in inside.cause
    nowhere = await done(service, task("corral:http"), {})
    assert (nowhere.error, nowhere.cause) == ("Corral.InvalidPayload", "The task 'corral:http' needs 'url'.")
    strange = await done(service, task("corral:http"), {"url": "http://a.example", "proxy": "x"})
    assert "has no member 'proxy'" in strange.cause


async def test_nobody_listens_there(build, app, unused_tcp_port_factory):
    service = await build(app, workflows={"http_allow": ["127.0.0.1"]})
    info = await done(service, task("corral:http", {"url": f"http://127.0.0.1:{unused_tcp_port_factory()}/"}))
    assert info.error == "States.Http.Socket"


# -- jobs


async def test_a_job_of_its_own_ends_the_task(build, app):
    service = await build(app, jobs={"attempts_max": 1})
    info = await done(service, task("corral:job:speaker", {"prompt": "a b"}))
    assert (info.status, info.output, info.cause) == ("SUCCEEDED", "a b ", None)
    assert (await events(service, info))[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]
    failed = await done(service, task("corral:job:failing"), "x")
    assert (failed.status, failed.error, failed.cause) == ("FAILED", "LookupError", "no x")
    missing = await done(service, task("corral:job:nobody"))
    assert missing.error == "NotFound"


# -- other executions


async def test_an_execution_begins_another_one(build, app):
    service = await build(app)
    child = await done(service, task("corral:function:echo"), {"first": True})
    machine = child.machine_arn
    begins = await done(service, task(START, {"StateMachineArn": machine, "Input": {"x": 1}, "Name": "named"}))
    assert begins.output["ExecutionArn"].endswith(":named")
    assert begins.output["SdkHttpMetadata"]["HttpStatusCode"] == 200
    waits = await done(service, task(f"{START}.sync:2", {"StateMachineArn": machine, "Input": {"x": 2}}))
    assert (waits.output["Status"], waits.output["Output"], waits.output["Input"]) == ("SUCCEEDED", {"x": 2}, {"x": 2})
    text = await done(service, task(f"{START}.sync", {"StateMachineArn": machine, "Input": '{"x": 3}'}))
    assert text.output["Output"] == '{"x":3}'
    by_name = await done(service, task(f"{START}.sync:2", {"StateMachineArn": child.machine_name}))
    assert by_name.output["Output"] == {}


async def test_what_another_execution_fails_with(build, app):
    service = await build(app)
    child = await done(service, task("corral:agent:failing"), "x")
    failed = await done(service, task(f"{START}.sync", {"StateMachineArn": child.machine_arn}))
    assert failed.error == "States.TaskFailed"
    assert '"Error":"LookupError"' in failed.cause
    unknown = await done(service, task(START, {"StateMachineArn": child.machine_arn + "x"}))
    assert unknown.error == "StepFunctions.StateMachineDoesNotExistException"
    twice = {"StateMachineArn": child.machine_arn, "Name": "once", "Input": {"n": 1}}
    await done(service, task(f"{START}.sync", twice))
    again = await done(service, task(START, twice))
    assert again.error == "StepFunctions.ExecutionAlreadyExistsException"


async def test_a_token_is_given_to_whoever_answers_with_it(build, app):
    service = await build(app)
    heard = asyncio.Queue()

    @app.function
    async def call_back(event):
        heard.put_nowait(event["token"])

    definition = task(
        "arn:aws:states:::lambda:invoke.waitForTaskToken",
        {"FunctionName": "call_back", "Payload": {"token.$": "$$.Task.Token"}},
    )
    info = await begun(service, definition)
    async with asyncio.timeout(20):
        token = await heard.get()
    await service.flowing.engine.answer("default", token, TaskSucceeded(token, {"ok": 1}))
    assert (await over(service, info)).output == {"ok": 1}


# -- workflows that come with the app


async def test_workflows_of_an_app_are_there_when_it_starts(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "hello.asl.yaml").write_text(
        "StartAt: Say\nStates:\n  Say: {Type: Pass, Result: hello, End: true}\n"
    )
    app = App()
    app.add(Workflow("built").succeed("done"))
    service = await build(app)
    desk = service.flowing.desk
    info = await over(service, await desk.begin("default", "hello", {}))
    assert info.output == "hello"
    before = await desk.get("default", "hello")
    again = await build(app)
    assert await again.flowing.desk.get("default", "hello") == before, "what says the same stays as it is"
    assert (await over(again, await again.flowing.desk.begin("default", "built", {"a": 1}))).output == {"a": 1}
    (tmp_path / "workflows" / "hello.asl.yaml").write_text("StartAt: Nowhere\nStates: {}\n")
    with pytest.raises(ConfigError, match=r"hello\.asl\.yaml:2"):
        await build(app)


async def test_functions_are_shown(serve, app):
    server = await serve(app)
    answer: httpx.Response = await server.client.get("/health")
    assert answer.json()["functions"] == ["echo"]


# -- all of it, on both engines


async def test_a_flow_of_everything(build, app, store_url):
    service = await build(app, store={"url": store_url})
    child = await done(service, task("corral:function:echo"))

    def branch(name, *what):
        definition = task(*what)
        return {"StartAt": name, "States": {name: definition["States"]["Do"]}}

    states = {
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": task("arn:aws:lambda:us-east-1:000000000000:function:echo"),
            "ResultPath": "$.each",
            "Next": "Both",
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [
                branch("Agent", "corral:agent:speaker", {"prompt": "a b"}),
                branch("Job", "corral:job:speaker", {"prompt": "c d"}),
                branch("Child", f"{START}.sync:2", {"StateMachineArn": child.machine_arn, "Input.$": "$.each"}),
            ],
            "ResultPath": "$.both",
            "Next": "Ask",
        },
        "Ask": {"Type": "Task", "Resource": "corral:approval", "Parameters": {"message": "Go on?"}, "End": True},
    }
    info = await begun(service, {"StartAt": "Each", "States": states}, {"items": [1, 2, 3]})
    async with asyncio.timeout(30):
        async for news in service.flowing.engine.follow("default", info.id):
            if getattr(news, "type", "") == "TaskScheduled" and "Go on?" in news.details["parameters"]:
                break
    (question,) = (await service.flowing.engine.approvals("default", execution_id=info.id)).items
    await service.flowing.desk.decide("default", question.id, {"decision": "approve"}, by="ada")
    ended = await over(service, info)
    assert (ended.status, ended.output["decision"]) == ("SUCCEEDED", "approve")
    page = await service.flowing.engine.history("default", info.id, limit=1000)
    both = next(event for event in page.events if event.type == "ParallelStateExited")
    output = msgspec.json.decode(both.details["output"])
    assert output["each"] == [1, 2, 3]
    assert output["both"][:2] == ["a b ", "c d "]
    assert output["both"][2]["Output"] == [1, 2, 3]


async def test_an_execution_that_is_stopped_stops_the_one_it_waits_for(build, app):
    service = await build(app)
    engine = service.flowing.engine
    waits = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    idle = await begun(service, waits, name="waits")
    info = await begun(service, task(f"{START}.sync:2", {"StateMachineArn": idle.machine_arn}))
    child = ""
    async with asyncio.timeout(20):
        async for event in engine.follow("default", info.id):
            if event.type == "TaskSubmitted":
                child = msgspec.json.decode(event.details["output"])["ExecutionArn"]
                break
    await engine.stop("default", info.id)
    async with asyncio.timeout(20):
        assert (await engine.ended("default", child)).status == "ABORTED"
    assert (await engine.describe("default", idle.id)).status == "RUNNING"
