"""What conversations teach, from `CreateEvent` to the record: over HTTP, with jobs, and a model that says what its script says."""

from __future__ import annotations

import asyncio
import json

import pytest

from agentcore_scene import Aws
from corral.app import App
from corral.jobs.job import JobQuery
from corral.memory.resources import HISTORY
from corral.memory.store import Selection, View
from corral.testing.contracts.setting import eventually
from corral.wiring.learning import LEARNER

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ALL = View(tenant="default", whole=True, public=False)
FACTS = [{"semanticMemoryStrategy": {"name": "facts", "namespaceTemplates": ["/facts/{actorId}/"]}}]


def line(match: str, *items: dict, **more) -> dict:
    """What the model answers to turns with these words."""
    return {"match": match, "reply": json.dumps({"items": list(items)}), **more}


def add(text: str, *turns: int) -> dict:
    return {"op": "add", "text": text, "turns": list(turns)}


class Scene:
    """A server whose model follows a script, and boto3."""

    def __init__(self, server, aws: Aws) -> None:
        self.stores = server.service.stores
        self.learning = server.service.learning
        self.server = server
        self.aws = aws

    def __getattr__(self, name):
        return getattr(self.aws, name)

    async def texts(self, memory: str, path: str = "/") -> list[str]:
        found = await self.aws.list_memory_records(memoryId=memory, namespacePath=path)
        return sorted(one["content"]["text"] for one in found["memoryRecordSummaries"])

    async def learnt(self, memory: str, *texts: str, path: str = "/") -> None:
        """Wait until these are the records."""

        async def there() -> bool:
            return await self.texts(memory, path) == sorted(texts)

        await eventually(there)

    async def at_rest(self) -> None:
        """Wait until no job that learns is open."""

        async def none_open() -> bool:
            states = ("queued", "scheduled", "running", "waiting")
            query = JobQuery(agent=LEARNER, status=states)
            return not (await self.stores.job_records.find("default", query)).items

        await eventually(none_open)

    async def jobs(self, *states: str):
        return (await self.stores.job_records.find("default", JobQuery(agent=LEARNER, status=states))).items

    async def history(self, memory: str) -> list[str]:
        page = await self.stores.memory.items(ALL, Selection(space=f"{memory}{HISTORY}"))
        return [item.text for item in page.items]


@pytest.fixture
async def learning(serve):
    """Makes scenes: `await learning(line(…), idle_s=0.1)`."""
    made = []

    async def make(*script, app=None, jobs=None, model="script/medium", store=None, **settings):
        app = app or App()
        if not len(app.agents):
            app.entrypoint(lambda payload: payload)
        options = {"ttft_ms": 0, "itl_ms": 0, "script": list(script)}
        server = await serve(
            app,
            store=store or {},
            models={"providers": {"script": {"kind": "sim", "options": options}}, "attempts_max": 1},
            memory={"learning": {"model": model, "idle_s": 0.1, **settings}},
            jobs={"poll_s": 0.1, "retry_initial_s": 0.01, "attempts_max": 2, **(jobs or {})},
        )
        aws = await asyncio.to_thread(Aws, server.port)
        made.append(aws)
        return Scene(server, aws)

    yield make
    for aws in made:
        aws.close()


async def test_a_conversation_that_rests_becomes_facts_with_their_sources(learning):
    scene = await learning(line("trains", add("Ada likes trains.", 1), add("Ada lives in London.", 2)))
    memory = await scene.memory(memoryStrategies=FACTS)
    one, two = await scene.say(memory, "I like trains.", "I live in London.")
    await scene.learnt(memory, "Ada likes trains.", "Ada lives in London.", path="/facts/ada/")
    found = await scene.retrieve_memory_records(
        memoryId=memory, namespace="/facts/ada/", searchCriteria={"searchQuery": "Where does she live?"}
    )
    (best, *_) = found["memoryRecordSummaries"]
    assert best["content"]["text"] == "Ada lives in London."
    strategies = (await scene.get_memory(memoryId=memory))["memory"]["strategies"]
    assert best["memoryStrategyId"] == strategies[0]["strategyId"]
    kept = await scene.stores.memory.get(ALL, best["memoryRecordId"], space=memory)
    assert kept.events == [two["eventId"]] != [one["eventId"]]
    assert kept.namespace.audience == "user:ada"
    assert kept.metadata["#prompt"] == "semantic.v1"
    await scene.at_rest()
    assert len(await scene.jobs("succeeded")) <= 3


