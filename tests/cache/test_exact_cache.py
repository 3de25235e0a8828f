"""The layer that keeps answers."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from cache_scene import Layers, Model, answer, ask, events_of, question, until

from corral.cache.shelf import SURE_S
from corral.cache.store import EntryDraft
from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelRequestInvalid,
    ModelUnavailable,
    NotCached,
    StoreUnavailable,
)
from corral.messages import Delta, ModelReply


async def test_the_same_question_is_asked_once_and_the_answer_is_free_then(layers):
    model = Model()
    one = await layers(model)
    first = await one.ask()
    assert (first.cached, first.cost_usd) == ("", 0.25)
    call = question()
    second = await one.ask(call)
    assert len(model.asked) == 1
    assert second == msgspec.structs.replace(first, cached="exact", cost_usd=0.0)
    assert call.notes["cache.kind"] == "exact"
    assert call.notes["cache.result"] == "hit"
    assert call.notes["cache.saved_usd"] == 0.25
    assert call.notes["cache.age_s"] == 0.0
    assert len(bytes.fromhex(call.notes["cache.key"])) == 16


async def test_another_process_finds_it_in_the_store(layers):
    one, other = await layers(Model()), await layers(Model(answer("never asked")))
    await one.ask()
    await one.shelf.flush()
    found = await other.ask()
    assert (found.text, found.cached) == ("A pen for horses.", "exact")
    assert other.model.asked == []


async def test_who_changes_an_answer_changes_his_own(layers):
    one = await layers(Model())
    for _ in range(3):
        reply = await one.ask()
        reply.content[0]["text"] = "spoilt"
    assert (await one.ask()).text == "A pen for horses."


async def test_tenants_and_scopes_share_nothing(layers):
    model = Model()
    one = await layers(model)
    for tenant in ("acme", "evil"):
        for scope in ("", "user-1", "user-2"):
            assert (await one.ask(tenant=tenant, cache_scope=scope)).cached == ""
    assert len(model.asked) == 6


async def test_an_answer_grows_stale_and_is_fetched_anew_once(layers, clock):
    model = Model(answer("old"), answer("new"))
    one = await layers(model, ttl_s=60, stale_s=30)
    await one.ask()
    clock.at += 61
    model.gate.clear()
    calls = [question() for _ in range(5)]
    for call in calls:
        assert (await one.ask(call)).cached == "stale"
        assert call.notes["cache.result"] == "stale"
        assert call.notes["cache.age_s"] == 61
    await until(lambda: len(model.asked) == 2)
    assert not model.asked[1].stream
    model.gate.set()
    await until(lambda: not one.cached._refreshing)
    await one.shelf.flush()
    fresh = await one.ask()
    assert (fresh.text, fresh.cached) == ("new", "exact")
    assert len(model.asked) == 2


async def test_of_several_workers_one_fetches_anew(layers, clock):
    one, other = await layers(Model(), ttl_s=60, stale_s=60), await layers(Model(), ttl_s=60, stale_s=60)
    await one.ask()
    await one.shelf.flush()
    clock.at += 61
    one.model.gate.clear()
    assert (await one.ask()).cached == "stale"
    await until(lambda: len(one.model.asked) == 2)
    assert (await other.ask()).cached == "stale"
    await until(lambda: not other.cached._refreshing)
    assert other.model.asked == []
    one.model.gate.set()
    await until(lambda: not one.cached._refreshing)
    await one.shelf.flush()


async def test_a_refresh_that_fails_is_not_tried_at_every_call(layers, clock):
    model = Model(answer(), ModelUnavailable("down"))
    one = await layers(model, ttl_s=60, stale_s=600)
    await one.ask()
    clock.at += 61
    for _ in range(5):
        assert (await one.ask()).cached == "stale"
        await until(lambda: not one.cached._refreshing)
        await one.shelf.flush()
    await one.shelf.flush()
    assert len(model.asked) == 2
    clock.at += 11
    await one.ask()
    await until(lambda: not one.cached._refreshing)
    await one.shelf.flush()
    assert len(model.asked) == 3


async def test_past_its_time_it_is_asked_anew(layers, clock):
    model = Model()
    one = await layers(model, ttl_s=60, stale_s=30)
    await one.ask()
    clock.at += 91
    assert (await one.ask()).cached == ""
    clock.at += 1
    assert (await one.ask(cache_ttl_s=5)).cached == "exact"
    assert (await one.ask(text="other", cache_ttl_s=5)).cached == ""
    clock.at += 36
    assert (await one.ask(text="other")).cached == ""
    assert (await one.ask(text="never", cache_ttl_s=0)).cached == ""
    assert (await one.ask(text="never")).cached == ""


async def test_a_stream_is_kept_and_told_again_as_a_stream(layers, monkeypatch):
    one = await layers(Model(answer("one two three four")))
    first = await events_of(question(stream=True), one)
    assert [type(event) for event in first] == [Delta] * 4 + [ModelReply]
    fast = await events_of(question(stream=True), one)
    assert [event.text for event in fast] == ["one two three four"] * 2
    pauses = []

    async def paused(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("corral.cache.replay.asyncio.sleep", paused)
    slow = await events_of(question(stream=True, replay_chunks_s=0.02), one)
    assert "".join(event.text for event in slow[:-1]) == "one two three four"
    assert len(slow) > 2
    assert pauses == [0.02] * (len(slow) - 2)
    assert slow[-1].cached == "exact"
    assert [event.text for event in await events_of(question(), one)] == ["one two three four"]


async def test_tool_calls_and_thoughts_are_told_again(layers):
    parts = [
        {"type": "reasoning", "text": "hm", "signature": "s"},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"b": [1, 2.5], "a": None}},
        {"type": "image", "url": "https://example.com/x.png"},
    ]
    one = await layers(Model(answer(content=parts, stop_reason="tool_use")))
    await one.ask()
    events = await events_of(question(stream=True), one)
    assert events[0] == Delta("reasoning", "hm", 0)
    assert events[1] == Delta("tool_use", index=2, id="t1", name="look")
    assert events[2].kind == "tool_input"
    assert msgspec.json.decode(events[2].text) == parts[2]["input"]
    assert events[3].content == parts
    assert len(events) == 4


@pytest.mark.parametrize(
    "reply",
    [
        answer(stop_reason="content_filter"),
        answer(stop_reason="pause"),
        answer(stop_reason="other"),
        answer(content=[]),
        answer(cached="semantic"),
        answer("x" * 1_048_577),
        answer(content=[{"type": "tool_use", "id": "1", "name": "x", "input": {}, "input_text": "{"}]),
        answer(content=[{"type": "text", "text": object()}]),
    ],
)
async def test_what_is_not_kept(layers, reply):
    model = Model(reply)
    one = await layers(model)
    await one.ask()
    await one.ask()
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    "reply",
    [
        answer(stop_reason="length"),
        answer(stop_reason="refusal"),
        answer(cost_usd=None),
        answer("y" * 1_000_000),
        answer(content=[{"type": "tool_use", "id": "1", "name": "x", "input": {}}], stop_reason="tool_use"),
        answer(logprobs=[{"token": "a", "logprob": -0.5}]),
    ],
)
async def test_what_is_kept(layers, reply):
    model = Model(reply)
    one = await layers(model)
    await one.ask()
    assert await one.ask() == msgspec.structs.replace(reply, cached="exact", cost_usd=0.0)


async def test_what_is_too_hot_is_left_alone(layers):
    model = Model()
    one = await layers(model, temperature_max=0.5)
    for temperature, asked in ((0.6, 1), (0.6, 2), (0.5, 3), (0.5, 3), (None, 4), (None, 4)):
        call = question(temperature=temperature)
        await one.ask(call)
        assert len(model.asked) == asked
        assert (call.notes["cache.result"] == "bypass") == (temperature == 0.6)
    with pytest.raises(NotCached):
        await one.ask(temperature=0.6, cache="only")


async def test_a_call_says_how_it_may_be_answered(layers):
    model = Model(answer("1"), answer("2"), answer("3"), answer("4"))
    one = await layers(model)
    with pytest.raises(NotCached):
        await one.ask(cache="only")
    assert (await one.ask()).text == "1"
    assert (await one.ask(cache="only")).text == "1"
    assert (await one.ask(cache="bypass")).text == "2"
    assert (await one.ask(cache="use")).text == "1"
    assert (await one.ask(cache="refresh")).text == "3"
    assert (await one.ask()).text == "3"


async def test_where_it_is_off_a_call_may_still_want_it(layers):
    model = Model()
    one = await layers(model, exact=False)
    for asked in (1, 2):
        await one.ask()
        assert len(model.asked) == asked
    await one.ask(cache="use")
    assert (await one.ask(cache="use")).cached == "exact"


@pytest.mark.parametrize("error", [ModelRequestInvalid, ContextTooLong, ContentFiltered])
async def test_a_refusal_that_would_come_again_is_told_again(layers, clock, error):
    model = Model(error("No such tool.", provider="sim", model="small", provider_status=400, provider_code="bad"))
    one = await layers(model, negative_ttl_s=60)
    for _ in range(3):
        with pytest.raises(error) as raised:
            await one.ask()
        assert raised.value.message == "No such tool."
        assert (raised.value.provider, raised.value.provider_status, raised.value.provider_code) == ("sim", 400, "bad")
    assert len(model.asked) == 1
    clock.at += 61
    with pytest.raises(error):
        await one.ask()
    assert len(model.asked) == 2


@pytest.mark.parametrize("error", [ModelAuthFailed, ModelUnavailable])
async def test_what_may_be_mended_is_not_told_again(layers, error):
    model = Model(error(), answer())
    one = await layers(model)
    with pytest.raises(error):
        await one.ask()
    assert (await one.ask()).cached == ""


async def test_refusals_need_not_be_kept(layers):
    model = Model(ModelRequestInvalid("no"))
    one = await layers(model, negative_ttl_s=0)
    for _ in range(2):
        with pytest.raises(ModelRequestInvalid):
            await one.ask()
    assert len(model.asked) == 2


async def test_a_clearing_is_seen_here_at_once_and_elsewhere_soon(layers, clock):
    one, other = await layers(Model()), await layers(Model())
    await one.ask(cache_tags=("horses",))
    await one.shelf.flush()
    assert (await other.ask()).cached == "exact"
    assert await one.shelf.drop("acme", tags=["horses"]) == 1
    with pytest.raises(NotCached):
        await one.ask(cache="only")
    assert (await other.ask()).cached == "exact"  # within the second
    clock.at += SURE_S
    with pytest.raises(NotCached):
        await other.ask(cache="only")


async def test_what_was_asked_before_a_clearing_is_not_kept_after_it(layers):
    model = Model()
    one = await layers(model)
    model.gate.clear()
    asking = asyncio.create_task(one.ask())
    await model.begun.wait()
    await one.shelf.drop("acme")
    model.gate.set()
    assert (await asking).cached == ""
    await one.shelf.flush()
    with pytest.raises(NotCached):
        await one.ask(cache="only")


class Broken:
    """A store that is away."""

    def __getattr__(self, name):
        async def away(*_, **__):
            raise StoreUnavailable("gone")

        return away


async def test_a_store_that_is_away_fails_no_call(layers, caplog):
    model = Model()
    one = await layers(model, Broken(), stale_s=10)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (await one.ask()).cached == ""
    assert len(caplog.records) == 1
    assert "goes on" not in caplog.text
    assert "calls go on without it" in caplog.text
    await one.shelf.flush()


class Slow:
    """A store that hangs."""

    def __getattr__(self, name):
        async def hang(*_, **__):
            await asyncio.Event().wait()

        return hang


async def test_a_store_that_hangs_is_not_waited_for(layers, monkeypatch, caplog):
    monkeypatch.setattr("corral.cache.shelf._ANSWER_S", 0.01)
    monkeypatch.setattr("corral.cache.writing._END_S", 0.01)
    one = await layers(Model(), Slow())
    assert (await one.ask()).cached == ""
    assert (await one.ask()).cached == ""


async def test_bytes_that_are_not_ours_are_asked_anew(layers, caplog):
    one = await layers(Model())
    call = question()
    await one.ask(call)
    await one.shelf.flush()
    for junk in (b"", b"\x00junk", b"\x01junk"):
        other = await layers(Model(answer("anew")))
        draft = EntryDraft(key=bytes.fromhex(call.notes["cache.key"]), value=junk, ttl_s=60)
        await other.shelf._store.put("acme", [draft])
        assert (await other.ask()).text == "anew"


async def test_somebody_may_say_himself_what_is_the_same(layers):
    model = Model()
    one = await layers(model, generate=lambda call: call.messages[-1].text.strip().lower())
    await one.ask(text="Hello ")
    assert (await one.ask(text="hello")).cached == "exact"
    assert (await one.ask(text="hello", tenant="evil")).cached == ""


@pytest.mark.parametrize("generate", [lambda call: 1 / 0, lambda call: 5])
async def test_a_generator_that_fails_costs_the_cache_and_no_call(layers, generate):
    model = Model()
    one = await layers(model, generate=generate)
    await one.ask()
    assert (await one.ask()).cached == ""


async def test_it_counts_for_people(layers, stores):
    one = await layers(Model())
    for _ in range(4):
        await one.ask()
    await one.cached.stop()
    (stats,) = await stores.cache.stats("acme")
    assert (stats.kind, stats.entries, stats.hits, stats.misses, stats.saved_usd) == ("answer", 1, 3, 1, 0.75)


async def test_without_a_store_the_copies_at_hand_are_all_there_is(clock):
    one = Layers(Model(), None, clock=clock, local_max=2)
    await one.cached.start()
    await one.ask(cache_tags=("t",))
    assert (await one.ask()).cached == "exact"
    assert await one.shelf.drop("acme", tags=["other"]) == 0
    assert await one.shelf.drop("acme", tags=["t"]) == 1
    assert (await one.ask()).cached == ""
    for text in "abc":
        await one.ask(text=text)
    assert (await one.ask()).cached == ""
    clock.at += 4000
    assert (await one.ask(text="c")).cached == ""
    await one.cached.stop()


async def test_who_stops_reading_leaves_nothing_open(layers):
    model = Model(answer("one two three"))
    one = await layers(model)
    model.gate.clear()
    events = one(question(stream=True))
    await anext(events)
    assert model.open == 1
    await events.aclose()
    assert model.open == 0
    assert one.coalesced.flying == 0
    with pytest.raises(NotCached):
        await one.ask(cache="only")


async def test_only_the_model_itself_is_kept_below_others(layers):
    """A call that goes alone (`coalesce: never`) is kept all the same."""
    one = await layers(Model(), coalesce="never")
    await one.ask()
    assert (await one.ask()).cached == "exact"
    assert await ask(question(), one) == await one.ask()


async def test_it_forgets_tenants_it_has_not_heard_of_for_long(layers, monkeypatch):
    monkeypatch.setattr("corral.cache.local._TENANTS_MAX", 2)
    one = await layers(Model())
    for tenant in ("a", "b", "c"):
        await one.ask(tenant=tenant)
    assert one.shelf.at_hand("a", b"?") is None
    assert (await one.ask(tenant="a")).cached == "exact"


async def test_copies_take_no_more_room_than_they_may(layers):
    one = await layers(Model(answer("x" * 100)))
    local = one.shelf._local
    local._bytes_max = 4000
    for number in range(50):
        await one.ask(text=f"{number}")
        assert local.bytes <= 4000
    assert len(local) > 5
    assert (await one.ask(text="0")).cached == "exact"


async def test_what_is_too_much_to_write_is_dropped_and_counted(layers, monkeypatch):
    monkeypatch.setattr("corral.cache.writing._PENDING_MAX", 3)
    one = await layers(Model(), coalesce="never")
    drafts = [EntryDraft(key=bytes([n]) * 16, value=b"v", ttl_s=60) for n in range(10)]
    assert [one.shelf.keep("acme", draft) for draft in drafts] == [True] * 3 + [False] * 7
    await one.shelf.flush()
    assert len((await one.shelf._store.get("acme", [draft.key for draft in drafts])).found) == 3


async def test_what_was_given_up_at_the_end_takes_no_room_after_it(layers, stores, monkeypatch):
    monkeypatch.setattr("corral.cache.writing._END_S", 0.01)
    monkeypatch.setattr("corral.cache.writing._PENDING_MAX", 1)
    one = await layers(Model())
    first, second = (EntryDraft(key=bytes([n]) * 16, value=b"v", ttl_s=60) for n in range(2))
    with monkeypatch.context() as hanging:
        hanging.setattr(stores.cache, "put", Slow().put)
        assert one.shelf.keep("acme", first)
        waiting = asyncio.create_task(one.shelf.flush())
        await one.cached.stop()
        await waiting
    await one.cached.start()
    assert one.shelf.keep("acme", second)
    await one.shelf.flush()
    assert list((await stores.cache.get("acme", [first.key, second.key])).found) == [second.key]


async def test_what_is_written_is_swept(layers, stores, monkeypatch):
    monkeypatch.setattr("corral.cache.writing._BATCH", 10)
    monkeypatch.setattr("corral.cache.writing._SWEEP_LIMIT", 5)
    one = await layers(Model(), entries_max=20)
    for n in range(200):
        one.shelf.keep("acme", EntryDraft(key=n.to_bytes(16, "big"), value=b"v", ttl_s=60))
    await one.cached.stop()
    (stats,) = await stores.cache.stats("acme")
    assert stats.entries == 20


async def test_a_fault_of_ours_does_not_end_the_writing(layers, stores, caplog):
    one = await layers(Model())
    put = one.shelf._store.put

    async def faulty(*_):
        raise ZeroDivisionError

    stores.cache.put = faulty
    await one.ask()
    assert "could not be written" in caplog.text
    stores.cache.put = put
    await one.ask(text="other")
    assert (await stores.cache.stats("acme"))[0].entries == 1


async def test_stopping_gives_refreshes_a_moment_and_no_more(layers, clock, monkeypatch):
    monkeypatch.setattr("corral.cache.exact._STOP_S", 0.01)
    model = Model()
    one = await layers(model, ttl_s=60, stale_s=60)
    await one.ask()
    clock.at += 61
    model.gate.clear()
    await one.ask()
    await until(lambda: len(model.asked) == 2)
    await one.cached.stop()
    assert model.open == 0
    await one.ask()
    assert len(model.asked) == 2  # nothing begins any more


@pytest.mark.parametrize("error", [ModelRequestInvalid("no"), ZeroDivisionError()])
async def test_what_goes_wrong_in_the_background(layers, clock, error, caplog):
    model = Model(answer(), error)
    one = await layers(model, ttl_s=60, stale_s=60, negative_ttl_s=60)
    await one.ask()
    clock.at += 61
    assert (await one.ask()).cached == "stale"
    await until(lambda: not one.cached._refreshing)
    await one.shelf.flush()
    if isinstance(error, ModelRequestInvalid):
        with pytest.raises(ModelRequestInvalid):
            await one.ask()
    else:
        assert "could not be fetched anew" in caplog.text
