from __future__ import annotations

import time
from bisect import bisect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_scene import Scripted, answer, question
from routed_prompts import FRESH, TUNED

from corral.errors import ConfigError, ModelUnavailable
from corral.messages import ModelCall, OutputFormat, ToolSpec
from corral.models.classifiers import ModelClassifier, classifier_from
from corral.models.classifying import Heuristic, bounds_of, difficulty, features_of

CLASSES = ("simple_query", "complex_reasoning", "expert_task")


def level(score: float, classes: int) -> int:
    return bisect(bounds_of(classes), score)


def found(text: str) -> int:
    return level(difficulty(features_of(question(text))), 3)


def test_it_is_as_good_as_the_page_says():
    """69 % of prompts it had not seen; what it gets wrong, it almost always takes for easier than it is."""
    assert sum(found(text) == hard for hard, text in TUNED) / len(TUNED) >= 0.9
    assert sum(found(text) == hard for hard, text in FRESH) / len(FRESH) >= 0.65
    assert not [text for hard, text in FRESH if found(text) > hard]


@settings(deadline=None)
@given(text=st.text(max_size=3_000), classes=st.integers(1, 6), tools=st.integers(0, 3))
def test_any_text_gets_a_class(text, classes, tools):
    call = question(text, tools=[ToolSpec(name=f"t{n}") for n in range(tools)])
    score = difficulty(features_of(call))
    assert 0 <= score <= 1
    assert 0 <= level(score, classes) < classes
    names = [f"c{n}" for n in range(classes)]
    assert Heuristic(names)(call)[0] in names


@settings(deadline=None)
@given(low=st.floats(0, 1), high=st.floats(0, 1), classes=st.integers(1, 6))
def test_what_is_harder_never_goes_lower(low, high, classes):
    low, high = sorted((low, high))
    assert level(low, classes) <= level(high, classes)
    assert level(0, classes) == 0
    assert level(1, classes) == classes - 1


def test_what_the_caller_wants_counts():
    plain = question("Tell me about the fall of Rome.")
    thinking = question("Tell me about the fall of Rome.", reasoning="high")
    fitting = question("Tell me about the fall of Rome.", output=OutputFormat(schema={"type": "object"}))
    assert difficulty(features_of(thinking)) > difficulty(features_of(fitting)) > difficulty(features_of(plain))


def test_it_takes_microseconds_also_for_a_book():
    heuristic = Heuristic(CLASSES)
    for text in ("Compare two databases and explain why. " * 25, "word " * 200_000):
        call = question(text)
        heuristic(call)
        started = time.process_time()
        for _ in range(50):
            heuristic(call)
        assert (time.process_time() - started) / 50 < 0.001, "30 microseconds; far more on a busy machine"


async def nobody(call):
    raise AssertionError("no model is asked")
    yield


async def test_a_function_of_ones_own_gets_the_text_or_the_call():
    async def slow(text):
        return "expert_task" if "why" in text else None

    def whole(call):
        return call.model

    def typed(anything: ModelCall):
        return anything.model

    for fn, expected in ((slow, "expert_task"), (whole, "a/one"), (typed, "a/one"), (lambda text: text, "why?")):
        classify = classifier_from(fn, CLASSES, timeout_s=1)
        assert (await classify(question(), nobody))[0] == expected
    assert await classifier_from(slow, CLASSES, timeout_s=1)(question("hm"), nobody) == (
        "",
        "the classifier could not tell",
    )


async def test_a_function_that_fails_costs_nothing_but_the_default():
    def broken(text):
        raise KeyError("x")

    found, why = await classifier_from(broken, CLASSES, timeout_s=1)(question(), nobody)
    assert found == ""
    assert "KeyError" in why


async def never(text):
    import asyncio

    await asyncio.Event().wait()


async def test_a_function_that_takes_too_long_is_not_waited_for():
    found, why = await classifier_from(never, CLASSES, timeout_s=0.01)(question(), nobody)
    assert (found, "longer than" in why) == ("", True)


async def test_a_function_by_its_place():
    classify = classifier_from("test_classifying:never", CLASSES, timeout_s=0.01)
    assert (await classify(question(), nobody))[0] == ""
    for wrong in ("nowhere", "nowhere:at_all", "test_classifying:nothing", "test_classifying:CLASSES", "model:"):
        with pytest.raises(ConfigError, match=r"models\.router\.classifier"):
            classifier_from(wrong, CLASSES, timeout_s=1)


async def test_a_small_model_is_asked_once_about_each_question():
    model = Scripted(lambda call: [answer(" Expert_Task.")])
    classify = ModelClassifier("sim/small", CLASSES, timeout_s=1)
    assert (await classify(question("x" * 10_000), model))[0] == "expert_task"
    assert (await classify(question("x" * 10_000), model))[1] == "sim/small said so before"
    assert len(model.calls) == 1
    asked = model.calls[0]
    assert asked.model == "sim/small"
    assert asked.max_tokens < 20
    assert len(asked.messages[1].text) < 2_200
    assert model.open == 0


@pytest.mark.parametrize("said", [answer("no idea"), ModelUnavailable("down")])
async def test_a_small_model_that_cannot_tell(said):
    found, _ = await ModelClassifier("sim/small", CLASSES, timeout_s=1)(question(), Scripted(lambda call: [said]))
    assert found == ""


async def test_a_slow_small_model_is_not_waited_for_and_closed():
    import asyncio

    model = Scripted(lambda call: [asyncio.Event()])
    found, why = await ModelClassifier("sim/small", CLASSES, timeout_s=0.01)(question(), model)
    assert (found, "longer than" in why) == ("", True)
    assert model.open == 0
