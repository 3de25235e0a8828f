from __future__ import annotations

import collections
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import Scripted, answer, collected, question, streamed

from corral.errors import ConfigError, ModelNotFound, ModelUnavailable
from corral.messages import Caller, CallPolicy, Message, OutputFormat, ToolSpec, closing
from corral.models.answer_checks import answer_fault
from corral.models.naming import Naming
from corral.models.routing import Abilities, Router, Surroundings, abilities_of
from corral.models.stack import wrap
from corral.settings.model_sections import NamedModelSettings, RouterSettings

CLASSES = {"simple_query": "s/small", "complex_reasoning": "s/medium", "expert_task": "s/large"}


def router(*, classified="simple_query", around=None, **facts) -> Router:
    settings = RouterSettings(classes=facts.pop("classes", CLASSES), **facts)
    return Router(settings, classifier=lambda text: classified, surroundings=around, chance=random.Random(3).random)


async def routed(layer, call=None, model=None):
    call = call or question(model="auto")
    model = model or Scripted()
    events = await collected(wrap(model, [layer])(call))
    assert model.open == 0
    return events, call.notes


async def test_auto_becomes_the_class_s_model_and_the_notes_say_why():
    for name, to in CLASSES.items():
        events, notes = await routed(router(classified=name))
        assert events == [answer(f"from {to}")]
        assert (notes["route.class"], notes["route.to"], notes["route.reason"]) == (name, to, "the classifier said so")


async def test_the_heuristic_decides_by_default():
    layer = Router(RouterSettings(classes=CLASSES))
    _, notes = await routed(layer, question("Hi there!", model="auto"))
    assert notes["route.class"] == "simple_query"
    assert notes["route.reason"].startswith("difficulty 0.")
    prove = "Prove the theorem step by step, derive each lemma and compare it with the proof by induction."
    _, notes = await routed(layer, question(prove, model="auto"))
    assert notes["route.class"] == "expert_task"


async def test_other_models_pass_untouched():
    model, call = Scripted(), question(model="a/one")
    await routed(router(), call, model)
    assert model.calls == [call]
    assert call.notes == {}


async def test_the_caller_may_say_the_class():
    _, notes = await routed(router(), question(model="auto", policy=CallPolicy(route="expert_task")))
    assert notes["route.to"] == "s/large"
    _, notes = await routed(router(), question(model="auto:complex_reasoning"))
    assert notes["route.to"] == "s/medium"
    with pytest.raises(ModelNotFound, match="Did you mean 'expert_task'"):
        await routed(router(), question(model="auto:expert"))


async def test_what_is_no_class_goes_to_the_default():
    _, notes = await routed(router(classified="hm", default="complex_reasoning"))
    assert notes["route.class"] == "complex_reasoning"
    assert "'hm', which is no class; so the default" in notes["route.reason"]
    _, notes = await routed(router(classified=None))
    assert notes["route.class"] == "simple_query"


async def test_without_classes_one_model_answers():
    layer = Router(RouterSettings(), fallback_model="sim/medium")
    _, notes = await routed(layer)
    assert notes["route.to"] == "sim/medium"
    with pytest.raises(ModelNotFound, match=r"no class 'expert' to route to\. Classes: none\."):
        await routed(layer, question(model="auto:expert"))
    with pytest.raises(ModelNotFound, match=r"models\.router\.classes"):
        await routed(Router(RouterSettings()))


def test_settings_that_cannot_be_right():
    for wrong in (
        {"default": "x"},
        {"shares": {"x": {"s/a": 1.0}}},
        {"shares": {"simple_query": {"s/a": 0.0}}},
        {"classes": {"a": "auto"}},
        {"classifier": "nonsense"},
        {"escalate": True, "check": "no:where"},
    ):
        with pytest.raises(ConfigError, match=r"models\.router"):
            Router(RouterSettings(**({"classes": CLASSES} | wrong)))


# -- abilities ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "can", "reason"),
    [
        ({"tools": [ToolSpec(name="t")]}, {"tools": False}, "cannot call tools"),
        ({"output": OutputFormat(schema={})}, {"schema": False}, "cannot keep to a schema"),
        (
            {"messages": [Message(role="user", content=[{"type": "image", "url": "x"}])]},
            {"images": False},
            "cannot see",
        ),
        ({"max_tokens": 900}, {"context_tokens": 1_000}, "reads no more than 1000"),
    ],
)
async def test_a_call_goes_up_to_who_can(facts, can, reason):
    around = Surroundings(
        abilities=lambda model: Abilities(**can) if model == "s/small" else Abilities(), tokens=lambda call: 500
    )
    call = msgspec.structs.replace(question(model="auto"), **facts)
    _, notes = await routed(router(around=around), call)
    assert notes["route.class"] == "complex_reasoning"
    assert f"s/small {reason}" in notes["route.reason"]