async def test_nothing_is_asked_while_somebody_writes_and_one_job_does_for_many_events(learning):
    scene = await learning(line(""), idle_s=3600.0)
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, *(f"turn {number}" for number in range(8)))
    assert len(await scene.jobs("scheduled")) == 1
    assert await scene.stores.ledger.entries("default") == []


async def test_what_is_skipped_or_has_no_words_is_not_learnt_from(learning):
    scene = await learning(line(""), idle_s=3600.0)
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "off the record", extractionMode="SKIP")
    await scene.create_event(memoryId=memory, actorId="ada", eventTimestamp=1, payload=[{"blob": "x"}])
    bare = await scene.memory("bare")
    await scene.say(bare, "nobody learns here")
    assert await scene.jobs() == []


async def test_what_changed_takes_the_place_of_what_was_known_and_both_are_kept(learning):
    scene = await learning(
        line("moved", {"op": "update", "number": 1, "text": "Ada lives in Paris.", "turns": [1]}),
        line("forget", {"op": "remove", "number": 1, "turns": [1]}),
        line("London", add("Ada lives in London.", 1)),
    )
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "I live in London.")
    await scene.learnt(memory, "Ada lives in London.")
    await scene.say(memory, "I moved to Paris.")
    await scene.learnt(memory, "Ada lives in Paris.")
    assert await scene.history(memory) == ["Ada lives in London."]
    (record,) = (await scene.list_memory_records(memoryId=memory, namespacePath="/"))["memoryRecordSummaries"]
    kept = await scene.stores.memory.get(ALL, record["memoryRecordId"], space=memory)
    assert len(kept.events) == 2
    await scene.say(memory, "Please forget where I live.")
    await scene.learnt(memory)
    assert sorted(await scene.history(memory)) == ["Ada lives in London.", "Ada lives in Paris."]
    await scene.at_rest()
    await scene.delete_memory(memoryId=memory)
    assert await scene.history(memory) == []


async def test_on_postgresql_as_well(learning, postgres_url):
    scene = await learning(
        line("moved", {"op": "update", "number": 1, "text": "Ada lives in Paris.", "turns": [1]}),
        line("London", add("Ada lives in London.", 1)),
        store={"url": postgres_url},
    )
    memory = await scene.memory(memoryStrategies=FACTS)
    (one,) = await scene.say(memory, "I live in London.")
    await scene.learnt(memory, "Ada lives in London.")
    await scene.say(memory, "I moved.", branch={"name": "other", "rootEventId": one["eventId"]})
    await scene.learnt(memory, "Ada lives in Paris.")
    assert await scene.history(memory) == ["Ada lives in London."]
    await scene.at_rest()
    await scene.delete_memory(memoryId=memory)
    assert (await scene.list_memories())["memories"] == []
    assert await scene.history(memory) == []


async def test_a_removed_record_takes_its_history_along(learning):
    scene = await learning(
        line("moved", {"op": "update", "number": 1, "text": "Ada lives in Paris.", "turns": [1]}),
        line("London", add("Ada lives in London.", 1)),
    )
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "I live in London.")
    await scene.learnt(memory, "Ada lives in London.")
    await scene.say(memory, "I moved.")
    await scene.learnt(memory, "Ada lives in Paris.")
    (record,) = (await scene.list_memory_records(memoryId=memory, namespacePath="/"))["memoryRecordSummaries"]
    await scene.delete_memory_record(memoryId=memory, memoryRecordId=record["memoryRecordId"])
    assert await scene.history(memory) == []


