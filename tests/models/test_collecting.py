from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.messages import Delta, ModelReply, Usage
from corral.models.wire.collecting import Collector, tool_use


def test_text_reasoning_and_tools_become_parts_in_the_order_of_their_index() -> None:
    collector = Collector()
    deltas = [
        Delta("reasoning", "Hm", 0),
        Delta("text", "He", 1),
        Delta("tool_use", index=3, id="b", name="two"),
        Delta("tool_use", index=2, id="a", name="one"),
        Delta("text", "llo", 1),
        Delta("tool_input", '{"x"', 2),
        Delta("tool_input", '{"y": 2}', 3),
        Delta("tool_input", ": 1}", 2),
        Delta("reasoning", "m", 0),
    ]
    for delta in deltas:
        collector.add(delta)
    assert collector.came() == deltas
    collector.mark(0, signature="s")
    collector.id, collector.model, collector.stop_reason = "r1", "m", "tool_use"
    collector.usage = Usage(input=3, output=4)
    assert collector.next_index == 4
    assert collector.reply("p") == ModelReply(
        id="r1",
        model="m",
        provider="p",
        content=[
            {"type": "reasoning", "text": "Hmm", "signature": "s"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "one", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "two", "input": {"y": 2}},
        ],
        stop_reason="tool_use",
        usage=Usage(input=3, output=4),
    )


def test_pieces_of_one_text_that_came_at_once_are_one_delta() -> None:
    collector = Collector()
    collector.say("He", 0)
    collector.say("llo", 0)
    collector.add(Delta("reasoning", "Hm", 1))
    collector.say("!", 0)
    assert collector.came() == [
        Delta("text", "Hello", 0, pieces=("He", "llo")),
        Delta("reasoning", "Hm", 1),
        Delta("text", "!", 0),
    ]
    assert collector.came() == []
    collector.say("?", 0)
    assert collector.reply().text == "Hello!?"
    assert collector.came() == [Delta("text", "?", 0)]


def test_nothing_said_is_an_empty_reply() -> None:
    collector = Collector()
    assert not collector.begun
    assert collector.reply() == ModelReply(stop_reason="other")


def test_a_part_that_came_whole_replaces_its_pieces() -> None:
    collector = Collector()
    collector.add(Delta("text", "He"))
    collector.put(0, {"type": "text", "text": "Hello"})
    collector.put(1, {"type": "reasoning", "data": "abc"})
    assert collector.begun
    assert collector.content() == [{"type": "text", "text": "Hello"}, {"type": "reasoning", "data": "abc"}]


def test_arguments_that_are_no_json_object_are_kept_as_they_were_written() -> None:
    assert tool_use("1", "f", "") == {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    assert tool_use("1", "f", '{"a": [1') == {
        "type": "tool_use",
        "id": "1",
        "name": "f",
        "input": {},
        "input_text": '{"a": [1',
    }
    assert tool_use("1", "f", "[1]")["input_text"] == "[1]"


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=5)), max_size=30))
def test_pieces_mixed_in_any_way_are_joined_by_part(pieces: list[tuple[int, str]]) -> None:
    collector = Collector()
    for index, text in pieces:
        collector.add(Delta("text", text, index))
    expected = {index: "".join(t for i, t in pieces if i == index) for index, _ in pieces}
    assert [part["text"] for part in collector.content()] == [expected[index] for index in sorted(expected)]
