"""Graphs as LangGraph compiles them, told by their shape and served over HTTP. The real ones are met in `tests/frameworks`."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from corral.app import App
from corral.errors import ConfigError
from corral.runtime.adapters import adapt


class Graph:
    """What Corral knows a compiled graph by, around one function from what goes in to the last state."""

    def __init__(self, work: Any, *fields: str, checkpointer: Any = None, waits: bool = False) -> None:
        self.work = work
        self.channels = dict.fromkeys((*fields, "__start__", "branch:to:work"))
        self.builder = object() if fields else None
        self.checkpointer = checkpointer
        self.waits = waits

    @property
    def input_schema(self) -> Any:
        raise TypeError("Made when it is looked at, and not of every state.")

    def get_graph(self) -> None: ...

    async def ainvoke(self, state: Any) -> Any: ...

    async def aget_state(self, _config: Any) -> Any:
        return SimpleNamespace(tasks=[SimpleNamespace(interrupts=["?"] if self.waits else [])])

    async def astream(self, state: Any, _config: Any, *, stream_mode: list[str]):
        assert stream_mode == ["messages", "values"]
        yield "values", self.work(state)


def said(state: Any) -> dict[str, Any]:
    """The words of all messages, as the answer."""
    return {"messages": [" | ".join(one["content"] for one in state["messages"])]}


async def answer(serve, graph: Graph, *payloads: Any) -> Any:
    """What the last of them was answered, in one session."""
    app = App()
    app.add(graph)
    server = await serve(app)
    for payload in payloads:
        got = await server.invoke(payload, "/v1/agents/main/invocations", x_session_id="one")
    data = [line for line in got.text.splitlines() if line.startswith("data: ")]
    return json.loads(data[0][6:])


async def test_a_graph_that_keeps_nothing_is_told_what_was_said_before(serve):
    heard = await answer(serve, Graph(said, "messages"), {"prompt": "I am Ada"}, {"message": "Who am I?"})
    assert heard == "I am Ada | I am Ada | Who am I?"


async def test_a_graph_that_keeps_its_thread_is_told_the_new_message_alone(serve):
    heard = await answer(serve, Graph(said, "messages", checkpointer=object()), {"prompt": "a"}, {"prompt": "b"})
    assert heard == "b"


async def test_a_prompt_goes_along_with_the_graphs_other_fields(serve):
    def work(state: Any) -> Any:
        return {"was": state}

    got = await answer(serve, Graph(work, "messages", "city"), {"prompt": "hi", "city": "Oslo", "other": 1})
    assert got == {"was": {"city": "Oslo", "messages": [{"role": "user", "content": "hi"}]}}


@pytest.mark.parametrize("payload", [{"prompt": "x"}, {"prompt": "x", "other": 1}])
async def test_a_field_of_the_graphs_own_is_not_a_message(serve, payload):
    got = await answer(serve, Graph(lambda state: {"was": state}, "prompt", "answer"), payload)
    assert got == {"was": payload}


async def test_what_a_graph_does_not_read_is_refused_with_what_it_reads(serve):
    got = await answer(serve, Graph(said, "question", "answer"), {"prompt": "x"})
    assert got["code"] == "validation_error"
    assert "`answer`, `question`" in got["errors"][0]["message"]


async def test_a_graph_of_functions_takes_anything(serve):
    assert await answer(serve, Graph(lambda given: {"was": given}), {"prompt": "x"}) == {"was": {"prompt": "x"}}


async def test_a_graph_that_waits_for_a_person_says_so_instead_of_answering(serve):
    def work(_state: Any) -> Any:
        return {"messages": ["Refund it"], "__interrupt__": (SimpleNamespace(id="i-1", value={"ask": "Refund 10?"}),)}

    got = await answer(serve, Graph(work, "messages", checkpointer=object()), {"prompt": "Refund it"})
    assert got == {"interrupts": [{"id": "i-1", "value": {"ask": "Refund 10?"}}]}


async def test_an_answer_that_nobody_waits_for_is_refused(serve):
    got = await answer(serve, Graph(said, "messages", checkpointer=object()), {"resume": True})
    assert (got["code"], got["errors"][0]["pointer"]) == ("validation_error", "/resume")


async def test_what_is_wrong_is_said_to_agentcores_clients_as_well(serve):
    app = App()
    app.add(Graph(said, "messages"))
    server = await serve(app)
    assert "needs a `prompt`" in (await server.invoke({"words": "x"})).text


def test_a_chain_is_no_graph():
    chain = SimpleNamespace(astream=print, ainvoke=print, get_graph=print, input_schema=None)
    with pytest.raises(ConfigError, match="wrap it in a function"):
        adapt(chain)
