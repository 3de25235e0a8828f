from __future__ import annotations

import json

import msgspec
import pytest
from faulty_server import Answer, FaultyServer, faulty_server
from model_scene import Scripted, question

from corral.errors import ModelAuthFailed, ModelNotFound, ModelRequestInvalid, ModelStreamBroken
from corral.messages import OutputFormat, Usage
from corral.models.anthropic import build_anthropic
from corral.models.batch_apis import batches_at
from corral.models.bedrock import build_bedrock
from corral.models.connected import Models, using
from corral.models.openai import build_openai
from corral.models.provider_batches import (
    BatchHandle,
    cancel_batch,
    collect_batch,
    poll_batch,
    submit_batch,
)
from corral.settings.model_sections import ProviderSettings


class Server:
    """A real server that says what it is told, and remembers what it was asked."""

    def __init__(self, faulty: FaultyServer) -> None:
        self.url, self.says = faulty.url, {}
        self._faulty = faulty
        faulty.answers = lambda asked: self.says.get((asked.method, asked.path), Answer(404, {}, [b"{}"]))

    @property
    def asked(self) -> list[bytes]:
        return [one.body for one in self._faulty.asked]

    def say(self, method, path, value, status=200):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.says[method, path] = Answer(status, {"content-type": "application/json"}, [body])


@pytest.fixture
async def server():
    async with faulty_server() as faulty:
        yield Server(faulty)


def estimate(call, reply):
    return Usage()


@pytest.fixture
async def openai(server):
    provider = build_openai("oa", ProviderSettings(base_url=f"{server.url}/v1", api_key="sk-secret-key"), {}, estimate)
    yield provider
    await provider.stop()
    assert provider.transport.open == 0


@pytest.fixture
async def anthropic(server):
    settings = ProviderSettings(kind="anthropic", base_url=server.url, api_key="sk-secret-key")
    provider = build_anthropic("an", settings, {}, estimate)
    yield provider
    await provider.stop()
    assert provider.transport.open == 0


