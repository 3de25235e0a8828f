"""AgentCore's memory API, asked by the real boto3: memories and events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agentcore_scene import Aws, said

# botocore leaves the socket of an attempt it gave up to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# -- memories -------------------------------------------------------------------------------------------------------------


async def test_a_memory_is_declared_shown_listed_and_removed(aws):
    created = (
        await aws.create_memory(
            name="notes",
            description="What we know",
            eventExpiryDuration=90,
            memoryExecutionRoleArn="arn:aws:iam::123456789012:role/memory",
            memoryStrategies=[
                {"semanticMemoryStrategy": {"name": "facts", "namespaces": ["/facts/{actorId}/"]}},
                {"summaryMemoryStrategy": {"name": "sums"}},
                {"userPreferenceMemoryStrategy": {"name": "likes", "description": "What they like"}},
            ],
            indexedKeys=[{"key": "topic", "type": "STRING"}],
        )
    )["memory"]
    assert created["arn"].endswith(f":memory/{created['id']}")
    assert created["id"].startswith("notes-")
    assert (created["status"], created["eventExpiryDuration"]) == ("ACTIVE", 90)
    facts, sums, likes = created["strategies"]
    assert (facts["type"], facts["namespaces"], facts["status"]) == ("SEMANTIC", ["/facts/{actorId}/"], "ACTIVE")
    assert sums["type"] == "SUMMARIZATION"
    assert "{sessionId}" in sums["namespaceTemplates"][0]
    assert (likes["type"], likes["description"]) == ("USER_PREFERENCE", "What they like")
    assert isinstance(created["createdAt"], datetime)
    shown = (await aws.get_memory(memoryId=created["id"], view="full"))["memory"]
    assert shown == created
    (listed,) = (await aws.list_memories())["memories"]
    assert (listed["id"], listed["arn"]) == (created["id"], created["arn"])
    assert await aws.delete_memory(memoryId=created["id"]) == {"memoryId": created["id"], "status": "DELETING"}
    assert (await aws.list_memories())["memories"] == []
    code, status, message = await aws.refused("get_memory", memoryId=created["id"])
    assert (code, status) == ("ResourceNotFoundException", 404)
    assert created["id"] in message


async def test_a_name_is_taken_once_and_a_token_is_one_request(aws):
    given = {"name": "notes", "eventExpiryDuration": 7, "clientToken": "a-token-of-mine"}
    first, again = await asyncio.gather(aws.create_memory(**given), aws.create_memory(**given))
    assert first == again
    code, status, message = await aws.refused("create_memory", name="notes", eventExpiryDuration=7)
    assert (code, status) == ("ValidationException", 400)
    assert "already exists" in message
    changed = {**given, "eventExpiryDuration": 8}
    assert (await aws.refused("create_memory", **changed))[0] == "ValidationException"


async def test_memories_are_listed_in_pages(aws):
    ids = [await aws.memory(f"notes_{number}") for number in range(5)]
    first = await aws.list_memories(maxResults=3)
    second = await aws.list_memories(maxResults=3, nextToken=first["nextToken"])
    assert [one["id"] for one in first["memories"] + second["memories"]] == ids[::-1]
    assert "nextToken" not in second
    assert (await aws.refused("list_memories", nextToken="nonsense"))[0] == "ValidationException"


async def test_strategies_are_added_changed_and_removed(aws):
    memory = await aws.memory(memoryStrategies=[{"semanticMemoryStrategy": {"name": "facts"}}])
    added = await aws.update_memory(
        memoryId=memory,
        description="More",
        eventExpiryDuration=60,
        memoryStrategies={
            "addMemoryStrategies": [
                {
                    "customMemoryStrategy": {
                        "name": "own",
                        "namespaces": ["/own/{actorId}/"],
                        "configuration": {
                            "semanticOverride": {
                                "extraction": {"appendToPrompt": "Take prices only.", "modelId": "big"},
                                "consolidation": {"appendToPrompt": "Keep the latest.", "modelId": "big"},
                            }
                        },
                    }
                },
                {"episodicMemoryStrategy": {"name": "diary", "reflectionConfiguration": {"namespaces": ["/lessons/"]}}},
            ]
        },
    )
    facts, own, diary = added["memory"]["strategies"]
    assert (added["memory"]["description"], added["memory"]["eventExpiryDuration"]) == ("More", 60)
    assert own["type"] == "CUSTOM"
    assert own["configuration"]["type"] == "SEMANTIC_OVERRIDE"
    override = own["configuration"]["extraction"]["customExtractionConfiguration"]["semanticExtractionOverride"]
    assert override == {"appendToPrompt": "Take prices only.", "modelId": "big"}
    assert diary["configuration"]["reflection"]["episodicReflectionConfiguration"]["namespaces"] == ["/lessons/"]
    new = {"semanticExtractionOverride": {"appendToPrompt": "Take names only.", "modelId": "small"}}
    changed = await aws.update_memory(
        memoryId=memory,
        memoryStrategies={
            "modifyMemoryStrategies": [
                {
                    "memoryStrategyId": own["strategyId"],
                    "description": "Names",
                    "configuration": {"extraction": {"customExtractionConfiguration": new}},
                },
                {"memoryStrategyId": facts["strategyId"], "namespaceTemplates": ["/all/"]},
            ],
            "deleteMemoryStrategies": [{"memoryStrategyId": diary["strategyId"]}],
        },
    )
    facts, own = changed["memory"]["strategies"]
    assert facts["namespaces"] == ["/all/"]
    assert own["configuration"]["extraction"]["customExtractionConfiguration"] == new
    assert "customConsolidationConfiguration" in own["configuration"]["consolidation"]
    wrong = {"deleteMemoryStrategies": [{"memoryStrategyId": "none-0123456789"}]}
    assert (await aws.refused("update_memory", memoryId=memory, memoryStrategies=wrong))[0] == "ValidationException"


async def test_a_strategy_of_ones_own_is_called_by_its_triggers(aws):
    triggers = [{"messageBasedTrigger": {"messageCount": 3}}, {"timeBasedTrigger": {"idleSessionTimeout": 30}}]
    target = {"topicArn": "arn:aws:sns:us-east-1:123456789012:learner", "payloadDeliveryBucketName": "some-bucket"}
    configuration = {
        "selfManagedConfiguration": {
            "triggerConditions": triggers,
            "invocationConfiguration": target,
            "historicalContextWindowSize": 2,
        }
    }
    memory = await aws.memory(
        memoryStrategies=[{"customMemoryStrategy": {"name": "mine", "configuration": configuration}}]
    )
    (mine,) = (await aws.get_memory(memoryId=memory))["memory"]["strategies"]
    own = mine["configuration"]["selfManagedConfiguration"]
    assert mine["configuration"]["type"] == "SELF_MANAGED"
    assert own["invocationConfiguration"] == target
    assert {"messageBasedTrigger": {"messageCount": 3}} in own["triggerConditions"]
    assert {"tokenBasedTrigger": {"tokenCount": 5000}} in own["triggerConditions"]
    change = {"selfManagedConfiguration": {"historicalContextWindowSize": 7}}
    changed = await aws.update_memory(
        memoryId=memory,
        memoryStrategies={
            "modifyMemoryStrategies": [{"memoryStrategyId": mine["strategyId"], "configuration": change}]
        },
    )
    own = changed["memory"]["strategies"][0]["configuration"]["selfManagedConfiguration"]
    assert (own["historicalContextWindowSize"], own["invocationConfiguration"]) == (7, target)


@pytest.mark.parametrize(
    ("given", "constraint"),
    [
        ({"name": "1st"}, "regular expression"),
        ({"memoryStrategies": [{"semanticMemoryStrategy": {"name": "a", "namespaces": ["/{nobody}/"]}}]}, "{nobody}"),
        ({"memoryStrategies": [{"semanticMemoryStrategy": {"name": "a"}}] * 2}, "same name"),
        ({"memoryStrategies": [{"customMemoryStrategy": {"name": "a"}}]}, "must not be null"),
    ],
)
async def test_what_is_no_memory(aws, given, constraint):
    code, status, message = await aws.refused("create_memory", **{"name": "notes", "eventExpiryDuration": 7, **given})
    assert (code, status) == ("ValidationException", 400)
    assert constraint in message


# -- events ---------------------------------------------------------------------------------------------------------------


async def test_events_come_back_newest_first_in_pages(aws):
    memory = await aws.memory()
    made = await aws.say(memory, "one", "two", "three", "four", "five")
    place = {"memoryId": memory, "actorId": "ada", "sessionId": "s-1"}
    first = await aws.list_events(**place, maxResults=3)
    second = await aws.list_events(**place, maxResults=3, nextToken=first["nextToken"])
    assert said(first["events"] + second["events"]) == ["five", "four", "three", "two", "one"]
    assert "nextToken" not in second
    assert first["events"][0] == made[-1]
    assert made[0]["eventTimestamp"] == datetime.fromtimestamp(1_700_000_000, UTC)
    bare = await aws.list_events(**place, includePayloads=False)
    assert [event["payload"] for event in bare["events"]] == [[]] * 5
    assert await aws.get_event(**place, eventId=made[1]["eventId"]) == {"event": made[1]}
    assert await aws.delete_event(**place, eventId=made[1]["eventId"]) == {"eventId": made[1]["eventId"]}
    assert said((await aws.list_events(**place))["events"]) == ["five", "four", "three", "one"]
    for call in ("get_event", "delete_event"):
        code, status, _ = await aws.refused(call, **place, eventId=made[1]["eventId"])
        assert (code, status) == ("ResourceNotFoundException", 404)


async def test_every_sort_of_payload_comes_back_as_it_was(aws):
    memory = await aws.memory()
    payload = [
        {"conversational": {"content": {"text": "Hello, 世界\n"}, "role": "USER"}},
        {"conversational": {"content": {"text": "Hi"}, "role": "ASSISTANT"}},
        {"conversational": {"content": {"text": "{}"}, "role": "TOOL"}},
        {"blob": {"any": [1, 2.5, None, {"deep": True}]}},
        {"blob": "text"},
        {"json": {"content": {"a": 1}}},
    ]
    given = {"memoryId": memory, "actorId": "user/1:a", "sessionId": "s-1", "payload": payload}
    made = await aws.create_event(**given, eventTimestamp=1.5, metadata={"k@1": {"stringValue": "v 1"}})
    assert made["event"]["payload"] == payload
    assert made["event"]["metadata"] == {"k@1": {"stringValue": "v 1"}}
    assert "branch" not in made["event"]
    (listed,) = (await aws.list_events(memoryId=memory, actorId="user/1:a", sessionId="s-1"))["events"]
    assert listed == made["event"]
    assert (await aws.create_event(**{**given, "payload": []}, eventTimestamp=2))["event"]["payload"] == []


async def test_a_retried_event_is_one_event(aws):
    memory = await aws.memory()
    first, again = await asyncio.gather(
        aws.say(memory, "once", clientToken="token-1"), aws.say(memory, "once", clientToken="token-1")
    )
    assert first == again
    assert said((await aws.list_events(memoryId=memory, actorId="ada", sessionId="s-1"))["events"]) == ["once"]
    assert (
        await aws.refused(
            "create_event", memoryId=memory, actorId="ada", eventTimestamp=1, payload=[], clientToken="token-1"
        )
    )[0] == "ValidationException"
    other = await aws.memory("other_notes")
    assert said(await aws.say(other, "elsewhere", clientToken="token-1")) == ["elsewhere"]


async def test_without_a_session_there_is_a_fresh_one(aws):
    memory = await aws.memory()
    made = await aws.create_event(memoryId=memory, actorId="ada", eventTimestamp=1, payload=[{"blob": 1}])
    (session,) = (await aws.list_sessions(memoryId=memory, actorId="ada"))["sessionSummaries"]
    assert session["sessionId"] == made["event"]["sessionId"]


async def test_branches(aws):
    memory = await aws.memory()
    one, two = await aws.say(memory, "one", "two")
    await aws.say(memory, "two, otherwise", branch={"name": "other", "rootEventId": one["eventId"]})
    (kept,) = await aws.say(memory, "three, otherwise", branch={"name": "other"})
    await aws.say(memory, "three")
    assert kept["branch"] == {"name": "other", "rootEventId": one["eventId"]}
    place = {"memoryId": memory, "actorId": "ada", "sessionId": "s-1"}

    async def of(**branch):
        return said((await aws.list_events(**place, filter={"branch": branch}))["events"])

    assert await of(name="other") == ["three, otherwise", "two, otherwise"]
    assert await of(name="other", includeParentBranches=True) == ["three, otherwise", "two, otherwise", "one"]
    assert await of(name="main") == ["three", "two", "one"]
    assert len((await aws.list_events(**place))["events"]) == 5
    branch = {"name": "lost", "rootEventId": "0000000000000000#000000ff"}
    payload = [{"blob": 1}]
    code, _, message = await aws.refused("create_event", **place, eventTimestamp=1, payload=payload, branch=branch)
    assert code == "ValidationException"
    assert branch["rootEventId"] in message
    assert two


async def test_events_are_filtered_by_metadata_with_every_operator(aws):
    memory = await aws.memory()
    for text, metadata in (("a", {"k": "1"}), ("b", {"k": "2", "l": ""}), ("c", {})):
        await aws.say(memory, text, metadata={name: {"stringValue": value} for name, value in metadata.items()})

    async def where(*conditions):
        expressions = [
            {
                "left": {"metadataKey": key},
                "operator": operator,
                **({"right": {"metadataValue": {"stringValue": value[0]}}} if value else {}),
            }
            for key, operator, *value in conditions
        ]
        place = {"memoryId": memory, "actorId": "ada", "sessionId": "s-1"}
        return said((await aws.list_events(**place, filter={"eventMetadata": expressions}))["events"])

    assert await where(("k", "EQUALS_TO", "1")) == ["a"]
    assert await where(("k", "EXISTS")) == ["b", "a"]
    assert await where(("k", "NOT_EXISTS")) == ["c"]
    assert await where(("k", "EXISTS"), ("l", "NOT_EXISTS")) == ["a"]
    assert await where(("l", "EQUALS_TO", "")) == ["b"]
    assert await where(("k", "EQUALS_TO", "1"), ("k", "EQUALS_TO", "2")) == []


async def test_sessions_and_actors_are_those_of_the_memory(aws):
    memory, other = await aws.memory(), await aws.memory("other_notes")
    for actor, session in (("ada", "s-1"), ("ada", "s-2"), ("ada/1", "s-3"), ("bob", "s-1")):
        await aws.say(memory, "hello", actor=actor, session=session)
    await aws.say(other, "hello", actor="eve", session="s-1")
    actors = await aws.list_actors(memoryId=memory, maxResults=2)
    more = await aws.list_actors(memoryId=memory, maxResults=2, nextToken=actors["nextToken"])
    assert [one["actorId"] for one in actors["actorSummaries"] + more["actorSummaries"]] == ["ada", "ada/1", "bob"]
    sessions = (await aws.list_sessions(memoryId=memory, actorId="ada"))["sessionSummaries"]
    assert [one["sessionId"] for one in sessions] == ["s-2", "s-1"]
    assert {one["actorId"] for one in sessions} == {"ada"}
    assert (await aws.list_sessions(memoryId=other, actorId="ada"))["sessionSummaries"] == []
    (event,) = (await aws.list_events(memoryId=memory, actorId="ada", sessionId="s-2"))["events"]
    await aws.delete_event(memoryId=memory, actorId="ada", sessionId="s-2", eventId=event["eventId"])
    full = await aws.list_sessions(memoryId=memory, actorId="ada", filter={"eventFilter": "HAS_EVENTS"})
    assert [one["sessionId"] for one in full["sessionSummaries"]] == ["s-1"]


async def test_the_native_api_sees_the_same_events(aws, agentcore):
    memory = await aws.memory()
    await aws.say(memory, "hello", actor="user/1")
    headers = {"x-api-key": "key-of-acme"}
    (session,) = (await agentcore.client.get("/v1/sessions", headers=headers)).json()["items"]
    assert (session["session_id"], session["actor"]) == (f"{memory}.user/1.s-1", "user/1")
    path = f"/v1/sessions/{memory}.user%2F1.s-1/events"
    (event,) = (await agentcore.client.get(path, headers=headers)).json()["items"]
    assert (event["role"], event["content"][0]["text"]) == ("user", "hello")
    assert event["expires_at"] - event["created_at"] == pytest.approx(30 * 86_400)
    await agentcore.client.post(
        path, json={"role": "assistant", "content": "native", "actor": "user/1"}, headers=headers
    )
    events = (await aws.list_events(memoryId=memory, actorId="user/1", sessionId="s-1"))["events"]
    assert said(events) == ["native", "hello"]
    assert events[0]["payload"][0]["conversational"]["role"] == "ASSISTANT"
    await aws.delete_memory(memoryId=memory)
    assert (await agentcore.client.get("/v1/sessions", headers=headers)).json()["items"] == []


async def test_an_arn_is_as_good_as_an_id(aws):
    memory = await aws.memory()
    arn = (await aws.get_memory(memoryId=memory))["memory"]["arn"]
    (event,) = await aws.say(arn, "hello")
    assert event["memoryId"] == memory
    assert len((await aws.list_events(memoryId=arn, actorId="ada", sessionId="s-1"))["events"]) == 1


@pytest.mark.parametrize(
    ("given", "member"),
    [
        ({"memoryId": "no-id-at-all!"}, "memoryId"),
        ({"actorId": "-ada"}, "actorId"),
        ({"actorId": "ada.lovelace"}, "actorId"),
        ({"sessionId": "-s"}, "sessionId"),
        ({"payload": [{"conversational": {"content": {"text": "x" * 100_001}, "role": "USER"}}]}, "payload.1.member"),
        ({"payload": [{"conversational": {"content": {"text": "x"}, "role": "KING"}}]}, "payload.1.member"),
        ({"payload": [{"blob": 1}] * 101}, "payload"),
        ({"metadata": {"k": {"stringValue": "x" * 257}}}, "metadata.k"),
        ({"metadata": {"k#": {"stringValue": "x"}}}, "metadata.k#"),
        ({"metadata": {f"k{number}": {"stringValue": "x"} for number in range(16)}}, "metadata"),
        ({"branch": {"name": "b", "rootEventId": "nonsense"}}, "branch.rootEventId"),
        ({"extractionMode": "MAYBE"}, "extractionMode"),
    ],
)
async def test_what_is_no_event(aws, given, member):
    memory = await aws.memory()
    good = {"memoryId": memory, "actorId": "ada", "sessionId": "s", "eventTimestamp": 1, "payload": [{"blob": 1}]}
    code, status, message = await aws.refused("create_event", **{**good, **given})
    assert (code, status) == ("ValidationException", 400)
    assert f"'{member}" in message


async def test_an_unknown_memory_is_not_found_by_any_operation(aws):
    missing = {"memoryId": "notes-0123456789"}
    place = {**missing, "actorId": "ada", "sessionId": "s"}
    record = {"memoryRecordId": "mem-00000000-0000-0000-0000-000000000000"}
    for name, given in {
        "update_memory": missing,
        "delete_memory": missing,
        "create_event": {**place, "eventTimestamp": 1, "payload": []},
        "get_event": {**place, "eventId": "1#1"},
        "delete_event": {**place, "eventId": "1#1"},
        "list_events": place,
        "list_sessions": {**missing, "actorId": "ada"},
        "list_actors": missing,
        "retrieve_memory_records": {**missing, "namespace": "/", "searchCriteria": {"searchQuery": "x"}},
        "list_memory_records": {**missing, "namespace": "/"},
        "get_memory_record": {**missing, **record},
        "delete_memory_record": {**missing, **record},
        "batch_create_memory_records": {**missing, "records": []},
        "batch_update_memory_records": {**missing, "records": []},
        "batch_delete_memory_records": {**missing, "records": []},
        "list_memory_extraction_jobs": missing,
        "start_memory_extraction_job": {**missing, "extractionJob": {"jobId": "x"}},
    }.items():
        assert (await aws.refused(name, **given))[:2] == ("ResourceNotFoundException", 404), name


async def test_another_tenants_memory_is_not_there(aws, aws_of):
    memory = await aws.memory()
    (event,) = await aws.say(memory, "secret")
    stranger = await aws_of("other")
    place = {"memoryId": memory, "actorId": "ada", "sessionId": "s-1"}
    assert (await stranger.list_memories())["memories"] == []
    for name, given in {
        "get_memory": {"memoryId": memory},
        "update_memory": {"memoryId": memory, "description": "mine now"},
        "delete_memory": {"memoryId": memory},
        "create_event": {**place, "eventTimestamp": 1, "payload": []},
        "get_event": {**place, "eventId": event["eventId"]},
        "delete_event": {**place, "eventId": event["eventId"]},
        "list_events": place,
        "list_sessions": {"memoryId": memory, "actorId": "ada"},
        "list_actors": {"memoryId": memory},
    }.items():
        assert (await stranger.refused(name, **given))[0] == "ResourceNotFoundException", name
    assert said((await aws.list_events(**place))["events"]) == ["secret"]
    mine = await stranger.create_memory(name="notes", eventExpiryDuration=30)
    assert mine["memory"]["id"] != memory


async def test_without_a_key_nobody_comes_in(agentcore):
    nobody = await asyncio.to_thread(Aws, agentcore.port)
    assert (await nobody.refused("list_memories"))[:2] == ("AccessDeniedException", 401)
    nobody.close()
