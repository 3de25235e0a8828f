"""What goes wrong on request, in each language over HTTP, and in process."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import pytest
from sim_process import SimServer

from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelFailed,
    ModelRateLimited,
    ModelStreamBroken,
    ModelTimeout,
    ModelUnavailable,
)
from corral.messages import Delta, Message, ModelCall, ModelReply, as_parts
from corral.models.sim.provider import SimProvider, build_sim
from corral.settings.model_sections import ProviderSettings

QUESTION = "How do refunds work?"
LANGUAGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": (
        "/v1/chat/completions",
        "/v1/chat/completions",
        {"model": "sim/small", "messages": [{"role": "user", "content": QUESTION}]},
    ),
    "responses": ("/v1/responses", "/v1/responses", {"model": "sim/small", "input": QUESTION}),
    "anthropic": (
        "/v1/messages",
        "/v1/messages",
        {"model": "sim/small", "max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}]},
    ),
    "bedrock": (
        "/model/sim/converse",
        "/model/sim/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]},
    ),
}
HEADERS = {"anthropic-version": "2023-06-01"}


def asked(language: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    whole, streamed, body = LANGUAGES[language]
    if not stream:
        return whole, body
    return streamed, body if language == "bedrock" else body | {"stream": True}


def post(
    server: SimServer, language: str, fault: str, *, stream: bool, timeout: float | httpx.Timeout = 20, **more: str
) -> httpx.Response:
    path, body = asked(language, stream=stream)
    headers = HEADERS | {"x-sim-fault": fault} | more
    return httpx.post(server.url + path, json=body, headers=headers, timeout=timeout)


every_language = pytest.mark.parametrize("language", LANGUAGES)
streamed_or_not = pytest.mark.parametrize("stream", [False, True])


@every_language
@streamed_or_not
def test_a_reset_connection_has_no_answer(sim_server, language, stream):
    with pytest.raises(httpx.NetworkError):
        post(sim_server, language, "reset", stream=stream)


@every_language
@streamed_or_not
def test_a_cut_answer_ends_too_early(sim_server, language, stream):
    with pytest.raises(httpx.RemoteProtocolError):
        post(sim_server, language, "cut", stream=stream)


@every_language
@streamed_or_not
def test_who_hangs_is_silent_until_the_client_leaves(sim_server, language, stream):
    with pytest.raises(httpx.ReadTimeout):
        post(sim_server, language, "hang", stream=stream, timeout=httpx.Timeout(20, read=0.3))


@every_language
def test_who_stalls_begins_is_silent_and_goes_on(sim_server, language):
    path, body = asked(language, stream=True)
    headers = HEADERS | {"x-sim-fault": "stall", "x-sim-hang-s": "0.2"}
    with httpx.stream("POST", sim_server.url + path, json=body, headers=headers, timeout=20) as response:
        assert b"refund" in b"".join(response.iter_bytes())
    assert response.elapsed.total_seconds() >= 0.2


@every_language
@streamed_or_not
def test_a_page_instead_of_an_answer(sim_server, language, stream):
    response = post(sim_server, language, "type", stream=stream)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


@every_language
def test_malformed_json(sim_server, language):
    response = post(sim_server, language, "malformed", stream=False)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


@pytest.mark.parametrize("language", ["openai", "responses", "anthropic"])
def test_a_malformed_event_in_the_middle(sim_server, language):
    response = post(sim_server, language, "malformed", stream=True)
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    broken = 0
    for event in events:
        try:
            json.loads(event)
        except json.JSONDecodeError:
            broken += 1
    assert (broken, len(events) > 20) == (1, True)


@pytest.mark.parametrize(
    ("language", "words"), [("openai", '"error"'), ("responses", "response.failed"), ("anthropic", "event: error")]
)
def test_an_error_in_the_middle_of_a_stream(sim_server, language, words):
    response = post(sim_server, language, "midstream", stream=True)
    assert response.status_code == 200
    assert words in response.text
    assert "[DONE]" not in response.text
    assert "message_stop" not in response.text


@every_language
def test_the_same_without_a_stream_is_an_error_of_the_server(sim_server, language):
    assert post(sim_server, language, "midstream", stream=False).status_code == 503


@every_language
@streamed_or_not
def test_an_empty_answer_is_a_good_one(sim_server, language, stream):
    assert post(sim_server, language, "empty", stream=stream).status_code == 200


@every_language
def test_statuses(sim_server, language):
    assert post(sim_server, language, "5xx", stream=False).status_code in {500, 502, 503}
    assert post(sim_server, language, "418", stream=False).status_code == 418
    limited = post(sim_server, language, "429", stream=False, **{"x-sim-retry-after-s": "7"})
    assert limited.status_code == 429
    assert limited.headers.get("retry-after") == (None if language == "bedrock" else "7")


def test_unknown_wishes_are_refused_with_what_there_is(sim_server):
    response = post(sim_server, "openai", "explode", stream=False)
    assert response.status_code == 400
    assert "midstream" in response.json()["error"]["message"]


def test_a_slow_answer_takes_longer(sim_server):
    slow = post(sim_server, "openai", "slow", stream=False, **{"x-sim-ttft-ms": "20", "x-sim-slow-factor": "5"})
    assert slow.elapsed.total_seconds() > 0.08


def test_nothing_runs_on_after_clients_left(sim_server):
    with contextlib.suppress(httpx.ReadTimeout):
        post(sim_server, "openai", "hang", stream=True, timeout=httpx.Timeout(20, read=0.1))
    for _ in range(200):
        if not sim_server.stats()["running"]:
            break
    assert sim_server.stats()["running"] == 0


@pytest.mark.parametrize("path", ["/v1/embeddings", "/model/amazon.titan-embed-text-v2:0/invoke"])
def test_embeddings_go_wrong_as_well(sim_server, path):
    body = {"inputText": "x"} if "invoke" in path else {"model": "sim/embed", "input": "x"}
    assert sim_server.post(path, body, **{"x-sim-fault": "503"}).status_code == 503
    assert sim_server.post(path, body, **{"x-sim-fault": "midstream"}).status_code == 503
    with pytest.raises(httpx.NetworkError):
        sim_server.post(path, body, **{"x-sim-fault": "reset"})
    assert sim_server.post(path, {}).status_code == 400


def test_addresses_that_are_none(sim_server):
    assert httpx.get(f"{sim_server.url}/v1/nothing").status_code == 404
    assert httpx.get(f"{sim_server.url}/model/x/converse").status_code == 404
    assert httpx.get(f"{sim_server.url}/").json()["simulates"] == ["openai", "anthropic", "bedrock"]
    assert sim_server.post("/v1/chat/completions", "no object").status_code == 400


# -- in process


@pytest.fixture
def provider() -> SimProvider:
    options = {"ttft_ms": 0, "itl_ms": 0}
    return build_sim("sim", ProviderSettings(kind="sim", options=options, idle_s=0.05))


def call(fault: str, *, stream: bool) -> ModelCall:
    return ModelCall(
        model="small",
        messages=[Message(role="user", content=as_parts(QUESTION))],
        stream=stream,
        extra={"sim": {"fault": fault}},
    )


@streamed_or_not
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("5xx", ModelFailed),
        ("429", ModelRateLimited),
        ("529", ModelUnavailable),
        ("too_long", ContextTooLong),
        ("filtered", ContentFiltered),
        ("hang", ModelTimeout),
        ("stall", ModelTimeout),
        ("reset", ModelUnavailable),
        ("type", ModelFailed),
        ("cut", ModelStreamBroken),
        ("malformed", ModelStreamBroken),
        ("midstream", ModelFailed),
    ],
)
async def test_faults_in_process(provider, fault, kind, stream):
    came = []

    async def read() -> None:
        async for event in provider.call(call(fault, stream=stream)):
            came.append(event)  # noqa: PERF401 - what came before it broke is of interest

    with pytest.raises(kind) as raised:
        await read()
    assert raised.value.provider == "sim"
    assert provider.engine.stats.running == 0
    if fault == "cut":
        assert isinstance(raised.value.partial, ModelReply)
        if stream:
            assert "".join(delta.text for delta in came) == raised.value.partial.text != ""
    if fault == "429":
        assert raised.value.retry_after_s == 1


async def test_a_call_that_is_left_gives_back_what_it_holds(provider):
    events = provider.call(call("", stream=True))
    assert type(await anext(events)) is Delta
    assert provider.engine.stats.running == 1
    await events.aclose()
    assert provider.engine.stats.running == 0