async def test_or_down_if_there_is_nobody_above_and_stays_if_nobody_can():
    call = question(model="auto", tools=[ToolSpec(name="t")])
    around = Surroundings(abilities=lambda model: Abilities(tools=model == "s/small"))
    _, notes = await routed(router(classified="expert_task", around=around), call)
    assert notes["route.class"] == "simple_query"
    around = Surroundings(abilities=lambda _: Abilities(tools=False))
    _, notes = await routed(router(classified="expert_task", around=around), call)
    assert notes["route.class"] == "expert_task"
    assert "no model is known to do it all" in notes["route.reason"]


def test_a_name_can_what_its_settings_say():
    names = {"n": NamedModelSettings(deployments={"a/x": 1}, fallback=["b/y"], lacks=["images"])}
    can = abilities_of(names, Naming(names, context_tokens={"a/x": 10, "b/y": 99}.get))("n")
    assert can == Abilities(images=False, context_tokens=99)


# -- latency, cost, shares ---------------------------------------------------------------------------------------------


async def test_slow_models_are_avoided_while_they_are_slow():
    slow = {"s/small": 0.2, "s/medium": 9.0, "s/large": 3.0}
    around = Surroundings(p95=lambda model, stream: slow[model])
    layer = router(classified="complex_reasoning", latency_s=4, around=around)
    _, notes = await routed(layer)
    assert notes["route.to"] == "s/large", "of two neighbours the abler one"
    assert "s/medium takes 9 s (p95)" in notes["route.reason"]
    slow["s/large"] = 9.0
    assert (await routed(layer))[1]["route.to"] == "s/small"
    slow["s/small"] = 9.0
    assert (await routed(layer))[1]["route.to"] == "s/medium", "all are slow"


async def test_the_cheapest_or_quickest_of_those_that_are_able():
    cost = {"s/small": 1.0, "s/medium": 5.0, "s/large": 2.0}
    around = Surroundings(cost=cost.get, p95=lambda model, stream: cost[model])
    for prefer in ("cost", "latency"):
        layer = router(classified="complex_reasoning", prefer=prefer, around=around)
        assert (await routed(layer))[1]["route.to"] == "s/large"
    assert (await routed(router(prefer="cost", around=around)))[1]["route.to"] == "s/small"


@settings(deadline=None)
@given(weights=st.lists(st.integers(0, 9), min_size=2, max_size=4).filter(any))
async def test_comparisons_keep_their_shares_and_each_session_its_side(weights):
    shares = {f"m/{n}": float(weight) for n, weight in enumerate(weights)}
    layer = router(shares={"simple_query": shares})
    seen = collections.Counter()
    for number in range(600):
        caller = Caller(session_id=f"session {number}")
        model = layer._compared("simple_query", question(model="auto", caller=caller))
        assert model == layer._compared("simple_query", question("other", model="auto", caller=caller))
        seen[model] += 1
    for model, weight in shares.items():
        assert abs(seen[model] / 600 - weight / sum(weights)) < 0.09
    anonymous = {layer._compared("simple_query", question(model="auto")) for _ in range(300)}
    assert anonymous == {model for model, weight in shares.items() if weight}


# -- escalating --------------------------------------------------------------------------------------------------------


def saying(**texts):
    return Scripted(
        lambda call: streamed(*texts[call.model[2:]]) if call.stream else [answer("".join(texts[call.model[2:]]))]
    )


async def test_an_answer_that_will_not_do_wakes_the_next_model_once():
    model = saying(small=["I cannot help with that."], medium=["As an AI, no."], large=["!"])
    events, notes = await routed(router(escalate=True), model=model)
    assert events == [answer("As an AI, no.")]
    assert model.asked == ["s/small", "s/medium"]
    assert notes["route.to"] == "s/medium"
    assert notes["route.class"] == "complex_reasoning"
    assert notes["route.escalated"] == 1
    assert "s/small: it reads like a refusal" in notes["route.reason"]
    model = saying(small=["I cannot help with that."], medium=["As an AI, no."], large=["!"])
    events, _ = await routed(router(escalate=True, models_max=3), model=model)
    assert events == [answer("!")]