def completion(text):
    return {
        "id": "c",
        "model": "gpt-x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }


def lines(*values):
    return b"\n".join(json.dumps(value).encode() for value in values) + b"\n"


async def test_openai_from_submit_to_join(server, openai):
    api = batches_at(openai)
    server.say("POST", "/v1/files", {"id": "file-1"})
    server.say("POST", "/v1/batches", {"id": "batch-1", "status": "validating"})
    calls = [question(text, model="oa/gpt-x", stream=True) for text in ("one?", "two?", "three?")]
    handle = await submit_batch(api, calls)
    upload = server.asked[0]
    assert b'name="purpose"\r\n\r\nbatch\r\n' in upload
    sent = [json.loads(line) for part in upload.split(b"\r\n") for line in part.split(b"\n") if line.startswith(b"{")]
    assert [one["custom_id"] for one in sent] == ["0", "1", "2"]
    assert sent[0]["body"]["model"] == "gpt-x"
    assert not sent[0]["body"].get("stream")
    assert json.loads(server.asked[1])["input_file_id"] == "file-1"

    kept = msgspec.json.decode(msgspec.json.encode(handle))
    server.say(
        "GET", "/v1/batches/batch-1", {"id": "batch-1", "status": "in_progress", "request_counts": {"completed": 1}}
    )
    state = await poll_batch(api, kept)
    assert (state.done, state.total, state.answered) == (False, 3, 1)

    server.say(
        "GET",
        "/v1/batches/batch-1",
        {"id": "batch-1", "status": "completed", "output_file_id": "out", "error_file_id": "err"},
    )
    error = {"error": {"message": "bad key sk-secret-key", "code": "invalid_api_key"}}
    server.say(
        "GET",
        "/v1/files/out/content",
        lines({"custom_id": "2", "response": {"status_code": 200, "body": completion("three")}}),
    )
    server.say(
        "GET", "/v1/files/err/content", lines({"custom_id": "0", "response": {"status_code": 401, "body": error}})
    )
    assert (await poll_batch(api, kept)).state == "done"
    answers = await collect_batch(api, kept, cost_of=lambda model, usage: usage.input if model == "oa/gpt-x" else None)
    assert [answer.code for answer in answers] == ["model_auth_failed", "model_failed", ""]
    assert "sk-secret-key" not in answers[0].error
    assert answers[2].reply.text == "three"
    assert answers[2].reply.cost_usd == 5, "half of the price"
    assert msgspec.json.decode(msgspec.json.encode(answers), type=list[type(answers[0])]) == answers

    server.say("POST", "/v1/batches/batch-1/cancel", {"id": "batch-1", "status": "cancelling"})
    await cancel_batch(api, kept)


async def test_openai_errors_are_ours(server, openai):
    api = batches_at(openai)
    server.say("POST", "/v1/files", {"error": {"message": "no", "code": "invalid_api_key"}}, 401)
    with pytest.raises(ModelAuthFailed):
        await submit_batch(api, [question(model="gpt-x")])
    handle = BatchHandle(provider="oa", id="b", models=["gpt-x"])
    server.say("GET", "/v1/batches/b", {"id": "b", "status": "failed", "errors": {"data": [{"message": "line 1"}]}})
    state = await poll_batch(api, handle)
    assert (state.state, "line 1" in state.reason) == ("failed", True)
    server.say("GET", "/v1/batches/b", {"id": "b", "status": "expired", "output_file_id": "out"})
    for wrong in (b"nonsense\n", lines({"custom_id": "7"})):
        server.say("GET", "/v1/files/out/content", wrong)
        with pytest.raises(ModelStreamBroken):
            await collect_batch(api, handle)
    server.say("GET", "/v1/files/out/content", lines({"custom_id": "0", "error": {"message": "expired"}}))
    assert "expired" in (await collect_batch(api, handle))[0].error


async def test_anthropic_from_submit_to_join(server, anthropic):
    api = batches_at(anthropic)
    server.say("POST", "/v1/messages/batches", {"id": "mb", "processing_status": "in_progress"})
    schema = OutputFormat(schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    calls = [question("one?", model="an/claude-3-haiku", output=schema), question("two?", model="claude-3-haiku")]
    handle = await submit_batch(api, [*calls[:2], question(model="claude-3-haiku")])
    sent = json.loads(server.asked[0])["requests"]
    assert [one["custom_id"] for one in sent] == ["0", "1", "2"]
    assert sent[0]["params"]["model"] == "claude-3-haiku"
    counts = {"processing": 2, "succeeded": 1}
    server.say(
        "GET", "/v1/messages/batches/mb", {"id": "mb", "processing_status": "in_progress", "request_counts": counts}
    )
    assert not (await poll_batch(api, handle)).done
    counts = {"succeeded": 1, "errored": 1, "expired": 1}
    server.say("GET", "/v1/messages/batches/mb", {"id": "mb", "processing_status": "ended", "request_counts": counts})
    state = await poll_batch(api, msgspec.to_builtins(handle))
    assert (state.done, state.answered, state.failed) == (True, 1, 2)
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-3-haiku",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "two"}],
        "usage": {"input_tokens": 4, "output_tokens": 2},
    }
    server.say(
        "GET",
        "/v1/messages/batches/mb/results",
        lines(
            {"custom_id": "1", "result": {"type": "succeeded", "message": message}},
            {
                "custom_id": "0",
                "result": {
                    "type": "errored",
                    "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}},
                },
            },
            {"custom_id": "2", "result": {"type": "expired"}},
        ),
    )
    answers = await collect_batch(api, handle)
    assert [answer.code for answer in answers] == ["model_request_invalid", "", "model_failed"]
    assert answers[1].reply.text == "two"
    assert answers[1].reply.cost_usd is None
    assert "expired" in answers[2].error
    server.say("POST", "/v1/messages/batches/mb/cancel", {"id": "mb"})
    await cancel_batch(api, handle)
    server.say("GET", "/v1/messages/batches/mb/results", b"nonsense")
    with pytest.raises(ModelStreamBroken):
        await collect_batch(api, handle)
    server.say(
        "POST",
        "/v1/messages/batches",
        {"type": "error", "error": {"type": "authentication_error", "message": "no"}},
        401,
    )
    with pytest.raises(ModelAuthFailed):
        await submit_batch(api, [question(model="claude-3-haiku")])


async def test_an_answer_in_json_is_read_as_it_was_asked_for(server, anthropic):
    """Older models are made to answer in JSON by a tool; the handle remembers which."""
    api = batches_at(anthropic)
    server.say("POST", "/v1/messages/batches", {"id": "mb"})
    schema = OutputFormat(schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    handle = await submit_batch(api, [question(model="claude-3-haiku-20240307", output=schema)])
    tool = handle.answer_tools["0"]
    message = {
        "id": "m",
        "model": "x",
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "content": [{"type": "tool_use", "id": "t", "name": tool, "input": {"n": 1}}],
    }
    server.say(
        "GET",
        "/v1/messages/batches/mb/results",
        lines({"custom_id": "0", "result": {"type": "succeeded", "message": message}}),
    )
    answers = await collect_batch(api, msgspec.to_builtins(handle))
    assert json.loads(answers[0].reply.text) == {"n": 1}


async def test_what_cannot_be_a_batch(openai):
    api = batches_at(openai)
    with pytest.raises(ModelRequestInvalid, match="1 to 50000"):
        await submit_batch(api, [])
    with pytest.raises(ModelRequestInvalid, match="'other'"):
        await poll_batch(api, BatchHandle(provider="other", id="b", models=[]))

    class Sim:
        name = "sim"
        call = Scripted()

    with pytest.raises(ModelRequestInvalid, match=r"llm\.batch"):
        batches_at(Sim())


async def test_batches_at_bedrock_are_refused_with_what_to_do_instead():
    settings = ProviderSettings(kind="bedrock", region="eu-west-1", api_key="sk-secret-key")
    provider = build_bedrock("aws", settings, {}, estimate)
    with pytest.raises(ModelRequestInvalid, match=r"CreateModelInvocationJob .* `llm\.batch"):
        batches_at(provider)
    await provider.stop()


async def test_a_provider_is_found_by_its_name(openai):
    async def nobody(call):
        raise AssertionError(call)
        yield

    with using(Models(nobody, providers={"openai": openai})):
        assert batches_at("openai").name == openai.name
        with pytest.raises(ModelNotFound, match="Did you mean 'openai'"):
            batches_at("opena")
