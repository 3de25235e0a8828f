from __future__ import annotations

import asyncio
import collections
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import Scripted, TurnedClock, answer, collected, question, settled, streamed

from corral.errors import (
    ConfigError,
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import EmbedCall, EmbedReply, closing
from corral.models.balancing import Balancing, Candidate
from corral.models.deployments import Deployed
from corral.models.fleet import DEPLOYMENTS_MAX, Fleet
from corral.models.live import Live
from corral.models.naming import Naming
from corral.models.stack import wrap
from corral.settings.model_sections import ModelSettings, NamedModelSettings, ProviderSettings

SMART = NamedModelSettings(deployments={"a/one": 1, "b/one": 1}, balance="order", fallback=["c/two"])


def deployed(clock: TurnedClock, names=None, *, settings=None, **facts) -> Deployed:
    facts.setdefault("chance", random.Random(1).random)
    facts.setdefault("sleep", clock.nap)
    return Deployed(ModelSettings(names=names or {"smart": SMART}, **settings or {}), clock=clock, **facts)


def by_place(**errors):
    """Places (`a_one`) that raise; others answer."""

    def script(call):
        error = errors.get(call.model.replace("/", "_"))
        return [error] if error is not None else [answer(f"from {call.model}")]

    return Scripted(script)


async def ask(layer, model, call=None):
    events = await collected(wrap(model, [layer])(call or question(model="smart")))
    return events[-1].text


async def test_the_first_place_answers_and_the_notes_say_so():
    layer, model, call = deployed(TurnedClock()), by_place(), question(model="smart")
    assert await ask(layer, model, call) == "from a/one"
    assert call.notes["deployment"] == "a/one"
    assert call.notes["attempts"] == [{"deployment": "a/one", "outcome": "ok", "ms": 0.0}]
    assert "fallback" not in call.notes


async def test_other_places_then_fallbacks_in_order():
    model, call = by_place(a_one=ModelUnavailable("down"), b_one=ModelAuthFailed("key")), question(model="smart")
    assert await ask(deployed(TurnedClock()), model, call) == "from c/two"
    assert model.asked == ["a/one", "b/one", "c/two"]
    assert call.notes["fallback"] == "a/one (model_unavailable) → b/one (model_auth_failed) → c/two"
    assert [one["outcome"] for one in call.notes["attempts"]] == ["model_unavailable", "model_auth_failed", "ok"]
    assert model.open == 0


@pytest.mark.parametrize("error", [ModelRequestInvalid("bad"), ContentFiltered("no")])
async def test_what_the_caller_must_mend_is_not_asked_elsewhere(error):
    model = by_place(a_one=error)
    with pytest.raises(type(error)):
        await ask(deployed(TurnedClock()), model)
    assert model.asked == ["a/one"]


async def test_unless_the_operator_says_so():
    names = {
        "smart": NamedModelSettings(deployments={"a/one": 1}, fallback=["b/one"], fallback_on=["content_filtered"])
    }
    assert await ask(deployed(TurnedClock(), names), by_place(a_one=ContentFiltered())) == "from b/one"
    with pytest.raises(ModelRequestInvalid):
        await ask(deployed(TurnedClock(), names), by_place(a_one=ModelRequestInvalid()))


async def test_too_long_a_conversation_goes_to_who_can_read_more():
    names = {"smart": NamedModelSettings(deployments={"a/one": 1}, fallback=["b/same", "c/unknown", "d/more"])}
    windows = {"a/one": 8_000, "b/same": 8_000, "d/more": 100_000}
    layer = deployed(TurnedClock(), names, context_tokens=windows.get)
    model = by_place(a_one=ContextTooLong(), d_more=ContextTooLong())
    assert await ask(layer, model) == "from c/unknown"
    assert model.asked == ["a/one", "d/more", "c/unknown"], "larger ones first; never one that reads no more"
    model = by_place(a_one=ContextTooLong(), d_more=ContextTooLong(), c_unknown=ModelUnavailable())
    with pytest.raises(ContextTooLong, match="Nobody answered"):
        await ask(layer, model)


async def test_when_all_fail_the_error_lists_each_and_why():
    model = by_place(a_one=ModelAuthFailed("bad key"), b_one=ModelUnavailable("down"), c_two=ModelTimeout("slow"))
    with pytest.raises(ModelUnavailable) as raised:
        await ask(deployed(TurnedClock()), model)
    for words in ("a/one: bad key", "b/one: down", "c/two: slow", "'smart'"):
        assert words in raised.value.message
    assert isinstance(raised.value.__cause__, ModelUnavailable)


async def test_a_call_that_was_put_to_another_model_before_keeps_its_own_error():
    call = question(
        notes={"attempts": [{"deployment": "z/z", "outcome": "ok", "ms": 1}], "hedged": "z/z", "fallback": "z"}
    )
    with pytest.raises(ModelUnavailable, match=r"^down$") as raised:
        await ask(deployed(TurnedClock()), by_place(a_one=ModelUnavailable("down")), call)
    assert raised.value.__cause__ is None
    assert call.notes.keys() >= {"attempts"}
    assert not call.notes.keys() & {"hedged", "fallback"}
    layer = deployed(TurnedClock())
    await ask(layer, by_place(), question())
    assert layer.p95("smart", False) is None
    for _ in range(30):
        await ask(layer, by_place(), question())
    assert layer.p95("smart", False) is not None


async def test_nothing_is_asked_elsewhere_once_something_was_passed_on():
    model = Scripted(lambda call: [streamed("Hel")[0], ModelStreamBroken(partial=answer("Hel"))])
    async with closing(wrap(model, [deployed(TurnedClock())])(question(model="smart", stream=True))) as events:
        assert await anext(events) == streamed("Hel")[0]
        with pytest.raises(ModelStreamBroken) as raised:
            await anext(events)
    assert raised.value.partial == answer("Hel")
    assert model.asked == ["a/one"]
    assert model.open == 0


async def test_a_place_that_failed_too_often_is_left_alone_then_tried_by_one():
    clock = TurnedClock()
    layer = deployed(clock, settings={"breaker_failures": 2})
    model = by_place(a_one=ModelUnavailable("down"))
    for _ in range(2):
        await ask(layer, model)
    model.calls.clear()
    call = question(model="smart")
    assert await ask(layer, model, call) == "from b/one"
    assert model.asked == ["b/one"]
    status = {one["deployment"]: one for one in layer.status()}
    assert status["a/one"]["breaker"] == "open"
    assert status["a/one"]["reason"] == "down"
    clock.at += 30
    model.calls.clear()
    await ask(layer, model)
    assert model.asked == ["a/one", "b/one"]


async def test_a_single_place_that_is_left_alone_fails_at_once_and_says_until_when():
    clock = TurnedClock()
    layer, model = deployed(clock, settings={"breaker_failures": 1}), by_place(a_one=ModelUnavailable("down"))
    with pytest.raises(ModelUnavailable, match=r"^down$"):
        await ask(layer, model, question())
    with pytest.raises(ModelUnavailable, match=r"left alone for 30 s \(last: down\)") as raised:
        await ask(layer, model, question())
    assert raised.value.retry_after_s == 30
    assert len(model.calls) == 1


async def test_who_allows_no_more_calls_is_passed_over_for_as_long_as_it_said():
    clock = TurnedClock()
    layer, model = deployed(clock), by_place(a_one=ModelRateLimited(retry_after_s=120))
    assert await ask(layer, model) == "from b/one"
    model.calls.clear()
    await ask(layer, model)
    assert model.asked == ["b/one"]
    clock.at += 121
    model.calls.clear()
    await ask(layer, model)
    assert model.asked == ["a/one", "b/one"]


async def test_a_short_pause_is_waited_for_when_there_is_nobody_else_and_a_long_one_is_not():
    clock = TurnedClock()
    layer, left = deployed(clock), [ModelRateLimited(retry_after_s=5)]
    model = Scripted(lambda call: [left.pop()] if left else [answer()])
    with pytest.raises(ModelRateLimited):
        await ask(layer, model, question())
    await ask(layer, model, question())
    assert 5 <= clock.slept[0] <= 5.5
    left.append(ModelRateLimited(retry_after_s=600))
    with pytest.raises(ModelRateLimited):
        await ask(layer, model, question())
    with pytest.raises(ModelRateLimited, match="allows no more calls for 600 s"):
        await ask(layer, model, question())
    clock.at += 580
    with pytest.raises(ModelRateLimited):
        await ask(layer, model, question(deadline=clock.at + 3))


async def test_what_failed_for_lack_of_time_is_no_fault_of_the_place():
    clock = TurnedClock()
    layer = deployed(clock, settings={"breaker_failures": 1})

    def late(call):
        clock.at += 10

    model = Scripted(lambda call: [late, ModelTimeout()])
    with pytest.raises(ModelTimeout):
        await ask(layer, model, question(model="smart", deadline=clock.at + 5))
    assert model.asked == ["a/one"], "there is no time for another"
    assert layer.status()[0]["breaker"] == "closed"


async def test_a_reader_that_leaves_frees_the_probe_and_all_else():
    clock, abandoned = TurnedClock(), []
    layer = deployed(clock, settings={"breaker_failures": 1}, abandoned=lambda call, name: abandoned.append(name))
    model = by_place(a_one=ModelUnavailable())
    with pytest.raises(ModelUnavailable):
        await ask(layer, model, question())
    clock.at += 31
    model.script = lambda call: streamed("a", "b")
    async with closing(wrap(model, [layer])(question(stream=True))) as events:
        await anext(events)
        assert layer.status()[0]["in_flight"] == 1
    assert abandoned == ["a/one"]
    assert model.open == 0
    assert layer.status()[0]["in_flight"] == 0
    assert await ask(layer, model, question()) == "ab", "the next one may try"
    assert layer.status()[0]["breaker"] == "closed"


async def test_a_cancelled_call_gives_everything_back():
    clock, gate = TurnedClock(), asyncio.Event()
    layer, model = deployed(clock), Scripted(lambda call: [gate])
    task = asyncio.ensure_future(ask(layer, model))
    await settled()
    assert model.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.open == 0
    assert layer.status()[0]["in_flight"] == 0


async def test_unknown_names_get_the_nearest_right_one():
    with pytest.raises(ModelNotFound, match="Did you mean 'smart'"):
        await ask(deployed(TurnedClock()), by_place(), question(model="smrt"))


def test_names_that_lead_nowhere_are_found_at_the_start():
    for names in (
        {"x": NamedModelSettings()},
        {"x": NamedModelSettings(fallback=["nobody"])},
        {"x": NamedModelSettings(deployments={"nobody": 1})},
        {"x": NamedModelSettings(fallback=["y"]), "y": NamedModelSettings(fallback=["x"])},
    ):
        with pytest.raises(ConfigError, match=r"models\.names"):
            Naming(names)


def test_names_may_fall_back_to_names_and_to_themselves():
    naming = Naming(
        {
            "a/one": NamedModelSettings(deployments={"a/one": 1}, fallback=["other", "a/one"]),
            "other": NamedModelSettings(deployments={"b/two": 1, "c/two": 2}, fallback=["a/one", "d/three"]),
        }
    )
    stages = naming.chain("a/one").stages
    assert [[name for name, _ in stage.deployments] for stage in stages] == [["a/one"], ["b/two", "c/two"], ["d/three"]]


async def test_embeddings_are_asked_in_other_places_but_never_of_another_model():
    layer, asked = deployed(TurnedClock()), []

    async def embed(call: EmbedCall) -> EmbedReply:
        asked.append(call.model)
        if call.model == "b/one" and len(asked) > 2:
            return EmbedReply(vectors=[[1.0]])
        raise ModelUnavailable(call.model)

    call = EmbedCall(model="smart", texts=["x"])
    with pytest.raises(ModelUnavailable, match="Nobody answered"):
        await layer.embed(call, embed)
    assert asked == ["a/one", "b/one"]
    assert (await layer.embed(call, embed)).vectors == [[1.0]]
    assert call.notes["deployment"] == "b/one"


def test_the_fleet_is_bounded():
    fleet = Fleet(breaker_failures=1, breaker_s=1, clock=TurnedClock())
    busy = fleet.get("p/busy")
    busy.live.in_flight = 1
    for number in range(3 * DEPLOYMENTS_MAX):
        fleet.get(f"p/{number}")
    assert len(fleet.status()) <= DEPLOYMENTS_MAX
    assert fleet.get("p/busy") is busy
    assert fleet.p95("p/never", stream=False) is None


# -- balancing ---------------------------------------------------------------------------------------------------------

NAMES = st.lists(st.integers(0, 9).map(lambda n: f"p{n}/m"), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(
    names=NAMES,
    balance=st.sampled_from(["headroom", "weight", "latency", "cost", "order"]),
    data=st.data(),
    seed=st.integers(),
)
def test_nobody_is_left_out_and_the_exhausted_come_last(names, balance, data, seed):
    room = {name: data.draw(st.sampled_from([0.0, 0.3, 1.0])) for name in names}
    shares = {name: data.draw(st.sampled_from([0.0, 0.1, 5.0])) for name in names}
    balancing = Balancing(headroom=room.__getitem__, cost=lambda _: None, chance=random.Random(seed).random)
    ordered = balancing.ordered([Candidate(name, shares[name], Live()) for name in names], balance, 0)
    assert sorted(one.name for one in ordered) == sorted(names)
    if balance != "order":
        empty = [room[one.name] == 0 for one in ordered]
        assert empty == sorted(empty)
    else:
        assert [one.name for one in ordered] == names


@settings(deadline=None)
@given(weights=st.lists(st.integers(1, 10), min_size=2, max_size=4), by=st.sampled_from(["weight", "headroom"]))
def test_shares_are_kept(weights, by):
    names = [f"p{n}/m" for n in range(len(weights))]
    room = {name: weight / 10 for name, weight in zip(names, weights, strict=True)}
    balancing = Balancing(
        headroom=(lambda _: 1.0) if by == "weight" else room.__getitem__,
        cost=lambda _: None,
        chance=random.Random(7).random,
    )
    candidates = [
        Candidate(name, float(weight) if by == "weight" else 1.0) for name, weight in zip(names, weights, strict=True)
    ]
    rounds = 2_000
    firsts = collections.Counter(balancing.ordered(candidates, by, 0)[0].name for _ in range(rounds))
    for name, weight in zip(names, weights, strict=True):
        assert abs(firsts[name] / rounds - weight / sum(weights)) < 0.06


def test_by_latency_the_quick_go_first_and_the_unknown_are_tried():
    quick, slow, unknown = Live(), Live(), Live()
    quick.answered(first_s=0.1, total_s=0.1, stream=False, now=0)
    slow.answered(first_s=1.0, total_s=1.0, stream=False, now=0)
    balancing = Balancing(headroom=lambda _: 1.0, cost=lambda _: None, chance=random.random)
    candidates = [Candidate("s", 1, slow), Candidate("q", 1, quick), Candidate("u", 1, unknown)]
    assert [one.name for one in balancing.ordered(candidates, "latency", 1)] == ["u", "q", "s"]
    quick.in_flight = 20
    assert [one.name for one in balancing.ordered(candidates, "latency", 1)] == ["u", "s", "q"]


def test_by_cost_the_cheap_go_first_and_the_unpriced_last():
    balancing = Balancing(headroom=lambda _: 1.0, cost={"x/a": 3.0, "x/b": 1.0}.get, chance=random.random)
    ordered = balancing.ordered([Candidate("x/c"), Candidate("x/a"), Candidate("x/b")], "cost", 0)
    assert [one.name for one in ordered] == ["x/b", "x/a", "x/c"]


def test_a_model_that_is_nearly_one_that_a_provider_has_is_suggested():
    providers = {"mine": ProviderSettings(models=["gpt-4.1-mini", "claude-sonnet-5"])}
    with pytest.raises(ModelNotFound, match=r"Did you mean 'mine/gpt-4\.1-mini'\?"):
        Naming({}, providers=providers).chain("gpt-4.1-min")


@pytest.mark.parametrize(
    ("model", "kind", "says"),
    [
        ("gpt-4.1", "anthropic", r"no such provider is set up\. Add `models\.providers\.openai` .*OPENAI_API_KEY"),
        ("claude-sonnet-5", "openai", r"Add `models\.providers\.anthropic` .*ANTHROPIC_API_KEY"),
        ("eu.anthropic.claude-sonnet-5-v1:0", "openai", r"Add `models\.providers\.bedrock` .*`region`"),
        ("gpt-4.1", "openai", r"write `mine/gpt-4\.1` to ask that provider"),
        ("listed", "openai", r"is not one of `models\.names`: write `mine/listed`"),
        ("mine", "openai", r"is a provider: say which of its models to ask, as `mine/MODEL`"),
        ("sim", "openai", "`sim/MODEL`"),
        ("gpt-oss-20b", "openai", "There is no model 'gpt-oss-20b': write `provider/model`"),
    ],
)
def test_a_model_without_its_provider_is_told_what_is_missing(model, kind, says):
    providers = {"mine": ProviderSettings(kind=kind, models=["listed"])}
    with pytest.raises(ModelNotFound, match=says) as raised:
        Naming({}, providers=providers).chain(model)
    assert f"Did you mean {model!r}" not in raised.value.message


def test_names_that_fall_back_to_each_other_without_a_place_are_named():
    names = {"a": NamedModelSettings(fallback=["b"]), "b": NamedModelSettings(fallback=["a"])}
    with pytest.raises(ConfigError, match=r"models\.names\.a leads nowhere, .* circle \(a → b → a\): give it"):
        Naming(names)


async def test_in_a_circle_of_fallbacks_nobody_is_asked_twice():
    names = {
        "a": NamedModelSettings(deployments={"x/one": 1}, fallback=["b"]),
        "b": NamedModelSettings(deployments={"y/two": 1}, fallback=["c"]),
        "c": NamedModelSettings(deployments={"z/three": 1}, fallback=["a", "c"]),
    }
    layer = Deployed(ModelSettings(names=names), clock=TurnedClock())
    asked: list[str] = []

    async def refusing(call):
        asked.append(call.model)
        raise ModelUnavailable(call.model)
        yield

    with pytest.raises(ModelUnavailable):
        await ask(layer, refusing, question(model="b"))
    assert asked == ["y/two", "z/three", "x/one"]
