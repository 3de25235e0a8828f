"""The gateway as its users meet it: OpenAI's own client, unmodified, against a real server; the simulator answers."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from pydantic import BaseModel

from corral.gateway import app
from corral.wiring.service import Service
from serving import Served, settings_at

KEYS = {"api_keys": [{"key": "key-of-acme", "tenant": "acme"}, {"key": "key-of-other", "tenant": "other"}]}
QUICK = {"options": {"ttft_ms": 0, "itl_ms": 0}}
HELLO = [{"role": "user", "content": "Where is my parcel 4711?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "parcel_status",
            "description": "Look up where a parcel is",
            "parameters": {
                "type": "object",
                "properties": {"number": {"type": "string"}},
                "required": ["number"],
                "additionalProperties": False,
            },
        },
    }
]


@pytest.fixture
async def gateway(tmp_path):
    """`await gateway(models={…})`: a gateway with a quick simulator."""
    running = []

    async def make(**sections):
        models = {"providers": {"quick": {"kind": "sim", **QUICK}}, **sections.pop("models", {})}
        served = Served(Service(app, settings_at(tmp_path, models=models, security=KEYS, **sections)))
        await served.start()
        running.append(served)
        return served

    yield make
    for served in running:
        await served.stop()


def client_of(served, tenant="acme", **options):
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=f"key-of-{tenant}", max_retries=0, **options)


async def test_an_answer_says_who_gave_it_and_what_it_cost(gateway):
    async with client_of(await gateway()) as client:
        raw = await client.chat.completions.with_raw_response.create(model="quick/medium", messages=HELLO)
        reply = raw.parse()
        assert reply.choices[0].message.content
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
        assert raw.headers["x-corral-model"] == "quick/medium"


async def test_a_stream_says_the_same_as_the_whole(gateway):
    async with client_of(await gateway()) as client:
        whole = await client.chat.completions.create(model="quick/medium", messages=HELLO, seed=5)
        stream = await client.chat.completions.create(
            model="quick/medium", messages=HELLO, seed=5, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage


async def test_tools_are_asked_for_and_their_results_read(gateway):
    async with client_of(await gateway()) as client:
        first = await client.chat.completions.create(model="quick/medium", messages=HELLO, tools=TOOLS)
        (call,) = first.choices[0].message.tool_calls
        assert first.choices[0].finish_reason == "tool_calls"
        assert json.loads(call.function.arguments) == {"number": "4711"}
        said = {"role": "tool", "tool_call_id": call.id, "content": "at the depot in Hamburg"}
        messages = [*HELLO, first.choices[0].message.model_dump(exclude_none=True), said]
        second = await client.chat.completions.create(model="quick/medium", messages=messages, tools=TOOLS)
        assert "Hamburg" in second.choices[0].message.content
        stream = await client.chat.completions.create(model="quick/medium", messages=HELLO, tools=TOOLS, stream=True)
        arguments = ""
        async for chunk in stream:
            for piece in chunk.choices[0].delta.tool_calls or ():
                arguments += piece.function.arguments or ""
        assert json.loads(arguments) == {"number": "4711"}


class Parcel(BaseModel):
    number: int
    state: str


async def test_structured_output_is_parsed(gateway):
    async with client_of(await gateway()) as client:
        reply = await client.chat.completions.parse(model="quick/medium", messages=HELLO, response_format=Parcel)
        assert isinstance(reply.choices[0].message.parsed, Parcel)


async def test_the_newer_api(gateway):
    async with client_of(await gateway()) as client:
        whole = await client.responses.create(model="quick/medium", input="Hello", instructions="Be brief.")
        assert whole.output_text
        async with client.responses.stream(model="quick/medium", input="Hello", instructions="Be brief.") as stream:
            models = {event.response.model async for event in stream if hasattr(event, "response")}
            last = await stream.get_final_response()
            assert last.output_text == whole.output_text
            assert models == {last.model}


async def test_embeddings_and_models(gateway):
    async with client_of(await gateway()) as client:
        reply = await client.embeddings.create(model="quick/embed", input=["one", "two", "one"])
        first, second, third = (one.embedding for one in reply.data)
        assert first == third != second
        listed = [model.id async for model in client.models.list()]
        assert "quick/medium" in listed
        assert (await client.models.retrieve("quick/medium")).owned_by == "quick"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody/nothing")


async def test_a_model_named_alone_is_the_only_provider_s(gateway):
    async with client_of(await gateway()) as client:
        raw = await client.chat.completions.with_raw_response.create(model="small", messages=HELLO)
        assert raw.headers["x-corral-model"] == "quick/small"


@pytest.mark.parametrize("header", ["x-corral-priority", "x-corral-cache-ttl-s"])
@pytest.mark.parametrize("number", ["10000000000", f"{99_999_999_999:016}", "0" * 12 + "9" * 5_000, "-1", "1.5", ""])
async def test_a_number_that_is_too_large_is_refused_however_it_is_written(gateway, header, number):
    served = await gateway()
    asked = {"model": "quick/small", "messages": HELLO}
    answer = await served.client.post(
        "/v1/chat/completions", json=asked, headers={"authorization": "Bearer key-of-acme", header: number}
    )
    assert answer.status_code == 400
    assert header in answer.json()["error"]["message"]


async def test_auto_is_routed(gateway):
    router = {
        "classes": {"simple_query": "quick/small", "complex_reasoning": "quick/medium", "expert_task": "quick/large"}
    }
    async with client_of(await gateway(models={"router": router})) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Hi"}]
        )
        assert raw.headers["x-corral-model"] == "quick/small"
        assert raw.headers["x-corral-route"] == "simple_query"
        raw = await client.chat.completions.with_raw_response.create(
            model="auto", messages=HELLO, extra_headers={"x-corral-route": "expert_task"}
        )
        assert raw.headers["x-corral-model"] == "quick/large"


async def test_who_does_not_answer_is_replaced(gateway):
    providers = {
        "quick": {"kind": "sim", **QUICK},
        "broken": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "none"},
    }
    names = {"smart": {"deployments": {"broken/gpt": 1}, "fallback": ["quick/medium"]}}
    served = await gateway(models={"providers": providers, "names": names, "retry_initial_s": 0.0})
    async with client_of(served) as client:
        raw = await client.chat.completions.with_raw_response.create(model="smart", messages=HELLO)
        assert raw.headers["x-corral-model"] == "quick/medium"
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="broken/gpt", messages=HELLO)
        assert caught.value.status_code == 503
        assert caught.value.code == "model_unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_openai_s(gateway, stream):
    served = await gateway(models={"providers": {"quick": {"kind": "sim", **QUICK}, "other": {"kind": "sim"}}})
    async with client_of(served) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="nobody/x", messages=HELLO, stream=stream)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="quick/small", messages=[], stream=stream)
        assert bad.value.param == "messages"
        assert bad.value.response.headers["x-should-retry"] == "false"
    async with client_of(served, "nobody") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="quick/small", messages=HELLO, stream=stream)


@pytest.mark.parametrize("address", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
async def test_a_body_that_is_no_json(gateway, address):
    served = await gateway()
    answer = await served.client.post(address, content=b"{nothing", headers={"authorization": "Bearer key-of-acme"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_stream_that_breaks_says_so(gateway):
    broken = {"kind": "sim", "options": {"ttft_ms": 0, "itl_ms": 0, "faults": {"cut": 1.0}}}
    served = await gateway(models={"providers": {"broken": broken}})
    async with client_of(served) as client:
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(model="broken/small", messages=HELLO, stream=True):
                pass
        events = [event async for event in await client.responses.create(model="broken/small", input="Hi", stream=True)]
        assert (events[-1].type, events[-1].code) == ("error", "model_stream_broken")


async def test_a_client_that_leaves_stops_the_call(gateway):
    slow = {"kind": "sim", "options": {"ttft_ms": 60_000}}
    served = await gateway(models={"providers": {"slow": slow}})
    client = client_of(served)
    asking = asyncio.create_task(client.chat.completions.create(model="slow/small", messages=HELLO))
    await until(lambda: running(served) == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await client.close()
    await until(lambda: running(served) == 0)
    assert 'outcome="cancelled"} 1' in await metrics_of(served)


def access_lines(served, monkeypatch):
    """What the access log is told from now on."""
    lines = []
    monkeypatch.setattr(served.service.observing.logs, "access", lambda _now, fields: lines.append(fields))
    return lines


@pytest.mark.parametrize(
    ("options", "stream", "status"), [({"ttft_ms": 60_000}, False, 499), ({"ttft_ms": 0, "itl_ms": 60_000}, True, 200)]
)
async def test_a_client_that_leaves_is_no_error(gateway, monkeypatch, options, stream, status):
    served = await gateway(models={"providers": {"slow": {"kind": "sim", "options": options}}})
    lines, kept = access_lines(served, monkeypatch), []
    monkeypatch.setattr(served.service.observing.traces, "keep", kept.append)
    body = {"model": "slow/small", "messages": HELLO, "stream": stream}
    headers = {"authorization": "Bearer key-of-acme"}
    begun = asyncio.Event()

    async def ask():
        async with served.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            async for _ in answer.aiter_raw():
                begun.set()

    asking = asyncio.create_task(ask())
    await until(lambda: begun.is_set() if stream else running(served) == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: lines)
    (line,) = lines
    assert (line["event"], line["status"]) == ("client left", status)
    assert "error" not in line
    assert "agent" not in line
    assert not kept
    metrics = await metrics_of(served)
    assert 'corral_http_clients_left_total{route="/v1/chat/completions"} 1' in metrics
    assert f'{{route="/v1/chat/completions",method="POST",status="{status}"}} 1' in metrics
    await until(lambda: running(served) == 0)


async def test_only_requests_that_call_an_agent_name_one(gateway, monkeypatch):
    served = await gateway()
    lines = access_lines(served, monkeypatch)
    headers = {"authorization": "Bearer key-of-acme"}
    for path in ("/v1/jobs", "/v1/models", "/v1/agents", "/v1/nothing"):
        await served.client.get(path, headers=headers)
    await served.client.post("/v1/chat/completions", json={"model": "quick/small", "messages": HELLO}, headers=headers)
    assert len(lines) == 5
    assert all("agent" not in line for line in lines)


async def test_a_fault_that_one_caller_wished_for_keeps_nobody_else_waiting(gateway):
    providers = {"quick": {"kind": "sim", "requests_per_minute": 6_000, **QUICK}}
    async with client_of(await gateway(models={"providers": providers, "attempts_max": 1})) as client:
        wish = {"sim": {"fault": "429", "retry_after_s": 40}}
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="quick/small", messages=HELLO, extra_body=wish)
        assert int(refused.value.response.headers["retry-after"]) >= 39
        async with asyncio.timeout(5):
            reply = await client.chat.completions.create(model="quick/small", messages=HELLO)
        assert reply.choices[0].message.content


async def metrics_of(served):
    return (await served.client.get("/metrics", headers={"authorization": "Bearer key-of-acme"})).text


def running(served):
    return sum(one["running"] for one in served.service.modelling.pace.status())


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells a test when a provider is asked
            await asyncio.sleep(0.001)


async def test_every_call_is_on_the_bill_of_its_tenant(gateway):
    served = await gateway()
    async with client_of(served) as mine, client_of(served, "other") as theirs:
        await mine.chat.completions.create(model="quick/small", messages=HELLO, metadata={"team": "support"})
        await mine.embeddings.create(model="quick/embed", input="one")
        await theirs.chat.completions.create(model="quick/large", messages=HELLO)
    models = served.service.modelling
    await models.ledger.drain()
    bill = {one.key: one.calls for one in await models.spend("acme", since_s=60, by="model")}
    assert bill == {"quick/small": 1, "quick/embed": 1}
    teams = {one.key: one.calls for one in await models.spend("acme", since_s=60, by="tag", tag="team")}
    assert teams == {"support": 1, "": 1}
    assert 'corral_llm_requests_total{model="quick/large",outcome="ok"} 1' in await metrics_of(served)


async def test_a_call_shows_in_the_trace_of_its_request(gateway):
    served = await gateway()
    async with client_of(served) as client:
        raw = await client.chat.completions.with_raw_response.create(model="quick/small", messages=HELLO)
    trace_id = raw.headers["traceparent"].split("-")[1]
    await served.service.observing.traces.drain()
    spans = {span.name: span for span in await served.service.stores.spans.trace("acme", trace_id)}
    request, call = spans["POST /v1/chat/completions"], spans["chat quick/small"]
    assert request.tenant == call.tenant == "acme"
    assert call.parent_id == request.span_id
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