async def test_the_same_words_learnt_again_are_one_record(learning):
    scene = await learning(line("", add("Ada likes trains.", 1), add("ada likes  trains", 1)))
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "I like trains.")
    await scene.at_rest()
    await scene.say(memory, "Trains, really.", session="s-2")
    await scene.at_rest()
    assert len(await scene.texts(memory)) == 1
    assert await scene.history(memory) == []


async def test_a_summary_is_continued(learning):
    scene = await learning(
        line("second", {"op": "update", "number": 1, "text": "First, then second."}),
        line("first", add("First.")),
    )
    memory = await scene.memory(memoryStrategies=[{"summaryMemoryStrategy": {"name": "sums"}}])
    await scene.say(memory, "first")
    await scene.learnt(memory, "First.")
    await scene.say(memory, "second")
    await scene.learnt(memory, "First, then second.")


async def test_episodes_are_looked_back_on(learning):
    scene = await learning(
        line("episode: ", add("Ask for the booking number first.", 1)),
        line("refund", add("**Situation** Ada wanted a refund. **Outcome** She got it.", 1)),
    )
    strategy = {"name": "diary", "reflectionConfiguration": {"namespaces": ["/lessons/{actorId}/"]}}
    memory = await scene.memory(memoryStrategies=[{"episodicMemoryStrategy": strategy}])
    await scene.say(memory, "I want a refund.")
    await scene.learnt(memory, "Ask for the booking number first.", path="/lessons/ada/")
    assert len(await scene.texts(memory, "/strategies/")) == 1


async def test_prompts_and_models_of_ones_own_are_used(learning):
    scene = await learning(line("", add("Of the small one.", 1), model="small"), line("", add("Of another one.", 1)))
    override = {"appendToPrompt": "Take prices only.", "modelId": "script/small"}
    configuration = {"semanticOverride": {"extraction": override, "consolidation": override}}
    strategy = {"name": "own", "namespaces": ["/own/"], "configuration": configuration}
    memory = await scene.memory(memoryStrategies=[{"customMemoryStrategy": strategy}])
    await scene.say(memory, "It costs 5.")
    await scene.learnt(memory, "Of the small one.", path="/own/")


async def test_namespaces_are_filled_from_what_comes_with_events(learning):
    scene = await learning(line("", add("A fact.", 1)))
    strategy = {"name": "facts", "namespaceTemplates": ["/teams/{team}/{actorId}/{sessionId}/"]}
    memory = await scene.memory(
        memoryStrategies=[{"semanticMemoryStrategy": strategy}], namespaceKeys=[{"key": "team"}]
    )
    await scene.say(memory, "hello", extractionConfig={"namespaceVariables": {"team": "blue"}})
    await scene.learnt(memory, "A fact.", path="/teams/blue/ada/s-1/")


async def test_an_agent_of_the_app_learns_by_itself(learning):
    app, called = App(), []

    @app.entrypoint(name="learner")
    async def learner(payload):
        called.append(payload)

    scene = await learning(line("", add("Never.", 1)), app=app, enabled=False)
    target = {"topicArn": "arn:aws:sns:us-east-1:123456789012:learner", "payloadDeliveryBucketName": "some-bucket"}
    triggers = [{"messageBasedTrigger": {"messageCount": 2}}]
    configuration = {
        "selfManagedConfiguration": {
            "triggerConditions": triggers,
            "invocationConfiguration": target,
            "historicalContextWindowSize": 1,
        }
    }
    strategy = {"name": "mine", "configuration": configuration}
    memory = await scene.memory(memoryStrategies=[{"customMemoryStrategy": strategy}, *FACTS])

    async def calls(count: int) -> None:
        async def there() -> bool:
            return len(called) == count

        await eventually(there)

    await scene.say(memory, "one", "two")
    await calls(1)
    assert [turn["content"]["text"] for turn in called[0]["currentContext"]] == ["one", "two"]
    assert (called[0]["memoryId"], called[0]["actorId"], called[0]["sessionId"]) == (memory, "ada", "s-1")
    await scene.say(memory, "three", "four")
    await calls(2)
    assert [turn["content"]["text"] for turn in called[1]["currentContext"]] == ["three", "four"]
    assert [turn["content"]["text"] for turn in called[1]["historicalContext"]] == ["two"]
    assert await scene.texts(memory) == []


