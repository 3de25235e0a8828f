"""Agents of real frameworks, served as they are."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypedDict

import pytest

from corral.app import App

pytestmark = pytest.mark.frameworks


def said(body: str) -> str:
    """The pieces of a streamed answer, put together."""
    return "".join(json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: "))


# -- LangGraph ---------------------------------------------------------------------------------------------------------


def graph_of_messages() -> Any:
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, MessagesState, StateGraph

    def forever():
        while True:
            yield AIMessage(content="Hello from the graph")

    model = GenericFakeChatModel(messages=forever())

    async def talk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("talk", talk).add_edge(START, "talk").compile()


async def test_a_langgraph_graph_streams_what_its_model_says(serve):
    app = App()
    app.add(graph_of_messages())
    server = await serve(app)
    answer = await server.invoke({"prompt": "hi"})
    assert said(answer.text) == "Hello from the graph"


async def test_a_langgraph_graph_without_a_model_answers_with_its_last_state(serve):
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langgraph.graph import START, StateGraph
    from typing_extensions import TypedDict

    class Sum(TypedDict):
        left: int
        right: int
        total: int

    graph = (
        StateGraph(Sum).add_node("add", lambda s: {"total": s["left"] + s["right"]}).add_edge(START, "add").compile()
    )
    app = App()
    app.add(graph, "sum")
    server = await serve(app)
    answer = await server.invoke({"left": 2, "right": 3}, "/v1/agents/sum/invocations")
    assert '"total": 5' in answer.text


async def test_a_langgraph_graph_gets_the_session_as_its_thread(serve):
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    def count(state: MessagesState) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": f"{len(state['messages'])} messages"}]}

    graph = (
        StateGraph(MessagesState)
        .add_node("count", count)
        .add_edge(START, "count")
        .compile(checkpointer=InMemorySaver())
    )
    app = App()
    app.add(graph)
    server = await serve(app)
    first = await server.invoke({"prompt": "a"}, x_session_id="one")
    second = await server.invoke({"prompt": "b"}, x_session_id="one")
    other = await server.invoke({"prompt": "c"}, x_session_id="two")
    assert [said(answer.text) for answer in (first, second, other)] == ["1 messages", "3 messages", "1 messages"]


async def test_a_langgraph_graph_without_a_checkpointer_remembers_its_session(serve):
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langgraph.graph import START, MessagesState, StateGraph

    def count(state: MessagesState) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": f"{len(state['messages'])} messages"}]}

    app = App()
    app.add(StateGraph(MessagesState).add_node("count", count).add_edge(START, "count").compile())
    server = await serve(app)
    answers = [await server.invoke({"prompt": "a"}, x_session_id="one") for _ in range(2)]
    assert [said(answer.text) for answer in answers] == ["1 messages", "3 messages"]


async def test_a_langgraph_state_of_the_standard_library_is_served_with_its_own_prompt(serve):
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langgraph.graph import START, StateGraph

    class Asked(TypedDict):  # pydantic refuses to make a schema of it before Python 3.12
        prompt: str
        answer: str

    graph = StateGraph(Asked).add_node("say", lambda s: {"answer": s["prompt"] * 2}).add_edge(START, "say").compile()
    app = App()
    app.add(graph)
    server = await serve(app)
    assert '"answer": "xx"' in (await server.invoke({"prompt": "x"})).text


async def test_a_langgraph_graph_waits_for_a_person_and_goes_on(serve):
    pytest.importorskip("langgraph", reason="`make test-frameworks` installs it")
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import interrupt

    def ask(_state: MessagesState) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": f"decided {interrupt({'ask': 'Refund 10?'})}"}]}

    app = App()
    app.add(StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile(checkpointer=InMemorySaver()))
    server = await serve(app)
    asked = await server.invoke({"prompt": "refund"}, x_session_id="one")
    (waiting,) = json.loads(asked.text.removeprefix("data: "))["interrupts"]
    assert waiting["value"] == {"ask": "Refund 10?"}
    answered = await server.invoke({"resume": "yes"}, x_session_id="one")
    assert said(answered.text) == "decided yes"
    again = await server.invoke({"resume": "yes"}, x_session_id="one")
    assert "Nothing waits for an answer" in again.text


# -- pydantic-ai -------------------------------------------------------------------------------------------------------


def pydantic_agent(**more: Any) -> Any:
    pytest.importorskip("pydantic_ai", reason="`make test-frameworks` installs it")
    from pydantic_ai import Agent
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    async def stream(messages: list[Any], _info: AgentInfo):
        yield f"{len(messages)} messages, "
        yield f"the last one {messages[-1].parts[-1].content!r}"

    return Agent(FunctionModel(stream_function=stream), **more)


async def test_a_pydantic_ai_agent_streams_and_remembers(serve):
    app = App()
    app.add(pydantic_agent())
    server = await serve(app)
    first = await server.invoke({"prompt": "hi"}, x_session_id="one")
    second = await server.invoke({"prompt": "again"}, x_session_id="one")
    assert said(first.text) == "1 messages, the last one 'hi'"
    assert said(second.text) == "3 messages, the last one 'again'"


async def test_a_pydantic_ai_agent_answers_with_its_type(serve):
    pytest.importorskip("pydantic_ai", reason="`make test-frameworks` installs it")
    from pydantic import BaseModel
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    class Verdict(BaseModel):
        good: bool
        why: str

    app = App()
    app.add(Agent(TestModel(custom_output_args={"good": True, "why": "because"}), output_type=Verdict))
    server = await serve(app)
    answer = await server.invoke({"prompt": "judge"})
    assert json.loads(answer.text.removeprefix("data: ")) == {"good": True, "why": "because"}


async def test_a_pydantic_ai_agent_that_speaks_before_it_calls_a_tool_calls_it(serve):
    pytest.importorskip("pydantic_ai", reason="`make test-frameworks` installs it")
    from pydantic_ai import Agent
    from pydantic_ai.models.function import DeltaToolCall, FunctionModel

    async def stream(messages: list[Any], _info: Any):
        if len(messages) == 1:
            yield "Let me look. "
            yield {1: DeltaToolCall(name="weather", json_args='{"city": "Oslo"}', tool_call_id="a")}
        else:
            yield str(messages[-1].parts[0].content)

    agent = Agent(FunctionModel(stream_function=stream))

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"It rains in {city}."

    app = App()
    app.add(agent)
    server = await serve(app)
    assert said((await server.invoke({"prompt": "the weather?"})).text) == "Let me look. It rains in Oslo."


async def test_a_pydantic_ai_agent_ends_when_its_client_leaves(serve):
    pytest.importorskip("pydantic_ai", reason="`make test-frameworks` installs it")
    from pydantic_ai import Agent
    from pydantic_ai.models.function import FunctionModel

    ended = asyncio.Event()

    async def stream(_messages: list[Any], _info: Any):
        try:
            yield "The first piece. "
            await asyncio.Event().wait()
        finally:
            ended.set()

    app = App()
    app.add(Agent(FunctionModel(stream_function=stream)))
    server = await serve(app)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(
        b"POST /invocations HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        b'content-length: 16\r\n\r\n{"prompt": "hi"}'
    )
    await reader.readuntil(b"piece. ")
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        await ended.wait()


# -- Strands -----------------------------------------------------------------------------------------------------------


def strands_agent() -> Any:
    strands = pytest.importorskip("strands", reason="`make test-frameworks` installs it")
    from strands.models.model import Model

    class Echo(Model):
        """Says how many messages it was given, and the last one."""

        def update_config(self, **_: Any) -> None: ...
        def get_config(self) -> Any:
            return {}

        async def structured_output(self, *_: Any, **__: Any):
            yield

        async def stream(self, messages: Any, *_: Any, **__: Any):
            await asyncio.sleep(0.01)  # long enough for two calls to meet
            text = messages[-1]["content"][0]["text"]
            yield {"messageStart": {"role": "assistant"}}
            yield {"contentBlockStart": {"start": {}}}
            for piece in (f"{len(messages)} messages, ", f"the last one {text!r}"):
                yield {"contentBlockDelta": {"delta": {"text": piece}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "end_turn"}}

    return strands.Agent(model=Echo(), callback_handler=None)


async def test_a_strands_agent_streams_and_remembers(serve):
    app = App()
    app.add(strands_agent())
    server = await serve(app)
    first = await server.invoke({"prompt": "hi"}, x_session_id="one")
    second = await server.invoke({"prompt": "again"}, x_session_id="one")
    assert said(first.text) == "1 messages, the last one 'hi'"
    assert said(second.text) == "3 messages, the last one 'again'"


async def test_one_strands_agent_answers_many_at_once_and_mixes_nobody_up(serve):
    app = App()
    app.add(strands_agent())
    server = await serve(app)
    answers = await asyncio.gather(*(server.invoke({"prompt": f"p{n}"}) for n in range(10)))
    assert [said(answer.text) for answer in answers] == [f"1 messages, the last one 'p{n}'" for n in range(10)]