async def test_a_good_answer_wakes_nobody_and_streams_hold_back_what_is_checked_only():
    model = saying(small=["Good", " answer"], medium=[""], large=["a", "b"])
    events, notes = await routed(router(escalate=True), question(model="auto", stream=True), model)
    assert events == streamed("Good", " answer")
    assert "route.escalated" not in notes
    events, _ = await routed(
        router(escalate=True, classified="expert_task"), question(model="auto", stream=True), model
    )
    assert events == streamed("a", "b")
    assert model.asked == ["s/small", "s/large"]


async def test_nothing_of_a_bad_answer_is_heard():
    model = saying(small=[""], medium=["yes"], large=[])
    events, _ = await routed(router(escalate=True), question(model="auto", stream=True), model)
    assert events == streamed("yes")


async def test_what_all_of_them_cost_is_on_the_reply():
    model = Scripted(lambda call: [answer("" if call.model == "s/small" else "yes", cost_usd=0.5)])
    events, _ = await routed(router(escalate=True), model=model)
    assert events[0].cost_usd == 1.0


async def test_a_better_model_that_fails_leaves_the_answer_at_hand():
    model = Scripted(lambda call: [answer("I don't know.") if call.model == "s/small" else ModelUnavailable("down")])
    events, notes = await routed(router(escalate=True), model=model)
    assert events == [answer("I don't know.")]
    assert "s/medium failed (model_unavailable), so the answer before is given" in notes["route.reason"]
    model = Scripted(lambda call: [ModelUnavailable("down")])
    with pytest.raises(ModelUnavailable):
        await routed(router(escalate=True), model=model)


async def test_a_check_of_ones_own():
    async def check(call, reply):
        return "too short" if len(reply.text) < 3 else None

    settings = RouterSettings(classes=CLASSES, escalate=True)
    layer = Router(settings, classifier=lambda text: "simple_query", check=check)
    events, notes = await routed(layer, model=saying(small=["no"], medium=["certainly"], large=[]))
    assert events[0].text == "certainly"
    assert "s/small: too short" in notes["route.reason"]
    for fn, expected in ((lambda call, reply: False, 2), (lambda call, reply: True, 1), (lambda call, reply: 1 / 0, 1)):
        model = Scripted()
        await routed(Router(settings, classifier=lambda text: "simple_query", check=fn), model=model)
        assert len(model.calls) == expected


async def test_leaving_early_closes_the_model():
    for escalate in (False, True):
        model = saying(small=["a", "b"], medium=["c"], large=["d", "e"])
        layer = router(escalate=escalate, classified="expert_task")
        async with closing(wrap(model, [layer])(question(model="auto", stream=True))) as events:
            await anext(events)
            assert model.open == 1
        assert model.open == 0


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("reply", "facts", "fault"),
    [
        (answer("fine"), {}, ""),
        (answer("  "), {}, "empty"),
        (answer("cut", stop_reason="length"), {}, "cut off"),
        (answer("no", stop_reason="refusal"), {}, "refused"),
        (answer("I\N{RIGHT SINGLE QUOTATION MARK}m unable to do that."), {}, "refusal"),
        (answer("I don't know everything, but " + "here is a lot. " * 40), {}, ""),
        (answer('{"n": 1}'), {"output": OutputFormat(schema=SCHEMA)}, ""),
        (answer('{"n": "1"}'), {"output": OutputFormat(schema=SCHEMA)}, "/n: not integer"),
        (answer('{"n": 1, "m": 2}'), {"output": OutputFormat(schema=SCHEMA)}, "/m: not allowed"),
        (answer("{"), {"output": OutputFormat(schema=SCHEMA)}, "not JSON"),
        (answer("[1]"), {"output": OutputFormat()}, "not a JSON object"),
        (
            answer([{"type": "tool_use", "name": "t", "input": {"n": 1}}]),
            {"tools": [ToolSpec(name="t", parameters=SCHEMA)]},
            "",
        ),
        (
            answer([{"type": "tool_use", "name": "t", "input": {}}]),
            {"tools": [ToolSpec(name="t", parameters=SCHEMA)]},
            "/n: missing",
        ),
        (
            answer([{"type": "tool_use", "name": "t", "input": {}, "input_text": "{"}]),
            {"tools": [ToolSpec(name="t")]},
            "not JSON",
        ),
        (answer([{"type": "tool_use", "name": "u", "input": {}}]), {"tools": [ToolSpec(name="t")]}, "not there"),
    ],
)
def test_the_built_in_check(reply, facts, fault):
    found = answer_fault(question(**facts), reply)
    assert fault in found
    assert bool(fault) == bool(found)