async def test_a_budget_stops_learning_and_not_writing(learning):
    scene = await learning(line("", add("A fact.", 1)), calls_per_day=1)
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "first")
    await scene.learnt(memory, "A fact.")
    await scene.say(memory, "second", session="s-2")

    async def waits_for_tomorrow() -> bool:
        jobs = await scene.jobs("scheduled")
        return bool(jobs) and max(job.run_at - job.created_at for job in jobs) > 1

    await eventually(waits_for_tomorrow)
    assert not await scene.learning.budget.left("default")
    assert await scene.learning.budget.left("other")
    assert len((await scene.list_events(memoryId=memory, actorId="ada", sessionId="s-2"))["events"]) == 1
    assert len(await scene.stores.ledger.entries("default")) <= 1


async def test_a_job_that_fails_is_a_dead_letter_and_can_be_started_again(learning):
    broken = {"match": "trains", "reply": "no JSON at all", "times": 2}
    scene = await learning(broken, line("trains", add("Ada likes trains.", 1)))
    memory = await scene.memory(memoryStrategies=FACTS)
    (event,) = await scene.say(memory, "I like trains.")

    async def failed() -> bool:
        return bool(await scene.jobs("failed"))

    await eventually(failed)
    (job,) = (await scene.list_memory_extraction_jobs(memoryId=memory, filter={"actorId": "ada"}))["jobs"]
    assert job["messages"]["messagesList"] == [{"eventId": event["eventId"], "messageIndex": 0}]
    assert (job["status"], job["sessionId"]) == ("FAILED", "s-1")
    assert "JSON" in job["failureReason"] or "items" in job["failureReason"]
    assert (await scene.list_memory_extraction_jobs(memoryId=memory, filter={"actorId": "bob"}))["jobs"] == []
    unknown = {"strategyId": "none-0123456789"}
    assert (await scene.list_memory_extraction_jobs(memoryId=memory, filter=unknown))["jobs"] == []
    started = await scene.start_memory_extraction_job(memoryId=memory, extractionJob={"jobId": job["jobID"]})
    assert started == {"jobId": job["jobID"]}
    await scene.learnt(memory, "Ada likes trains.")
    await scene.at_rest()
    again = {"memoryId": memory, "extractionJob": {"jobId": job["jobID"]}}
    assert (await scene.refused("start_memory_extraction_job", **again))[0] == "ValidationException"
    missing = {"memoryId": memory, "extractionJob": {"jobId": "none"}}
    assert (await scene.refused("start_memory_extraction_job", **missing))[0] == "ResourceNotFoundException"


async def test_a_job_of_a_memory_that_is_gone_does_nothing(learning):
    scene = await learning(line("", add("A fact.", 1)), idle_s=0.3)
    memory = await scene.memory(memoryStrategies=FACTS)
    await scene.say(memory, "hello")
    await scene.delete_memory(memoryId=memory)
    await scene.at_rest()
    assert await scene.jobs("failed") == []
    assert await scene.stores.ledger.entries("default") == []


async def test_without_a_model_nothing_is_learnt(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    server = await serve(app)
    assert not server.service.learning.on
    aws = await asyncio.to_thread(Aws, server.port)
    memory = await aws.memory(memoryStrategies=FACTS)
    await aws.say(memory, "hello")
    assert (await server.service.stores.job_records.find("default", JobQuery(agent=LEARNER))).items == []
    aws.close()
