"""The layer that answers by meaning: when it serves, when it does not, and what it learns."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from cache_scene import answer
from semantic_scene import Scene, ScriptedEmbedder, asks, until

from corral.cache.semantic.comparing import AnswerJudge, Comparison, judge_at
from corral.cache.semantic_store import Label
from corral.errors import ConfigError, ModelUnavailable, NotCached, StoreUnavailable
from corral.messages import Delta, Message, OutputFormat, ToolSpec, as_parts

FIRST, ALIKE = "How do I return shoes?", "What is the way to return shoes?"


@pytest.fixture
async def scene(stores, clock):
    made = []

    async def make(store=stores.semantic, **more):
        one = Scene(store, clock=clock, **more)
        one.embedder.at(FIRST, 1.0)
        one.embedder.at(ALIKE, 0.952)
        made.append(one)
        await one.layer.start()
        return one

    yield make
    for one in made:
        await one.layer.stop()
        await one.layer.stop()


async def test_a_question_that_means_the_same_gets_the_kept_answer_and_is_told_so(scene):
    one = await scene()
    assert (await one.ask(FIRST)).cached == ""
    call = asks(ALIKE)
    reply = await one.ask(call=call)
    assert (reply.cached, reply.cost_usd, reply.text) == ("semantic", 0.0, f"An answer to {FIRST}")
    assert one.model.questions == [FIRST]
    assert call.notes["cache.kind"] == "semantic"
    assert call.notes["cache.result"] == "hit"
    assert call.notes["cache.matched"] == FIRST
    assert call.notes["cache.score"] == 0.952
    assert call.notes["cache.saved_usd"] == 0.25
    assert len(bytes.fromhex(call.notes["cache.entry"])) == 16
    msgspec.json.encode(call.notes)
    assert one.counted('corral_cache_requests_total{cache="semantic",result="hit"} 1')
    assert one.counted('corral_cache_saved_usd_total{cache="semantic"} 0.25')


async def test_a_stream_is_replayed_as_one(scene):
    one = await scene()
    await one.ask(FIRST)
    *deltas, reply = await one.events(asks(ALIKE, stream=True))
    assert all(type(delta) is Delta for delta in deltas)
    assert "".join(delta.text for delta in deltas) == reply.text
    assert reply.cached == "semantic"


async def test_what_is_not_alike_enough_is_asked(scene):
    one = await scene(similarity_threshold=0.96)
    await one.ask(FIRST)
    assert (await one.ask(ALIKE)).cached == ""


@pytest.mark.parametrize(
    "other",
    [
        "How do I return 2 shoes?",
        "How do I not return shoes?",
        "How do I return to Rome?",
        "Wie gebe ich Schuhe zurück?",
    ],
)
async def test_the_guard_stands_above_likeness(scene, other):
    one = await scene()
    one.embedder.at(other, 0.9999)
    await one.ask(FIRST)
    assert (await one.ask(other)).cached == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "umbrella"},
        {"model": "sim/large"},
        {"system": "You answer for a bank."},
        {"temperature": 0.1},
        {"cache_scope": "user-7"},
        {"max_tokens": 5},
    ],
    ids=str,
)
async def test_another_scope_shares_nothing(scene, changed):
    one = await scene()
    await one.ask(FIRST)
    assert (await one.ask(FIRST, **changed)).cached == ""
    assert (await one.ask(ALIKE, **changed)).cached == "semantic"  # of that scope's own
    assert (await one.ask(ALIKE)).cached == "semantic"


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [ToolSpec(name="look")]},
        {"output": OutputFormat()},
        {"temperature": 0.9},
        {"content": [{"type": "text", "text": ALIKE}, {"type": "image", "url": "https://example.com/a.png"}]},
        {"before": [Message(role="user", content=as_parts("Hi")), Message(role="assistant", content=as_parts("Hi!"))]},
        {"cache": "bypass"},
    ],
    ids=lambda more: next(iter(more)),
)
async def test_calls_that_hang_on_more_than_their_question_are_left_alone(scene, more):
    one = await scene()
    await one.ask(FIRST)
    embedded = len(one.embedder.embedded)
    assert (await one.ask(ALIKE, **more)).cached == ""
    assert len(one.embedder.embedded) == embedded
    assert one.counted('corral_cache_requests_total{cache="semantic",result="bypass"} 1')


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "why " * 300])
async def test_texts_that_cannot_be_kept_are_left_alone(scene, text):
    one = await scene()
    await one.ask(text)
    assert one.embedder.embedded == []


async def test_a_conversation_counts_only_with_a_scope_and_then_with_the_same_turns(scene):
    one = await scene()
    before = [
        Message(role="user", content=as_parts("I bought shoes.")),
        Message(role="assistant", content=as_parts("Nice.")),
    ]
    other = [
        Message(role="user", content=as_parts("I bought a hat.")),
        Message(role="assistant", content=as_parts("Nice.")),
    ]
    await one.ask(FIRST, before=before, cache_scope="c")
    assert (await one.ask(ALIKE, before=other, cache_scope="c")).cached == ""
    assert (await one.ask(ALIKE, before=before, cache_scope="c")).cached == "semantic"


async def test_refresh_asks_and_keeps_only_asks_nobody(scene):
    one = await scene()
    with pytest.raises(NotCached):
        await one.ask(FIRST, cache="only")
    await one.ask(FIRST)
    assert (await one.ask(ALIKE, cache="only")).cached == "semantic"
    one.model.says[FIRST] = "news"
    assert (await one.ask(FIRST, cache="refresh")).text == "news"
    assert (await one.ask(ALIKE)).text == "news"
    with pytest.raises(NotCached):
        await one.ask(FIRST, cache="only", temperature=0.9)


@pytest.mark.parametrize(
    "said",
    [
        answer("Cut", stop_reason="length"),
        answer("No", stop_reason="content_filter"),
        answer(content=[{"type": "tool_use", "id": "1", "name": "x", "input": {}}], stop_reason="tool_use"),
        answer(" "),
    ],
    ids=lambda said: said.stop_reason,
)
async def test_answers_that_are_none_are_not_kept(scene, said):
    one = await scene()
    one.model.says[FIRST] = said
    await one.ask(FIRST)
    assert (await one.ask(ALIKE)).cached == ""


async def test_an_answer_goes_when_its_time_is_over_or_it_was_cleared(scene, stores, clock):
    one = await scene()
    await one.ask(FIRST, cache_ttl_s=10.0, cache_tags=("faq",))
    clock.at += 9
    assert (await one.ask(ALIKE)).cached == "semantic"
    await stores.semantic.drop("acme", tags=["faq"])
    assert (await one.ask(ALIKE)).cached == ""
    await one.ask("How do I pay?", cache_ttl_s=0.0)
    clock.at += 3601
    assert (await one.ask(FIRST)).cached == ""


async def test_another_worker_finds_it_when_it_is_asked_again(scene, clock):
    one, other = await scene(), await scene()
    assert (await other.ask("Where are you?")).cached == ""
    await one.ask(FIRST)
    clock.at += 1.5
    await other.ask("Where is the shop?")  # news are fetched behind its back
    await until(lambda: not other.layer._loading)
    assert (await other.ask(ALIKE)).cached == "semantic"
    third = await scene()
    assert (await third.ask(ALIKE)).cached == "semantic"


async def test_another_embedder_finds_nothing(scene):
    one = await scene()
    await one.ask(FIRST)
    other = await scene(embedder=ScriptedEmbedder("another"))
    assert (await other.ask(ALIKE)).cached == ""


async def test_a_wrong_answer_is_given_again_only_to_questions_well_above(scene, stores):
    one = await scene()
    await one.ask(FIRST)
    (kept,) = (await stores.semantic.news("acme", _scope(one), 0)).answers
    await stores.semantic.label("acme", _route(one), [Label(answer=kept.id, score=0.94, same=False, audited=True)])
    assert (await one.ask(ALIKE)).cached == ""  # 0.952 < 0.94 + 0.02, though this worker has not heard of it
    nearer = one.embedder.at("What's the way to return shoes?", 0.99)
    assert (await one.ask(nearer)).cached == "semantic"


def _scope(one):
    from corral.cache.semantic.questions import question_of

    return question_of(asks(FIRST), one.embedder.fingerprint, temperature_max=1.0).scope


def _route(one):
    from corral.cache.semantic.questions import question_of

    return question_of(asks(FIRST), one.embedder.fingerprint, temperature_max=1.0).route


# -- shadow, evidence, audit


async def test_shadow_serves_nothing_and_gathers_labels(scene, stores):
    one = await scene(mode="shadow")
    one.model.says |= {FIRST: "In 14 days.", ALIKE: "in 14 days"}
    await one.ask(FIRST)
    call = asks(ALIKE)
    assert (await one.ask(call=call)).cached == ""
    assert call.notes["cache.semantic"] == "shadow"
    (route,) = await stores.semantic.routes("acme")
    assert [(found.step, found.labels, found.wrong) for found in route.evidence.bins] == [(190, 1, 0)]
    different = one.embedder.at("What's the way to return the shoes?", 0.98)
    one.model.says[different] = "In 30 days."
    await one.ask(different)
    (wrong,) = await stores.semantic.wrongs("acme")
    assert wrong.question == different
    assert not wrong.audited


async def test_serve_serves_once_the_evidence_allows_it(scene, stores, clock):
    one = await scene(mode="serve", error_rate=0.05)
    one.model.says |= {FIRST: "In 14 days.", ALIKE: "In 14 days."}
    await one.ask(FIRST)
    assert (await one.ask(ALIKE)).cached == ""
    right = Label(answer=b"x" * 16, score=0.94, same=True, audited=False)
    await stores.semantic.label("acme", _route(one), [right] * 57)
    clock.at += 1.5
    await one.ask("Where is the shop?")
    await until(lambda: not one.layer._loading)
    assert (await one.ask(ALIKE, cache_scope="new")).cached == ""
    await stores.semantic.label("acme", _route(one), [right] * 5)
    clock.at += 1.5
    await one.ask("Where is the shop?")
    await _settled(one)
    await one.ask(FIRST, cache_scope="new")
    assert (await one.ask("What is a way to return shoes?", cache_scope="new")).cached == ""  # stands nowhere near
    assert (await one.ask(ALIKE, cache_scope="new")).cached == "semantic"


async def _settled(one):
    await until(lambda: all(known.reading is None for known in one.layer._verdicts._known.values()))


async def test_an_audit_asks_anyway_and_a_broken_bound_falls_back_to_shadow(scene, stores, clock):
    one = await scene(mode="serve", error_rate=0.05, chance=lambda: 0.0)
    right = Label(answer=b"x" * 16, score=0.94, same=True, audited=False)
    await stores.semantic.label("acme", _route(one), [right] * 200)
    one.model.says |= {FIRST: "In 14 days.", ALIKE: "In 30 days."}
    await one.ask(FIRST)
    reply = await one.ask(ALIKE, stream=True)
    assert (reply.cached, reply.text) == ("semantic", "In 14 days.")
    audit = one.model.asked[-1]
    assert (len(one.model.asked), audit.stream, "cache.audit" in audit.notes) == (2, False, True)
    (wrong,) = await stores.semantic.wrongs("acme")
    assert (wrong.audited, wrong.question, wrong.kept) == (True, ALIKE, FIRST)
    assert one.counted('corral_cache_semantic_labels_total{source="audit",verdict="different"} 1')
    nearer = one.embedder.at("What's the way to return shoes?", 0.955)
    one.model.says[nearer] = "In 30 days."  # audited as well, and right: two wrong ones would fall back already
    assert (await one.ask(nearer)).text == "In 30 days."  # the audit's own answer is kept, and nearer
    served_wrong = Label(answer=b"x" * 16, score=0.96, same=False, audited=True)
    await stores.semantic.label("acme", _route(one), [served_wrong] * 3)
    clock.at += 1.5
    await one.ask("Where is the shop?")
    await _settled(one)
    (route,) = await stores.semantic.routes("acme")
    assert "audited answers were wrong" in route.evidence.reason
    assert route.evidence.bins == []
    assert one.counted("corral_cache_semantic_fallbacks_total 1")
    assert (await one.ask("What's the way to return the shoes?")).cached == ""


async def test_an_audit_that_fails_is_no_evidence(scene, stores):
    one = await scene(chance=lambda: 0.0)
    await one.ask(FIRST)
    one.model.says[ALIKE] = ModelUnavailable()
    assert (await one.ask(ALIKE)).cached == "semantic"
    assert one.counted('corral_cache_semantic_troubles_total{what="audit"} 1')
    assert (await stores.semantic.routes("acme"))[0].evidence.bins == []


async def test_a_judge_of_ones_own_decides(scene, stores):
    seen = []

    async def judge(compared):
        seen.append(compared)
        return True

    one = await scene(mode="shadow", judge=judge)
    await one.ask(FIRST)
    await one.ask(ALIKE)
    assert [(one.question, one.kept_question, one.answer) for one in seen] == [(ALIKE, FIRST, f"An answer to {ALIKE}")]
    assert (await stores.semantic.routes("acme"))[0].evidence.bins[0].wrong == 0


async def test_a_judge_that_fails_costs_a_label_and_nothing_else(scene, stores):
    async def judge(compared):
        raise ValueError("no idea")

    one = await scene(mode="shadow", judge=judge)
    await one.ask(FIRST)
    assert (await one.ask(ALIKE)).text == f"An answer to {ALIKE}"
    assert one.counted('corral_cache_semantic_troubles_total{what="compare"} 1')


# -- trouble


async def test_an_embedder_that_fails_costs_nothing_but_the_hit(scene):
    one = await scene()
    await one.ask(FIRST)
    one.embedder.broken = RuntimeError("out of memory")
    assert (await one.ask(ALIKE)).cached == ""
    assert one.counted('corral_cache_semantic_troubles_total{what="embed"} 1')


class _Away:
    def __getattr__(self, name):
        async def fail(*args, **more):
            raise StoreUnavailable

        return fail


async def test_a_store_that_is_away_costs_nothing_but_the_hit(scene):
    one = await scene(store=_Away(), mode="serve")
    for _ in range(2):
        assert (await one.ask(FIRST)).cached == ""
    assert one.counted('corral_cache_semantic_troubles_total{what="read"} 2')


class _Later:
    """A store that can be taken away."""

    def __init__(self, store):
        self.store = store
        self.away = False

    def __getattr__(self, name):
        return getattr(_Away() if self.away else self.store, name)


async def test_a_store_that_goes_away_is_noticed_when_it_matters(scene, stores, clock):
    store = _Later(stores.semantic)
    one = await scene(store=store, mode="serve", error_rate=0.05)
    right = Label(answer=b"x" * 16, score=0.94, same=True, audited=False)
    await stores.semantic.label("acme", _route(one), [right] * 200)
    await one.ask(FIRST)
    store.away = True
    assert (await one.ask(ALIKE)).cached == ""
    clock.at += 2
    assert (await one.ask(ALIKE)).cached == ""
    await _settled(one)
    await until(lambda: not one.layer._loading)
    assert (await one.ask(ALIKE)).cached == ""


async def test_who_leaves_early_leaves_nothing_behind(scene):
    one = await scene()
    closed = asyncio.Event()

    async def endless(call):
        try:
            yield Delta("text", "a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    events = one.layer(asks(FIRST, stream=True), endless)
    await anext(events)
    await events.aclose()
    assert closed.is_set()


async def test_more_than_can_be_compared_is_left(scene, stores):
    gate = asyncio.Event()

    async def judge(compared):
        await gate.wait()
        return True

    one = await scene(mode="shadow", judge=judge)
    await one.events(asks(FIRST))
    await one.layer.drain()
    for number in range(70):
        await one.events(asks(one.embedder.at(f"What is the way to return shoes{'?' * (number + 1)}", 0.95)))
    assert one.counted('corral_cache_semantic_troubles_total{what="dropped"} 6')
    gate.set()
    await one.layer.drain()
    labels = sum(found.labels for found in (await stores.semantic.routes("acme"))[0].evidence.bins)
    assert 0 < labels <= 64


async def test_least_used_answers_make_room(scene):
    one = await scene(entries_max=2)
    await one.ask(FIRST)
    await one.ask("Where is the shop?")
    await one.ask("Who owns the shop?")
    assert (await one.ask("Who owns the shop?")).cached == "semantic"
    assert (await one.ask(ALIKE)).cached == ""


async def test_answers_are_kept_and_found_by_hand(scene):
    one = await scene()
    assert await one.layer.find(asks(FIRST)) is None
    assert await one.layer.keep(asks(FIRST), answer("In 14 days."))
    assert not await one.layer.keep(asks(FIRST, temperature=0.9), answer())
    assert not await one.layer.keep(asks(FIRST), answer("Cut", stop_reason="length"))
    assert not await one.layer.keep(asks("Wie gebe ich die Schuhe zurück?"), answer())
    await one.layer.drain()
    found = await one.layer.find(asks(ALIKE))
    assert (found.text, found.cached) == ("In 14 days.", "semantic")
    assert one.model.asked == []


def always(compared):
    return True


async def never(compared):
    return False


@pytest.mark.usefixtures("may_block")
async def test_a_judge_is_found_by_its_name():
    compared = Comparison("Q?", "Q!", "a", "b")
    assert await judge_at(f"{__name__}:always")(compared)
    assert not await judge_at(f"{__name__}:never")(compared)
    for place in ("nowhere:at_all", f"{__name__}:nothing", ""):
        with pytest.raises(ConfigError, match="judge"):
            judge_at(place)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("In 14 days.", "in 14 days", True),
        ("In 14 days.", "In 30 days.", False),
        ("It is allowed.", "It is not allowed.", False),
        ("Two weeks, at the desk.", "At the desk, for two weeks.", True),
        ("Two weeks, at the desk.", "Two weeks, by post.", False),
        ("x " * 5_000, "y " * 5_000, False),
    ],
)
async def test_the_rule_of_thumb(one, other, same):
    embedder = ScriptedEmbedder()
    embedder.at("Two weeks, at the desk.", 1.0)
    embedder.at("At the desk, for two weeks.", 0.93)
    assert await AnswerJudge(embedder)(Comparison("Q?", "Q!", one, other)) is same
