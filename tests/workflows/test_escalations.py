"""Questions that nobody answers are put to somebody else, who is told: written down, as an event, and as a signed call."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from engine_scene import TENANT, machine
from flow_scene import begun, task
from machine_scene import Scene

from corral import App
from corral.errors import ConfigError
from corral.jobs.job import Backoff
from corral.jobs.signing import verify
from corral.observability.metrics import Metrics
from corral.workflows.counting import Counting
from corral.workflows.desk import WorkflowDraft
from corral.workflows.machine.happening import Started, TaskSucceeded, Woken
from corral.workflows.machine.order import Escalate
from corral.workflows.topic_store import EventRule, Target
from listening import Listening, read_request

SECRET = "whsec_" + base64.b64encode(b"a secret of at least twenty-four bytes").decode()
RULE = EventRule(
    tenant="default",
    name="told",
    topic="corral",
    pattern={"source": ["corral.approvals"]},
    targets=(Target(workflow="hears"),),
)
STEPS = [{"after_s": 10, "assignee": "bob"}, {"after_s": 60, "assignee": "eve"}]


def asking(**more):
    payload = {"message": "May I?", "assignee": "ada", "escalate": STEPS, **more}
    return machine({"Ask": {"Type": "Task", "Resource": "corral:approval", "Parameters": payload, "End": True}})


def put_to(orders):
    return [(order.step, order.assignee) for order in orders if isinstance(order, Escalate)]


# -- the machine ------------------------------------------------------------------------------------------------------------


def test_a_question_goes_from_one_to_the_next():
    scene = Scene(asking(deadline_s=100, otherwise="reject"))
    scene.tell(Started())
    root = next(iter(scene.frames))
    asked_at = scene.now
    assert root.wake_at == asked_at + 10
    for at, whom in ((9.9, []), (10, [(1, "bob")]), (11, [(1, "bob")]), (60, [(1, "bob"), (2, "eve")])):
        scene.now = asked_at + at
        scene.tell(Woken())
        assert put_to(scene.orders) == whom
    assert scene.types[-2:] == ["ApprovalEscalated", "ApprovalEscalated"]
    assert scene.history[-1].details == {"name": "Ask", "assignee": "eve"}
    scene.now = asked_at + 100
    scene.tell(Woken())
    assert scene.ended is not None
    assert scene.ended.output["decision"] == "reject"


def test_whoever_comes_late_tells_of_all_at_once_and_of_none_after_the_deadline():
    scene = Scene(asking())
    scene.tell(Started())
    scene.now += 1000
    scene.tell(Woken())
    assert put_to(scene.orders) == [(1, "bob"), (2, "eve")]
    assert next(iter(scene.frames)).wake_at is None
    late = Scene(asking(deadline_s=50))
    late.tell(Started())
    late.now += 1000
    late.tell(Woken())
    assert put_to(late.orders) == []
    assert late.ended is not None
    assert late.ended.error == "States.Timeout"


def test_an_answer_ends_the_asking():
    scene = Scene(asking())
    scene.tell(Started())
    (token,) = scene.open
    scene.tell(TaskSucceeded(token, 1))
    assert scene.ended is not None
    assert put_to(scene.orders) == []


# -- the engine, on both stores ---------------------------------------------------------------------------------------------


async def test_news_is_told_until_somebody_has_heard_it(open_house, clock):
    told: asyncio.Queue = asyncio.Queue()
    deaf = True

    async def hear(news):
        if deaf:
            told.put_nowait(None)
            raise ConnectionError("Nobody hears.")
        told.put_nowait(news)

    metrics = Metrics()
    house = await open_house({"asks": asking()}, escalated=hear, counting=Counting(metrics))
    info = await house.start("asks")
    (question,) = (await house.engine.approvals(TENANT)).items
    clock.turn(10)
    await house.engine.tell(TENANT, info.id, Woken())
    assert await asyncio.wait_for(told.get(), 10) is None
    assert "ApprovalEscalated" in await house.types(info)
    assert b"corral_workflows_escalations_total 1" in metrics.render()
    deaf = False
    clock.turn(3)
    await house.engine.carrier.start()
    news = await asyncio.wait_for(told.get(), 10)
    while news is None:
        news = await asyncio.wait_for(told.get(), 10)
    assert (news.tenant, news.question, news.assignee, news.step) == (TENANT, question, "bob", 1)
    await house.engine.carrier.drain()
    assert await house.stores.executions.task(TENANT, news.id) is None, "what was told is gone"


async def test_an_answered_question_is_no_news(open_house, clock):
    told: list = []

    async def hear(news):
        told.append(news)

    house = await open_house({"asks": asking()}, escalated=hear)
    house.engine._handing.hand = lambda tasks: None  # the process that wrote it down ends before it tells anybody
    info = await house.start("asks")
    (question,) = (await house.engine.approvals(TENANT)).items
    clock.turn(10)
    await house.engine.tell(TENANT, info.id, Woken())
    other = await open_house(escalated=hear)
    forgotten = await other.stores.executions.unhanded(before=clock.now() + 1, limit=10)
    assert [row.kind for row in forgotten] == ["answer"]
    await other.engine.decide(TENANT, question.id, TaskSucceeded(question.id, 1))
    other.engine._handing.hand([(row, None) for row in forgotten])
    await other.engine.carrier.drain()
    assert told == []


# -- a service --------------------------------------------------------------------------------------------------------------


class Receiver:
    """Refuses the first call, and remembers all of them."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue = asyncio.Queue()
        self.answers = [b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"]

    async def behave(self, reader, writer):
        head, body = await read_request(reader)
        lines = head.decode().rstrip().split("\r\n")[1:]
        self.heard.put_nowait((dict(line.split(": ", 1) for line in lines), body))
        writer.write(self.answers.pop() if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()


async def test_rules_and_the_webhook_hear_of_it(build, monkeypatch):
    monkeypatch.setattr("corral.jobs.webhooks._BACKOFF", Backoff(initial_s=0.01, max_s=0.01))
    app, heard, receiver = App(), asyncio.Queue(), Receiver()

    async def hear(event):
        heard.put_nowait(event)

    app.function(name="hear")(hear)
    async with Listening(receiver.behave) as listening:
        service = await build(
            app,
            workflows={"approvals_webhook": f"http://127.0.0.1:{listening.port}/hook"},
            jobs={"callback_secret": SECRET, "callback_allow": ["127.0.0.0/8"]},
        )
        flowing = service.flowing
        await flowing.desk.save("default", WorkflowDraft(name="hears", definition=task("corral:function:hear")))
        await flowing.topics.save(RULE)
        payload = {"message": "May I?", "escalate": [{"after_s": 0.05, "assignee": "bob"}]}
        info = await begun(service, task("corral:approval", payload), {"secret": 1})
        (question,) = (await flowing.engine.approvals("default")).items
        first, body = await asyncio.wait_for(receiver.heard.get(), 20)
        again, same = await asyncio.wait_for(receiver.heard.get(), 20)
        assert (first["webhook-id"], body) == (again["webhook-id"], same)
        assert verify(body, again, SECRET) == first["webhook-id"]
        said = json.loads(body)
        assert said["type"] == "approval.escalated"
        assert said["data"]["approval_id"] == question.id
        assert (said["data"]["assignee"], said["data"]["step"], said["data"]["message"]) == ("bob", 1, "May I?")
        assert (said["data"]["execution_id"], said["data"]["state"]) == (info.id, "Do")
        event = await asyncio.wait_for(heard.get(), 20)
        assert (event["source"], event["detail-type"]) == ("corral.approvals", "Approval escalated")
        assert event["detail"] == said["data"]


async def test_approvals_that_wait_are_counted(build):
    app = App()
    app.function(name="echo")(lambda event: event)
    service = await build(app)
    await begun(service, task("corral:approval", {"message": "May I?"}))
    await service.flowing.keep_house()
    shown = service.observing.metrics.render()
    assert b'corral_approvals_waiting{kind="workflow"} 1' in shown
    assert b'corral_approvals_waiting{kind="tool"} 0' in shown


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({}, "jobs.callback_secret"),
        ({"callback_secret": SECRET}, "jobs.callback_allow"),
    ],
)
async def test_a_webhook_that_can_never_be_called_is_said_at_once(build, jobs, said):
    app = App()
    app.function(name="echo")(lambda event: event)
    with pytest.raises(ConfigError, match=said):
        await build(app, workflows={"approvals_webhook": "http://127.0.0.1:1/hook"}, jobs=jobs)
