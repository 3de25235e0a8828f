"""AgentCore's own `MemoryClient`, and the Strands session manager on top of it, against Corral."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import boto3
import pytest

from processes import serving

memory = pytest.importorskip("bedrock_agentcore.memory", reason="`make test-reference` installs it")
pytestmark = [
    pytest.mark.reference,
    # What the SDK does with sockets and warnings is its own affair.
    pytest.mark.filterwarnings("ignore"),
]

CONFIG = """
models:
  providers:
    script:
      kind: sim
      options: {ttft_ms: 0, itl_ms: 0, script: [{match: trains, reply: '{"items":[{"op":"add","text":"Ada likes trains.","turns":[1]}]}'}]}
memory: {learning: {model: script/medium, idle_s: 0.2}}
jobs: {poll_s: 0.1}
"""
PATIENCE_S = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served"), config=CONFIG) as server:
        yield server


@pytest.fixture
def session(server, monkeypatch):
    url = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL", url)
    return boto3.Session(aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1")


@pytest.fixture
def client(session):
    client = memory.MemoryClient(region_name="us-east-1", boto3_session=session)
    yield client
    for found in client.list_memories():
        client.delete_memory(found["id"])


FACTS = {"semanticMemoryStrategy": {"name": "facts", "namespaceTemplates": ["/facts/{actorId}/"]}}


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [part["conversational"]["content"]["text"] for event in events for part in event["payload"]]


def test_a_memory_and_its_strategies(client):
    made = client.create_memory_and_wait(name="notes", strategies=[FACTS], event_expiry_days=7, poll_interval=0)
    memory_id = made["memoryId"]
    assert client.get_memory_status(memory_id) == "ACTIVE"
    assert client.create_or_get_memory(name="notes", strategies=[FACTS])["id"] == memory_id
    client.add_summary_strategy_and_wait(memory_id, "sums", poll_interval=0)
    client.add_user_preference_strategy_and_wait(memory_id, "likes", poll_interval=0)
    prompts = {"prompt": "Take prices.", "modelId": "script/medium"}
    client.add_custom_semantic_strategy_and_wait(memory_id, "own", prompts, prompts, poll_interval=0)
    strategies = {one["name"]: one for one in client.get_memory_strategies(memory_id)}
    assert set(strategies) == {"facts", "sums", "likes", "own"}
    assert strategies["facts"]["memoryStrategyType"] == "SEMANTIC"
    own = strategies["own"]["memoryStrategyId"]
    change = {"extraction": {"appendToPrompt": "Take names.", "modelId": "script/medium"}}
    client.modify_strategy(memory_id, own, description="Names", configuration=change)
    client.delete_strategy(memory_id, strategies["likes"]["memoryStrategyId"])
    strategies = {one["name"]: one for one in client.get_memory_strategies(memory_id)}
    assert set(strategies) == {"facts", "sums", "own"}
    assert strategies["own"]["description"] == "Names"
    client.delete_memory_and_wait(memory_id, poll_interval=0)
    assert client.list_memories() == []


def test_a_conversation_with_branches(client):
    memory_id = client.create_memory(name="notes")["id"]
    place = {"memory_id": memory_id, "actor_id": "ada", "session_id": "s-1"}
    first = client.create_event(**place, messages=[("Hi", "USER"), ("Hello", "ASSISTANT")])
    client.create_event(**place, messages=[("How are you?", "USER"), ("Fine", "ASSISTANT")])
    turns = client.get_last_k_turns(**place, k=2)
    assert [[part["content"]["text"] for part in turn] for turn in turns] == [["How are you?", "Fine"], ["Hi", "Hello"]]
    client.fork_conversation(
        **place, root_event_id=first["eventId"], branch_name="other", new_messages=[("Otherwise?", "USER")]
    )
    client.create_event(**place, messages=[("And so on", "USER")], branch={"name": "other"})
    branches = {one["name"]: one for one in client.list_branches(**place)}
    assert branches["other"]["rootEventId"] == first["eventId"]
    assert (branches["other"]["eventCount"], branches["main"]["eventCount"]) == (2, 2)
    listed = client.list_branch_events(**place, branch_name="other", include_parent_branches=True)
    assert texts(listed) == ["And so on", "Otherwise?", "Hi", "Hello"]
    assert len(client.list_branch_events(**place)) == 2
    tree = client.get_conversation_tree(**place)
    assert set(tree["main_branch"]["branches"]) == {"other"}
    assert [one["actorId"] for one in client.list_actors(memoryId=memory_id)["actorSummaries"]] == ["ada"]


def test_what_was_said_becomes_a_memory_that_is_found(client):
    memory_id = client.create_memory(name="notes", strategies=[FACTS])["id"]
    client.create_event(memory_id, "ada", "s-1", messages=[("I like trains.", "USER")])
    until = time.monotonic() + PATIENCE_S
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < until:
        found = client.retrieve_memories(memory_id, namespace="/facts/ada/", query="What does she like? Trains?")
    assert [one["content"]["text"] for one in found] == ["Ada likes trains."]
    assert client.retrieve_memories(memory_id, namespace_path="/facts/", query="trains")[0]["score"] > 0
    assert client.retrieve_memories(memory_id, namespace="/facts/bob/", query="trains") == []


# -- Strands ----------------------------------------------------------------------------------------------------------------


def agent_of(session: boto3.Session, memory_id: str, **config: Any) -> Any:
    """A Strands agent with a session manager of its own, and a model that says what it was shown."""
    strands = pytest.importorskip("strands", reason="`uv sync --group frameworks` installs it")
    from bedrock_agentcore.memory.integrations.strands.config import AgentCoreMemoryConfig
    from bedrock_agentcore.memory.integrations.strands.session_manager import AgentCoreMemorySessionManager
    from strands.models.model import Model

    class Echo(Model):
        def update_config(self, **_: Any) -> None: ...
        def get_config(self) -> Any:
            return {}

        async def structured_output(self, *_: Any, **__: Any):
            yield

        async def stream(self, messages: Any, *_: Any, **__: Any):
            shown = json.dumps([part.get("text") for message in messages for part in message["content"]])
            yield {"messageStart": {"role": "assistant"}}
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": f"{len(messages)} messages: {shown}"}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "end_turn"}}

    given = AgentCoreMemoryConfig(memory_id=memory_id, session_id="s-1", actor_id="ada", **config)
    manager = AgentCoreMemorySessionManager(given, region_name="us-east-1", boto_session=session)
    return strands.Agent(model=Echo(), callback_handler=None, session_manager=manager, agent_id="helper")


def told(agent: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"][0]["text"]) for message in agent.messages]


def test_a_strands_agent_goes_on_where_another_process_stopped(client, session):
    memory_id = client.create_memory(name="notes")["id"]
    first = agent_of(session, memory_id)
    first.state.set("mood", "good")
    first("My name is Ada.")
    second = agent_of(session, memory_id)
    assert told(second) == told(first)
    assert [role for role, _ in told(second)] == ["user", "assistant"]
    assert second.state.get("mood") == "good"
    second("What is my name?")
    third = agent_of(session, memory_id)
    assert [text for role, text in told(third) if role == "user"] == ["My name is Ada.", "What is my name?"]
    assert told(third)[-1][1].startswith("3 messages")


def test_a_strands_agent_is_told_what_was_learnt(client, session):
    pytest.importorskip("strands", reason="`uv sync --group frameworks` installs it")
    from bedrock_agentcore.memory.integrations.strands.config import RetrievalConfig

    memory_id = client.create_memory(name="notes", strategies=[FACTS])["id"]
    client.create_event(memory_id, "ada", "s-0", messages=[("I like trains.", "USER")])
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if client.retrieve_memories(memory_id, namespace="/facts/ada/", query="trains"):
            break
    agent = agent_of(session, memory_id, retrieval_config={"/facts/{actorId}/": RetrievalConfig(top_k=2)})
    answer = asyncio.run(agent.invoke_async("Do I like trains?"))
    assert "Ada likes trains." in str(answer)
