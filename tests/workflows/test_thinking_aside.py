"""Expressions that may take long are thought about in threads, wherever they stand: the loop belongs to everybody."""

from __future__ import annotations

import json
import threading

import msgspec
import pytest
from flow_scene import done
from map_scene import mapped, scene_on

from corral import App
from corral.backends.open import open_stores
from corral.workflows import testing_state
from corral.workflows.arns import Arns
from corral.workflows.language import jsonata
from corral.workflows.testing_request import StateUntriable
from corral.workflows.testing_state import TryRequest, try_state
from ready import ready_url

ARNS = Arns(region="us-east-1", account="000000000000")
PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}


@pytest.fixture
def threads(monkeypatch):
    """In which threads expressions were evaluated."""
    seen: set[bool] = set()
    known = jsonata.evaluate

    def watched(*args, **more):
        seen.add(threading.current_thread() is threading.main_thread())
        return known(*args, **more)

    monkeypatch.setattr(jsonata, "evaluate", watched)
    return seen


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("language", ["JSONata", "JSON\\u0061ta"])
async def test_those_of_an_execution(build, threads, kind, language):
    app = App()
    app.function(name="echo")(lambda event: event)
    service = await build(app)
    text = json.dumps(
        {"QueryLanguage": "?", "StartAt": "P", "States": {"P": {"Type": "Pass", "Output": "{% 1 + 1 %}"}}}
    )
    text = text.replace('"Type": "Pass"', '"Type": "Pass", "End": true').replace("?", language)
    assert (await done(service, text, kind=kind)).output == 2
    assert threads == {False}


async def test_those_of_the_items_of_a_distributed_map(tmp_path, threads):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    try:
        async with scene_on(stores) as scene:
            state = {"Items": "{% [1..120] %}", "ItemSelector": "{% $states.context.Map.Item.Value * 2 %}"}
            info = await scene.run(mapped(PASS, language="JSONata", MaxConcurrency=100, **state))
    finally:
        await stores.stop()
    assert info.output == [2 * n for n in range(1, 121)]
    assert threads == {False}


def trying(**state):
    document = {"Type": "Pass", "QueryLanguage": "JSONata", "End": True, **state}
    return {"definition": json.dumps(document), "input": "{}"}


async def test_those_of_a_state_that_is_tried(threads):
    request = msgspec.convert(trying(Output="{% 6 * 7 %}"), TryRequest)
    assert (await try_state(request, arns=ARNS)).output == "42"
    assert threads == {False}


async def test_trying_the_items_of_a_map_takes_only_so_long(monkeypatch):
    monkeypatch.setattr(testing_state, "_SELECTING_S", -1.0)
    each = {
        "Type": "Map",
        "Items": [1, 2, 3],
        "ItemSelector": "{% $states.context.Map.Item.Value %}",
        "ItemProcessor": PASS,
    }
    request = {**trying(**each), "mock": {"result": "[]"}}
    with pytest.raises(StateUntriable, match="1 of 3 items"):
        await try_state(msgspec.convert(request, TryRequest), arns=ARNS)
