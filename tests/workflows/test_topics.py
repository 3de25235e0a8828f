"""Topics: what an event begins, for whom, how often, and what is said where nothing can begin."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from corral.backends.open import open_stores
from corral.context import EVERYTHING, Scope
from corral.errors import IdempotencyKeyReused, NotFound, PayloadTooLarge, QueueFull, ValidationFailed
from corral.jobs.desk import JobDesk
from corral.jobs.job import JobQuery
from corral.jobs.schedules import STARTER
from corral.observability.metrics import Metrics
from corral.runtime.registry import Agents
from corral.server.job_check import AgentCheck
from corral.settings.sections import JobSettings
from corral.workflows.execution import ExecutionInfo
from corral.workflows.machine.run import Behalf
from corral.workflows.starting import Starter
from corral.workflows.topic_store import EventRule, Target
from corral.workflows.topics import RULES_MAX, Event, TopicCounting, Topics
from ready import ready_url

ORDER = Event(detail_type="Order created", source="shop", detail={"total": 120, "id": "o-1"}, id="e-1")


class Asked(msgspec.Struct):
    prompt: str


TRIAGE = (Target(workflow="triage"),)


def rule(name="big", targets=TRIAGE, tenant="acme", **more):
    return EventRule(tenant=tenant, name=name, targets=targets, **more)


@contextlib.asynccontextmanager
async def topics_in(tmp_path, *, depth_max=1000, metrics=None):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    agents = Agents()
    agents.add("mailer", lambda payload: payload)

    def typed(payload: Asked):
        return payload.prompt

    agents.add("typed", typed)
    desk = JobDesk(
        stores.jobs, stores.job_records, None, JobSettings(), check_input=AgentCheck(agents, {STARTER: Starter.check})
    )

    async def enqueue(drafts):
        return await stores.jobs.enqueue(drafts, depth_max=depth_max)

    try:
        yield stores, Topics(stores.topics, desk.check, enqueue, counting=TopicCounting(metrics))
    finally:
        await stores.stop()


@pytest.fixture
async def place(tmp_path):
    async with topics_in(tmp_path) as opened:
        yield opened


async def jobs_of(stores, tenant="acme"):
    page = await stores.job_records.find(tenant, JobQuery(limit=100))
    return [await stores.job_records.get(tenant, job.id) for job in page.items]


async def test_events_and_what_they_begin_are_counted(tmp_path):
    metrics = Metrics()
    async with topics_in(tmp_path, metrics=metrics) as (_, topics):
        await topics.save(rule(targets=(*TRIAGE, Target(job={"agent": "mailer"}, input_path="$.nowhere"))))
        await topics.save(rule("mail", (Target(job={"agent": "mailer"}),)))
        for _again in range(2):
            await topics.publish("acme", [ORDER])
        await topics.publish("umbrella", [ORDER])
    shown = metrics.render().decode()
    assert "corral_events_published_total 3" in shown
    assert "corral_events_matched_total 6" in shown
    for what, count in (("workflow", 1), ("job", 1), ("again", 2), ("refused", 2)):
        assert f'corral_events_begun_total{{what="{what}"}} {count}' in shown


async def test_every_subscriber_of_an_event_gets_a_job(place):
    stores, topics = place
    await topics.save(rule(pattern={"detail": {"total": [{"numeric": [">", 100]}]}}))
    await topics.save(
        rule(
            "mail",
            (Target(job={"agent": "mailer", "tags": ["m"]}, input_path="$.detail.id"), Target(workflow="log", input=1)),
        )
    )
    await topics.save(rule("small", pattern={"detail": {"total": [{"numeric": ["<", 100]}]}}))
    await topics.save(rule("rests", paused=True))
    await topics.save(rule("else", topic="other"))
    await topics.save(rule("theirs", tenant="other"))
    (published,) = await topics.publish("acme", [ORDER], traceparent="00-1-2-01")
    assert published.id == "e-1"
    assert [(one.rule, one.workflow, one.is_new, one.error) for one in published.begun] == [
        ("big", "triage", True, ""),
        ("mail", "", True, ""),
        ("mail", "log", True, ""),
    ]
    jobs = {job.id: job for job in await jobs_of(stores)}
    assert set(jobs) == {one.job for one in published.begun}
    started, mailed, logged = (jobs[one.job] for one in published.begun)
    wanted = msgspec.json.decode(started.input)
    assert (started.agent, wanted["workflow"]) == (STARTER, "triage")
    event = wanted["input"]
    assert (event["detail-type"], event["source"], event["detail"], event["id"]) == (
        "Order created",
        "shop",
        ORDER.detail,
        "e-1",
    )
    assert event["time"].endswith("Z")
    assert (mailed.agent, set(mailed.tags)) == ("mailer", {"m", "rule:mail"})
    assert msgspec.json.decode(mailed.input) == "o-1"
    assert logged.agent == STARTER
    assert await jobs_of(stores, "other") == []


async def test_an_event_published_again_begins_nothing_twice(place):
    stores, topics = place
    await topics.save(rule())
    (first,) = await topics.publish("acme", [ORDER])
    (again,) = await topics.publish("acme", [ORDER])
    assert [one.job for one in again.begun] == [one.job for one in first.begun]
    assert [one.is_new for one in again.begun] == [False]
    with pytest.raises(IdempotencyKeyReused):
        await topics.publish("acme", [msgspec.structs.replace(ORDER, detail={"total": 1})])
    await topics.publish("acme", [msgspec.structs.replace(ORDER, id="")] * 2)
    assert len(await jobs_of(stores)) == 3


async def test_what_cannot_begin_keeps_nobody_else_from_it(place):
    stores, topics = place
    await topics.save(rule("a", (Target(job={"agent": "typed"}),)))
    await topics.save(rule("b", (Target(workflow="triage", input_path="$.detail.missing"), Target(workflow="triage"))))
    (published,) = await topics.publish("acme", [ORDER])
    refused, missing, begun = published.begun
    assert "input" in refused.error
    assert "$.detail.missing" in missing.error
    assert (begun.error, begun.is_new) == ("", True)
    assert len(await jobs_of(stores)) == 1


async def test_events_go_together_or_not_at_all(tmp_path):
    async with topics_in(tmp_path, depth_max=1) as (stores, topics):
        await topics.save(rule())
        with pytest.raises(QueueFull):
            await topics.publish("acme", [ORDER, msgspec.structs.replace(ORDER, id="e-2")])
        assert await jobs_of(stores) == []


async def test_one_request_does_not_begin_the_whole_house(place, monkeypatch):
    stores, topics = place
    monkeypatch.setattr("corral.workflows.topics.BEGUN_MAX", 2)
    await topics.save(rule(targets=TRIAGE * 2))
    await topics.publish("acme", [ORDER])
    with pytest.raises(ValidationFailed, match="fewer"):
        await topics.publish("acme", [msgspec.structs.replace(ORDER, id=f"e-{n}") for n in (2, 3)])
    assert len(await jobs_of(stores)) == 2


async def test_nobody_listens(place):
    _, topics = place
    (published,) = await topics.publish("acme", [Event(detail_type="x")])
    assert published.begun == ()
    assert published.id


async def test_events_are_bounded(place):
    _, topics = place
    with pytest.raises(PayloadTooLarge):
        await topics.publish("acme", [Event(detail_type="x", detail={"text": "x" * 300_000})])
    with pytest.raises(ValidationFailed, match="topic"):
        await topics.publish("acme", [Event(detail_type="x", topic="a b")])


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"name": "a b"}, "/name"),
        ({"topic": ""}, "/topic"),
        ({"pattern": {"a": "b"}}, "/pattern/a"),
        ({"targets": ()}, "/targets"),
        ({"targets": (Target(),)}, "/targets/0"),
        ({"targets": (Target(workflow="a", job={"agent": "mailer"}),)}, "/targets/0"),
        ({"targets": (Target(workflow="x" * 500),)}, "/targets/0/workflow"),
        ({"targets": (Target(workflow="a", input_path="detail"),)}, "/targets/0/input_path"),
        ({"targets": (Target(job={"agent": "mailer", "input": 1}),)}, "/targets/0/job/input"),
        ({"targets": (Target(job={"agent": "mailer", "priority": 99}),)}, "/targets/0/job"),
        ({"targets": (Target(job={"agent": "typed"}, input={"prompt": 3}),)}, "/targets/0/job"),
    ],
)
async def test_a_rule_that_would_not_work_is_refused(place, wrong, pointer):
    _, topics = place
    with pytest.raises(ValidationFailed) as caught:
        await topics.save(msgspec.structs.replace(rule(), **wrong))
    assert caught.value.errors[0]["pointer"] == pointer


async def test_rules_are_found_and_removed(place):
    _, topics = place
    kept, is_new = await topics.save(rule(targets=(Target(job={"agent": "typed"}),)))
    assert is_new
    assert await topics.rule("acme", "big") == kept
    assert await topics.rules("acme", topic="default") == [kept]
    assert RULES_MAX > 100
    with pytest.raises(NotFound):
        await topics.save(rule(targets=(Target(job={"agent": "nobody"}),)))
    await topics.remove("acme", "big")
    for ask in (topics.remove, topics.rule):
        with pytest.raises(NotFound, match="big"):
            await ask("acme", "big")


class Claimed(msgspec.Struct):
    id: str
    input: bytes
    tenant: str = "acme"
    traceparent: str = ""
    user_id: str | None = "ada"
    tier: str = ""
    roles: tuple[str, ...] = ("admin",)
    scope: Scope = EVERYTHING


class Job(msgspec.Struct):
    claimed: Claimed


async def test_a_start_is_named_by_its_job():
    seen = []

    async def begin(tenant, workflow, given, *, name, traceparent, behalf):
        seen.append((tenant, workflow, given, name, traceparent, behalf))
        return ExecutionInfo(
            tenant=tenant,
            id="x-1",
            arn="arn:x",
            name=name,
            machine_arn="",
            machine_name=workflow,
            digest="",
            status="RUNNING",
            started_at=1.0,
        )

    job = Job(Claimed("j-1", b'{"workflow": "triage", "input": {"a": 1}}'))
    outcome = await Starter(begin).run(job)
    assert msgspec.json.decode(outcome.result) == {"execution": "x-1", "arn": "arn:x"}
    assert seen == [("acme", "triage", {"a": 1}, "j-1", "", Behalf(user_id="ada", roles=("admin",)))]


@pytest.mark.parametrize(
    "wrong", [None, {}, {"workflow": ""}, {"workflow": 1}, {"workflow": "x" * 999}, {"workflow": "a", "x": 1}]
)
def test_a_start_says_what(wrong):
    with pytest.raises(ValidationFailed):
        Starter.check(wrong)
    assert Starter.check({"workflow": "a"}).input == {}
