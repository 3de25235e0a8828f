from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ContextTooLong
from corral.memory.sizes import Sizes, safe_size, said
from corral.memory.summarising import KeptHere, Summariser, chained, digests_of
from corral.memory.trimming import results_trimmed
from corral.memory.units import is_pinned, is_question, mended, units_of
from corral.memory.window import ContextWindow
from corral.messages import Caller, Message, ModelCall, ModelEvent, ModelReply, ToolSpec
from corral.models.tokens import estimate

CALLER = Caller(tenant="acme", session_id="s-1")


class Model:
    """Summarises by saying what it read last, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.held: asyncio.Event | None = None
        self.fault: Exception | None = None

    async def __call__(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        self.calls.append(call)
        if self.held is not None:
            await self.held.wait()
        if self.fault is not None:
            raise self.fault
        text = call.messages[-1].text
        yield ModelReply(content=[{"type": "text", "text": f"summary {len(self.calls)} up to {text[-30:]}"}])


def talk(turns: int, words: int = 20) -> list[Message]:
    """A conversation: question, call, result, answer, again and again."""
    out = []
    for n in range(turns):
        out += [
            said("user", f"Question {n}. " + "word " * words),
            Message(role="assistant", content=[{"type": "tool_use", "id": f"c{n}", "name": "look", "input": {"n": n}}]),
            Message(
                role="tool",
                content=[
                    {
                        "type": "tool_result",
                        "tool_use_id": f"c{n}",
                        "content": [{"type": "text", "text": "found " * words}],
                    }
                ],
            ),
            said("assistant", f"Answer {n}. " + "word " * words),
        ]
    return out


def pairs(messages: list[Message]) -> tuple[list[str], list[str]]:
    parts = [part for message in messages for part in message.content]
    return (
        [part["id"] for part in parts if part["type"] == "tool_use"],
        [part["tool_use_id"] for part in parts if part["type"] == "tool_result"],
    )


async def test_what_fits_is_left_alone() -> None:
    messages = [said("system", "Be kind."), *talk(5)]
    fitted = await ContextWindow().fit(messages)
    assert fitted.messages == messages
    assert fitted.report.left_out == []
    assert fitted.report.summary == ""
    assert fitted.report.tokens == sum(fitted.report.parts.values())


async def test_older_turns_become_an_extract_that_says_so_when_nobody_summarises() -> None:
    messages = [said("system", "Be kind."), *talk(60)]
    fitted = await ContextWindow(4_000, recent=8).fit(messages)
    assert fitted.messages[0] == messages[0]
    assert fitted.messages[-1] == messages[-1]
    assert "not a summary" in fitted.messages[1].text
    assert "Question 0." in fitted.messages[1].text
    assert fitted.report.summary == "extract"
    assert fitted.report.tokens <= 4_000
    assert {one.why for one in fitted.report.left_out} == {"recent"}
    assert len(fitted.report.left_out) + len(fitted.messages) - 1 == len(messages)


async def test_the_beginning_stays_the_same_for_many_turns() -> None:
    window = ContextWindow(4_000, recent=8)
    conversation = talk(80)
    heads: list[str] = []
    for turn in range(20, 80):
        fitted = await window.fit(conversation[: turn * 4])
        heads.append(fitted.messages[1].text)
    changes = sum(before != after for before, after in itertools.pairwise(heads))
    assert changes <= 12  # once in several turns, not with each
    before = await window.fit(conversation[:80])
    after = await window.fit(conversation[:84])
    assert after.messages[: before.report.stable] == before.messages


async def test_a_summary_is_made_once_and_goes_on_from_the_one_before() -> None:
    model = Model()
    kept = KeptHere()
    window = ContextWindow(4_000, recent=8, summariser=Summariser(model, summaries=kept))
    conversation = talk(80)
    first = await window.fit(conversation[:160], caller=CALLER)
    assert first.report.summary == "model"
    assert len(model.calls) == 1
    again = await window.fit(conversation[:160], caller=CALLER)
    assert again.messages == first.messages
    assert len(model.calls) == 1
    other = ContextWindow(4_000, recent=8, summariser=Summariser(model, summaries=kept))
    assert (await other.fit(conversation[:160], caller=CALLER)).messages == first.messages
    assert len(model.calls) == 1
    await window.fit(conversation, caller=CALLER)
    assert len(model.calls) == 2
    material = model.calls[-1].messages[-1].text
    assert "summary 1 up to" in material
    assert "Question 0." not in material
    assert "Question 60." in material


async def test_each_question_is_summarised_once_although_the_last_one_always_stays() -> None:
    model = Model()
    window = ContextWindow(3_000, recent=6, summariser=Summariser(model))
    messages = [said("user", "The long task.")]
    for n in range(60):
        messages += talk(1, 30)[1:3]
        messages[-2] = msgspec.structs.replace(
            messages[-2], content=[{"type": "tool_use", "id": f"x{n}", "name": "look", "input": {"n": n}}]
        )
        messages[-1] = msgspec.structs.replace(
            messages[-1],
            content=[
                {"type": "tool_result", "tool_use_id": f"x{n}", "content": [{"type": "text", "text": "found " * 30}]}
            ],
        )
        fitted = await window.fit(messages, caller=CALLER)
        assert any(message.text == "The long task." for message in fitted.messages)
    asked = len(model.calls)
    messages += [said("assistant", "Done."), said("user", "And now?")]
    fitted = await window.fit(messages, caller=CALLER)
    for call in model.calls[1:]:
        assert "The long task." not in call.messages[-1].text.partition("<messages>")[2]
    assert len(model.calls) <= asked + 1


async def test_who_reads_the_newest_messages_alone_finds_the_summary_of_those_before() -> None:
    model = Model()
    window = ContextWindow(4_000, recent=8, summariser=Summariser(model))
    conversation = talk(90)
    await window.fit(conversation[:160], caller=CALLER)
    for turn in range(41, 90):
        fitted = await window.fit(conversation[max(0, turn * 4 - 120) : turn * 4], caller=CALLER)
        assert fitted.report.summary == "model"
    assert len(model.calls) <= 10
    read = "".join(call.messages[-1].text.partition("<messages>")[2] for call in model.calls)
    for n in range(60):
        assert read.count(f"Question {n}.") == 1


async def test_summaries_of_tenants_and_sessions_never_meet() -> None:
    model = Model()
    window = ContextWindow(4_000, recent=8, summariser=Summariser(model))
    for caller in (CALLER, Caller(tenant="other", session_id="s-1"), Caller(tenant="acme", session_id="s-2")):
        await window.fit(talk(40), caller=caller)
    assert len(model.calls) == 3


async def test_a_reply_does_not_wait_long_for_a_summary() -> None:
    model = Model()
    model.held = asyncio.Event()
    summariser = Summariser(model)
    window = ContextWindow(4_000, recent=8, summariser=summariser, wait_s=0.0)
    fitted = await window.fit(talk(40), caller=CALLER)
    assert fitted.report.summary == "extract"
    model.held.set()
    await summariser.drain()
    later = ContextWindow(4_000, recent=8, summariser=Summariser(model, summaries=summariser.summaries), wait_s=0.0)
    assert (await later.fit(talk(40), caller=CALLER)).report.summary == "model"
    model.held = asyncio.Event()
    behind = await later.fit(talk(80), caller=CALLER)
    assert behind.report.summary == "behind"
    assert "summary 1" in behind.messages[0].text
    assert "not a summary" in behind.messages[0].text
    assert any(not one.summarised for one in behind.report.left_out)
    await later.summariser.stop()  # type: ignore[union-attr]  # it has one
    await summariser.stop()
    await summariser.stop()


async def test_a_summary_that_fails_costs_the_reply_nothing() -> None:
    model = Model()
    model.fault = ContextTooLong("no")
    window = ContextWindow(4_000, recent=8, summariser=Summariser(model))
    assert (await window.fit(talk(40), caller=CALLER)).report.summary == "extract"
    model.fault = None
    assert (await window.fit(talk(40), caller=CALLER)).report.summary == "model"


async def test_a_long_beginning_is_summarised_in_several_calls_of_bounded_size() -> None:
    model = Model()
    window = ContextWindow(4_000, recent=8, summariser=Summariser(model, input_tokens=3_000, max_tokens=300), wait_s=10)
    assert (await window.fit(talk(80), caller=CALLER)).report.summary == "model"
    assert len(model.calls) > 2
    assert all(safe_size(call.messages[-1]) < 4_000 for call in model.calls)


async def test_long_results_of_tools_are_cut_and_say_where_the_rest_is() -> None:
    messages = talk(1)
    long = "line\n" * 20_000
    messages[2] = Message(
        role="tool",
        content=[{"type": "tool_result", "tool_use_id": "c0", "content": [{"type": "text", "text": long}]}],
    )
    fitted = await ContextWindow(20_000).fit(messages, where=lambda call: f"artefact 'a-{call}'")
    result = fitted.messages[2].content[0]["content"][0]["text"]
    assert result.startswith("line\nline")
    assert "artefact 'a-c0'" in result
    assert fitted.report.trimmed[0].index == 2
    assert fitted.report.trimmed[0].why == "tool_result"
    unknown = await ContextWindow(20_000).fit(messages)
    assert "call the tool again" in unknown.messages[2].content[0]["content"][0]["text"]


async def test_half_a_call_is_not_sent() -> None:
    messages = [
        said("user", "hi"),
        Message(
            role="assistant",
            content=[{"type": "text", "text": "so"}, {"type": "tool_use", "id": "a", "name": "x", "input": {}}],
        ),
        said("user", "never mind"),
        Message(role="tool", content=[{"type": "tool_result", "tool_use_id": "zz", "content": []}]),
    ]
    fitted = await ContextWindow().fit(messages)
    assert [message.text for message in fitted.messages] == ["hi", "so", "never mind"]
    assert [(one.index, one.why) for one in fitted.report.left_out] == [(1, "no_result"), (3, "no_call")]


async def test_what_was_looked_up_stands_before_the_question_and_within_its_share() -> None:
    messages = talk(3)
    found = [said("user", f"Document {n}: " + "fact " * 100) for n in range(40)]
    fitted = await ContextWindow(4_000, retrieved_share=0.2).fit(messages, retrieved=found)
    place = next(n for n, message in enumerate(fitted.messages) if message.text.startswith("Document 0"))
    assert fitted.messages[:place] == messages[:8]
    assert fitted.messages[-4:] == messages[-4:]
    assert fitted.report.parts["retrieved"] <= 800
    assert fitted.report.stable == place
    assert {one.why for one in fitted.report.left_out} == {"retrieved_budget"}


async def test_too_much_that_must_stay_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ContextTooLong, match="pin less"):
        await ContextWindow(500).fit([said("system", "word " * 2_000), said("user", "hi")])
    tools = [ToolSpec(name="t", description="word " * 2_000)]
    with pytest.raises(ContextTooLong, match="fewer tools"):
        await ContextWindow(500).fit([said("user", "hi")], tools=tools)


async def test_one_message_larger_than_everything_is_cut_in_its_middle() -> None:
    message = said("user", "begin " + "word " * 50_000 + "end")
    fitted = await ContextWindow(2_000).fit([message])
    text = fitted.messages[0].text
    assert text.startswith("begin")
    assert text.endswith("end")
    assert "cut here" in text
    assert fitted.report.tokens <= 2_000
    assert fitted.report.trimmed[0].why == "too_large"


async def test_pictures_are_counted() -> None:
    picture = Message(role="user", content=[{"type": "image", "data": "aGk=", "media_type": "image/png"}])
    assert (await ContextWindow().fit([picture])).report.tokens >= 1_000


async def test_a_counter_from_outside_is_used() -> None:
    window = ContextWindow(1_000, count=lambda message, model: 100, recent=4)
    fitted = await window.fit([said("user", str(n)) for n in range(30)])
    assert not fitted.report.estimated
    assert fitted.report.tokens == len(fitted.messages) * 100 <= 1_000


# -- for any conversation ---------------------------------------------------------------------------------------------

texts = st.builds(
    lambda word, times: (word + " ") * times,
    st.sampled_from(["ab", "Größe", "漢字", "12345", "x{}"]),
    st.integers(0, 400),
)


@st.composite
def conversations(draw: Any) -> list[Message]:
    out: list[Message] = []
    calls: list[str] = []
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(
            st.sampled_from(["user", "assistant", "call", "calls", "result", "stray", "pinned", "system", "image"])
        )
        if kind in {"user", "assistant"}:
            out.append(said(kind, draw(texts)))
        elif kind in {"call", "calls"}:
            ids = [draw(st.sampled_from(["a", "b", "c", "d"])) for _ in range(1 if kind == "call" else 3)]
            ids = list(dict.fromkeys(ids))
            calls += ids
            out.append(
                Message(
                    role="assistant",
                    content=[{"type": "tool_use", "id": one, "name": "t", "input": {"q": draw(texts)}} for one in ids],
                )
            )
        elif kind == "result" and calls:
            answered, calls = calls, []
            out += [
                Message(
                    role="tool",
                    content=[
                        {"type": "tool_result", "tool_use_id": one, "content": [{"type": "text", "text": draw(texts)}]}
                    ],
                )
                for one in dict.fromkeys(answered)
            ]
        elif kind == "stray":
            out.append(Message(role="tool", content=[{"type": "tool_result", "tool_use_id": "q", "content": "x"}]))
        elif kind == "pinned":
            out.append(said("user", draw(texts)[:200], pinned=True))
        elif kind == "system":
            out.append(said("system", draw(texts)[:100]))
        else:
            out.append(Message(role="user", content=[{"type": "image", "url": "https://example.org/a.png"}]))
    return out


@given(conversations(), st.integers(4_000, 20_000), st.integers(1, 12), st.booleans())
async def test_the_window_holds_what_it_promises(messages: list[Message], most: int, recent: int, found: bool) -> None:
    window = ContextWindow(most, recent=recent, tool_result_max=600)
    retrieved = [said("user", "looked up " * 40)] if found else []
    try:
        fitted = await window.fit(messages, retrieved=retrieved)
    except ContextTooLong:
        kept = [message for message in messages if is_pinned(message)]
        assert Sizes().of_all(kept) > most // 2 or len(messages[-1].content) > 1
        return
    out = fitted.messages
    # never over the budget, and the sums are true
    assert sum(map(safe_size, out)) == fitted.report.tokens <= most
    # what is pinned is in, word for word
    assert [message for message in out if is_pinned(message)] == [message for message in messages if is_pinned(message)]
    # calls and results come in pairs
    calls, results = pairs(out)
    assert sorted(calls) == sorted(results)
    assert mended(out)[1] == []
    # the order is kept: what is there unchanged stands in the order in which it was said
    places = []
    for message in out:
        place = next((n for n, one in enumerate(messages) if one is message), None)
        if place is not None:
            places.append(place)
    assert places == sorted(places)
    # the last question is there, if only its beginning
    questions = [message for message in mended(messages)[0] if is_question(message[1])]
    if questions:
        assert any(is_question(message) for message in out)
    # the same again gives the same
    again = await ContextWindow(most, recent=recent, tool_result_max=600).fit(messages, retrieved=retrieved)
    assert again.messages == out
    assert again.report == fitted.report
    # every message is sent, or said to be left out
    gone = {one.index for one in fitted.report.left_out if one.why != "retrieved_budget"}
    assert len(set(places) | gone | {one.index for one in fitted.report.trimmed}) == len(messages)


@given(conversations())
def test_units_cover_the_conversation_and_split_no_pair(messages: list[Message]) -> None:
    whole = [message for _, message in mended(messages)[0]]
    units = units_of(whole)
    covered = [place for unit in units for place in range(unit.first, unit.last + 1)]
    assert covered == list(range(len(whole)))
    for unit in units:
        calls, results = pairs(whole[unit.first : unit.last + 1])
        assert sorted(calls) == sorted(results)


@given(conversations(), st.integers(1, 30))
def test_a_longer_conversation_has_the_hashes_of_its_beginning(messages: list[Message], cut: int) -> None:
    whole, part = chained(digests_of(messages)), chained(digests_of(messages[:cut]))
    assert whole[: len(part)] == part
    assert len(set(whole)) == len(messages) + 1


@given(st.text(max_size=2_000), st.integers(0, 300))
def test_a_beginning_fits(text: str, most: int) -> None:
    sizes = Sizes()
    part = sizes.beginning(text, most)
    assert text.startswith(part)
    assert not part or sizes.of_text(part) <= most


@pytest.mark.parametrize("model", ["gpt-4.1", "claude-opus-4-5", "gpt-4", "llama-3.3", "qwen3", "gemini-2.5", "other"])
@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog, and nobody minds. " * 20,
        '{"id": 123456, "name": "Größe", "tags": ["a", "b"], "at": "2026-01-02T03:04:05Z"}' * 20,
        "def fold(entries: list[Entry]) -> State:\n    return reduce(step, entries, State())\n" * 20,
        "Привет, как дела? Всё хорошо. " * 30,
        "今日はいい天気ですね。漢字も読めます。" * 30,
        "مرحبا بالعالم " * 30,
        "8f14e45fceea167a5a36dedd4bea2543 " * 30,
        "🙂🚀🔥" * 30,
        "----------\n" * 50,
    ],
)
def test_the_estimate_is_on_the_safe_side(model: str, text: str) -> None:
    assert safe_size(said("user", text)) >= estimate([said("user", text)], model) * 0.97


def test_pictures_and_files_in_results_are_named_when_they_go() -> None:
    message = Message(
        role="tool",
        content=[
            {
                "type": "tool_result",
                "tool_use_id": "a",
                "content": [{"type": "image", "data": "x"}, {"type": "json", "json": {"a": 1}}],
            }
        ],
    )
    trimmed = results_trimmed(message, 200, Sizes())
    assert "1 pictures or files" in trimmed.content[0]["content"][0]["text"]
    assert '{"a":1}' in trimmed.content[0]["content"][0]["text"]
