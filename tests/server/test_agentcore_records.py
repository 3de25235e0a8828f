"""AgentCore's memory API, asked by the real boto3: records."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SOME_DAY = datetime(2026, 3, 1, tzinfo=UTC)
MISSING = "mem-00000000-0000-0000-0000-000000000000"


def record(text: str, number: int = 1, namespace: str = "/facts/ada/", **more):
    return {
        "requestIdentifier": f"r{number}",
        "namespaces": [namespace],
        "content": {"text": text},
        "timestamp": 1_700_000_000,
        **more,
    }


async def write(aws, memory: str, *records) -> list[str]:
    """The ids of new records."""
    done = await aws.batch_create_memory_records(memoryId=memory, records=list(records))
    assert not done["failedRecords"]
    return [one["memoryRecordId"] for one in done["successfulRecords"]]


def texts(answer) -> list[str]:
    return [one["content"]["text"] for one in answer["memoryRecordSummaries"]]


async def test_records_are_written_read_changed_and_removed(aws):
    memory = await aws.memory(memoryStrategies=[{"semanticMemoryStrategy": {"name": "facts"}}])
    (strategy,) = (await aws.get_memory(memoryId=memory))["memory"]["strategies"]
    metadata = {
        "topic": {"stringValue": "travel"},
        "tags": {"stringListValue": ["a", "b"]},
        "weight": {"numberValue": 2.5},
        "day": {"dateTimeValue": SOME_DAY},
    }
    strategy_id = strategy["strategyId"]
    one, two = await write(
        aws,
        memory,
        record("Ada likes trains.", metadata=metadata, memoryStrategyId=strategy_id),
        record("Ada lives in London.", 2),
    )
    assert 40 <= len(one) <= 50
    shown = (await aws.get_memory_record(memoryId=memory, memoryRecordId=one))["memoryRecord"]
    assert shown["content"] == {"text": "Ada likes trains."}
    assert (shown["namespaces"], shown["memoryStrategyId"]) == (["/facts/ada/"], strategy_id)
    assert shown["metadata"] == metadata
    assert shown["timestamp"] == datetime.fromtimestamp(1_700_000_000, UTC)
    changes = [
        {"memoryRecordId": one, "timestamp": 1_700_000_001, "content": {"text": "Ada loves trains."}},
        {"memoryRecordId": two, "timestamp": 1_700_000_002, "namespaces": ["/places/"]},
        {"memoryRecordId": MISSING, "timestamp": 1, "content": {"text": "x"}},
    ]
    done = await aws.batch_update_memory_records(memoryId=memory, records=changes)
    assert [entry["memoryRecordId"] for entry in done["successfulRecords"]] == [one, two]
    (failed,) = done["failedRecords"]
    assert (failed["memoryRecordId"], failed["status"], failed["errorCode"]) == (MISSING, "FAILED", 404)
    shown = (await aws.get_memory_record(memoryId=memory, memoryRecordId=one))["memoryRecord"]
    assert (shown["content"]["text"], shown["metadata"]) == ("Ada loves trains.", metadata)
    moved = (await aws.get_memory_record(memoryId=memory, memoryRecordId=two, namespace="/places/"))["memoryRecord"]
    assert moved["content"]["text"] == "Ada lives in London."
    assert (await aws.refused("get_memory_record", memoryId=memory, memoryRecordId=two, namespace="/facts/ada/"))[
        1
    ] == 404
    assert await aws.delete_memory_record(memoryId=memory, memoryRecordId=one) == {"memoryRecordId": one}
    assert (await aws.refused("delete_memory_record", memoryId=memory, memoryRecordId=one))[1] == 404
    done = await aws.batch_delete_memory_records(
        memoryId=memory, records=[{"memoryRecordId": two}, {"memoryRecordId": one}]
    )
    assert [entry["memoryRecordId"] for entry in done["successfulRecords"]] == [two]
    assert [entry["memoryRecordId"] for entry in done["failedRecords"]] == [one]
    assert texts(await aws.list_memory_records(memoryId=memory, namespacePath="/")) == []


async def test_records_are_found_by_what_they_say_in_a_namespace_or_below_a_path(aws):
    memory = await aws.memory()
    await write(
        aws,
        memory,
        record("Ada likes trains and old stations."),
        record("Ada lives in London.", 2),
        record("Bob likes trains.", 3, "/facts/bob/"),
        record("Trains leave at noon.", 4, "/other/"),
    )

    async def ask(question, **where):
        criteria = {"searchQuery": question, **where.pop("criteria", {})}
        return await aws.retrieve_memory_records(memoryId=memory, searchCriteria=criteria, **where)

    assert texts(await ask("Which trains?", namespace="/facts/ada/")) == ["Ada likes trains and old stations."]
    below = await ask("Who likes a train?", namespacePath="/facts/")
    assert set(texts(below)) == {"Ada likes trains and old stations.", "Bob likes trains."}
    scores = [one["score"] for one in below["memoryRecordSummaries"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    first = await ask("trains", namespacePath="/", maxResults=2)
    second = await ask("trains", namespacePath="/", maxResults=2, nextToken=first["nextToken"])
    assert len(texts(first)) == 2
    assert len(texts(second)) == 1
    assert texts(await ask("trains", namespacePath="/", criteria={"topK": 1})) == texts(first)[:1]
    assert texts(await ask("dinosaurs", namespacePath="/")) == []
    for wrong in ({}, {"namespace": "/a/", "namespacePath": "/b/"}, {"namespace": "/a/", "nextToken": "x"}):
        given = {"searchCriteria": {"searchQuery": "x"}, **wrong}
        assert (await aws.refused("retrieve_memory_records", memoryId=memory, **given))[0] == "ValidationException"


async def test_records_are_listed_in_pages_by_strategy(aws):
    memory = await aws.memory(memoryStrategies=[{"semanticMemoryStrategy": {"name": "facts"}}])
    (strategy,) = (await aws.get_memory(memoryId=memory))["memory"]["strategies"]
    for number in range(4):
        more = {"memoryStrategyId": strategy["strategyId"]} if number % 2 else {}
        await write(aws, memory, record(f"fact {number}", **more))
    where = {"memoryId": memory, "namespace": "/facts/ada/"}
    first = await aws.list_memory_records(**where, maxResults=3)
    second = await aws.list_memory_records(**where, maxResults=3, nextToken=first["nextToken"])
    assert texts(first) + texts(second) == ["fact 3", "fact 2", "fact 1", "fact 0"]
    assert texts(await aws.list_memory_records(**where, memoryStrategyId=strategy["strategyId"])) == [
        "fact 3",
        "fact 1",
    ]
    wrong = record("x", memoryStrategyId="none-0123456789")
    done = await aws.batch_create_memory_records(memoryId=memory, records=[wrong, record("good", 2)])
    assert [one["requestIdentifier"] for one in done["failedRecords"]] == ["r1"]
    assert [one["requestIdentifier"] for one in done["successfulRecords"]] == ["r2"]


@pytest.mark.parametrize(
    ("operator", "right", "found"),
    [
        ("EQUALS_TO", {"stringValue": "red"}, ["a"]),
        ("EXISTS", None, ["a", "b"]),
        ("NOT_EXISTS", None, ["c"]),
        ("CONTAINS", {"stringListValue": ["x"]}, ["a", "b"]),
        ("CONTAINS", {"stringListValue": ["x", "y"]}, ["a"]),
        ("GREATER_THAN", {"numberValue": 1}, ["b"]),
        ("GREATER_THAN_OR_EQUALS", {"numberValue": 1}, ["a", "b"]),
        ("LESS_THAN", {"numberValue": 2}, ["a"]),
        ("LESS_THAN_OR_EQUALS", {"numberValue": 2}, ["a", "b"]),
        ("BEFORE", {"dateTimeValue": datetime(2026, 1, 2, tzinfo=UTC)}, ["a"]),
        ("AFTER", {"dateTimeValue": datetime(2026, 1, 2, tzinfo=UTC)}, ["b"]),
    ],
)
async def test_records_are_filtered_by_metadata_with_every_operator(aws, operator, right, found):
    memory = await aws.memory()

    def labels(colour, tags, size, month):
        return {
            "colour": {"stringValue": colour},
            "tags": {"stringListValue": tags},
            "size": {"numberValue": size},
            "day": {"dateTimeValue": datetime(2026, month, 1, tzinfo=UTC)},
        }

    await write(
        aws,
        memory,
        record("a", metadata=labels("red", ["x", "y"], 1, 1)),
        record("b", 2, metadata=labels("blue", ["x"], 2, 6)),
        record("c", 3),
    )
    kind = next(iter(right)) if right else "stringValue"
    key = {"stringValue": "colour", "stringListValue": "tags", "numberValue": "size", "dateTimeValue": "day"}[kind]
    condition = {"left": {"metadataKey": key}, "operator": operator}
    if right:
        condition["right"] = {"metadataValue": right}
    where = {"memoryId": memory, "namespace": "/facts/ada/", "metadataFilters": [condition]}
    assert sorted(texts(await aws.list_memory_records(**where))) == found


async def test_a_filter_compares_with_the_kind_of_value_it_can(aws):
    memory = await aws.memory()
    condition = {
        "left": {"metadataKey": "k"},
        "operator": "GREATER_THAN",
        "right": {"metadataValue": {"stringValue": "x"}},
    }
    where = {"memoryId": memory, "namespace": "/a/", "metadataFilters": [condition]}
    code, _, message = await aws.refused("list_memory_records", **where)
    assert code == "ValidationException"
    assert "numberValue" in message


async def test_a_retried_batch_is_one_batch(aws):
    memory = await aws.memory()
    given = {"memoryId": memory, "records": [record("once")], "clientToken": "token-1"}
    assert await aws.batch_create_memory_records(**given) == await aws.batch_create_memory_records(**given)
    assert texts(await aws.list_memory_records(memoryId=memory, namespacePath="/")) == ["once"]


async def test_records_expire_when_they_are_told_to(aws):
    memory = await aws.memory()
    given = {"memoryId": memory, "records": [record("soon")]}
    done = await aws.batch_create_memory_records(**given, recordExpirySpecification={"recordExpiryDurationDays": 31})
    record_id = done["successfulRecords"][0]["memoryRecordId"]
    shown = (await aws.get_memory_record(memoryId=memory, memoryRecordId=record_id))["memoryRecord"]
    assert (shown["expiresAt"] - shown["createdAt"]).days in {30, 31}
    change = [{"memoryRecordId": record_id, "timestamp": 1}]
    await aws.batch_update_memory_records(
        memoryId=memory, records=change, recordExpirySpecification={"action": "REMOVE"}
    )
    shown = (await aws.get_memory_record(memoryId=memory, memoryRecordId=record_id))["memoryRecord"]
    assert "expiresAt" not in shown


async def test_records_go_with_their_memory_and_are_nobody_elses(aws, aws_of):
    memory, other = await aws.memory(), await aws.memory("other_notes")
    (one,) = await write(aws, memory, record("secret"))
    stranger = await aws_of("other")
    for name, given in {
        "get_memory_record": {"memoryRecordId": one},
        "delete_memory_record": {"memoryRecordId": one},
        "list_memory_records": {"namespacePath": "/"},
        "retrieve_memory_records": {"namespacePath": "/", "searchCriteria": {"searchQuery": "secret"}},
        "batch_create_memory_records": {"records": [record("mine")]},
        "batch_update_memory_records": {"records": [{"memoryRecordId": one, "timestamp": 1}]},
        "batch_delete_memory_records": {"records": [{"memoryRecordId": one}]},
        "list_memory_extraction_jobs": {},
        "start_memory_extraction_job": {"extractionJob": {"jobId": "x"}},
    }.items():
        assert (await stranger.refused(name, memoryId=memory, **given))[0] == "ResourceNotFoundException", name
    assert (await aws.refused("get_memory_record", memoryId=other, memoryRecordId=one))[1] == 404
    assert texts(await aws.list_memory_records(memoryId=other, namespacePath="/")) == []
    await aws.delete_memory(memoryId=memory)
    again = await aws.memory()
    assert texts(await aws.list_memory_records(memoryId=again, namespacePath="/")) == []
