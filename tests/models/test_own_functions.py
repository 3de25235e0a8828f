"""What an app's own code decides about its models goes before the settings."""

from __future__ import annotations

import httpx
import pytest

from corral.app import App
from corral.errors import ConfigError
from corral.models.own import OwnFunctions, own_router
from corral.settings.model_sections import RouterSettings

CLASSES = {"simple_query": "sim/small", "complex_reasoning": "sim/medium", "expert_task": "sim/large"}


def only_the_first_word(call):
    return call.messages[-1].text.split()[0]


def an_app(**own):
    app = App(**own)
    app.entrypoint(lambda payload: payload)
    return app


async def asked(service, text, model="auto"):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral") as client:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return await client.post("/v1/chat/completions", json=body)


async def test_the_router_and_classifier_of_an_app(build):
    def shouts(question):
        return "expert_task" if question.isupper() else "simple_query"

    service = await build(
        an_app(model_router=CLASSES, complexity_classifier=shouts),
        models={"router": {"classes": {"other": "sim/medium"}, "classifier": "heuristic"}},
    )
    assert (await asked(service, "WHY")).headers["x-corral-model"] == "sim/large"
    assert (await asked(service, "why")).headers["x-corral-route"] == "simple_query"


async def test_a_classifier_alone_decides_between_the_classes_of_the_settings(build):
    service = await build(
        an_app(complexity_classifier=lambda _question: "expert_task"), models={"router": {"classes": CLASSES}}
    )
    assert (await asked(service, "Hi")).headers["x-corral-route"] == "expert_task"


@pytest.mark.parametrize("how", ["code", "settings"])
async def test_a_key_of_ones_own_says_which_questions_are_the_same(build, how):
    cache = {"exact": True}
    if how == "settings":
        cache["key_generator"] = f"{__name__}:only_the_first_word"
    service = await build(an_app(cache_key_generator=only_the_first_word if how == "code" else None), cache=cache)
    first = await asked(service, "Hours on Monday?", "sim/small")
    assert (await asked(service, "Hours on Tuesday?", "sim/small")).headers["x-corral-cache"] == "hit"
    assert (await asked(service, "Prices on Monday?", "sim/small")).headers["x-corral-cache"] == "miss"
    assert first.headers["x-corral-cache"] == "miss"


async def test_a_key_generator_that_is_not_there_stops_the_start(build):
    with pytest.raises(ConfigError, match=r"cache\.key_generator: 'nowhere:at_all' is not there"):
        await build(an_app(), cache={"exact": True, "key_generator": "nowhere:at_all"})


def test_what_is_ones_own_of_a_router():
    usual = RouterSettings(classes={"a": "x/y"}, escalate=True, classifier="model:small")
    assert own_router(OwnFunctions(), usual) == usual
    assert own_router(OwnFunctions(model_router=CLASSES), usual) == RouterSettings(classes=CLASSES)
    assert own_router(OwnFunctions(model_router=usual), RouterSettings()) == usual
    assert own_router(OwnFunctions(complexity_classifier="heuristic"), usual).classifier == "heuristic"


async def test_a_simulated_embedder_is_refused_whatever_it_is_called(build):
    pytest.importorskip("numpy")
    with pytest.raises(ConfigError, match="by their letters"):
        await build(
            an_app(),
            models={"providers": {"mine": {"kind": "sim"}}},
            cache={"semantic": {"mode": "shadow", "embedder": "mine/embed"}},
        )
