"""The simulator as the unmodified `anthropic` client sees it."""

from __future__ import annotations

import anthropic
import pytest
from sim_process import SimServer

WEATHER = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@pytest.fixture
def client(sim_server: SimServer):
    with anthropic.Anthropic(base_url=sim_server.url, api_key="sk-ant-test", max_retries=0) as made:
        yield made


def ask(client, text="How do refunds work?", **more):
    given = {"model": "sim/medium", "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
    return client.messages.create(**(given | more))


def test_a_message_is_answered(client):
    reply = ask(client, system="You are kind.")
    assert "refund" in reply.content[0].text
    assert reply.stop_reason == "end_turn"
    assert reply.usage.output_tokens > 10


def test_a_stream_says_the_same(client):
    given = {
        "model": "sim/medium",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "How do refunds work?"}],
    }
    with client.messages.stream(**given) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = ask(client)
    assert text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == "end_turn"


def test_tools_whole_and_streamed(client):
    reply = ask(client, "What is the weather in Paris?", tools=[WEATHER])
    (use,) = [block for block in reply.content if block.type == "tool_use"]
    assert (use.input, reply.stop_reason) == ({"city": "Paris"}, "tool_use")
    question = {"role": "user", "content": "What is the weather in Paris?"}
    with client.messages.stream(model="sim/medium", max_tokens=500, messages=[question], tools=[WEATHER]) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].input == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": '{"sky": "clear"}'}]}
    messages = [question, {"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    answer = ask(client, messages=messages, tools=[WEATHER])
    assert "clear" in answer.content[0].text


def test_thinking_is_shown_signed_and_taken_back(client):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(
        model="sim/large",
        max_tokens=2000,
        thinking=thinking,
        messages=[{"role": "user", "content": "Why is it slow?"}],
    ) as stream:
        reply = stream.get_final_message()
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert reply.content[0].signature
    messages = [
        {"role": "user", "content": "Why is it slow?"},
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": "And then?"},
    ]
    assert ask(client, messages=messages, max_tokens=2000, thinking=thinking).content[0].type == "thinking"


def test_marks_decide_what_is_cached(client):
    system = [{"type": "text", "text": "Keep to the rules. " * 400, "cache_control": {"type": "ephemeral"}}]
    first = ask(client, "Hello", system=system, model="sim/cached")
    again = ask(client, "Goodbye", system=system, model="sim/cached")
    assert first.usage.cache_creation_input_tokens > 1024
    assert again.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert again.usage.input_tokens < 20


def test_images_are_accepted_and_stop_sequences_obeyed(client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    reply = ask(client, messages=[{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}]}])
    assert "image/png" in reply.content[0].text
    stopped = ask(client, "Say exactly: one two three", stop_sequences=["two"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "two")
    assert ask(client, max_tokens=4).stop_reason == "max_tokens"


def test_tokens_are_counted_without_an_answer(client):
    messages = [{"role": "user", "content": "How do refunds work?"}]
    counted = client.messages.count_tokens(model="sim/medium", messages=messages)
    assert counted.input_tokens == ask(client).usage.input_tokens


def test_models_are_listed(client):
    assert "sim/large" in [model.id for model in client.models.list()]


async def test_the_async_client(sim_server):
    async with anthropic.AsyncAnthropic(base_url=sim_server.url, api_key="k") as client:
        messages = [{"role": "user", "content": "Hello"}]
        async with client.messages.stream(model="sim/small", max_tokens=50, messages=messages) as stream:
            assert (await stream.get_final_text()).startswith("Hello")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"messages": []}, anthropic.BadRequestError, "at least one message"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
        ({"messages": [{"role": "user", "content": " "}]}, anthropic.BadRequestError, "non-empty"),
        ({"messages": [{"role": "user", "content": ""}]}, anthropic.BadRequestError, "must have non-empty content"),
        ({"messages": [{"role": "user", "content": []}]}, anthropic.BadRequestError, "must have non-empty content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, anthropic.BadRequestError, "role"),
        ({"extra_body": {"foo": 1}}, anthropic.BadRequestError, "Extra inputs"),
        ({"extra_headers": {"x-sim-fault": "too_long"}}, anthropic.BadRequestError, "prompt is too long"),
        ({"extra_headers": {"x-sim-fault": "401"}}, anthropic.AuthenticationError, "x-api-key"),
        ({"extra_headers": {"x-sim-fault": "404"}}, anthropic.NotFoundError, "model:"),
        ({"extra_headers": {"x-sim-fault": "429"}}, anthropic.RateLimitError, ""),
        ({"extra_headers": {"x-sim-fault": "529"}}, anthropic.InternalServerError, "Overloaded"),
    ],
)
def test_errors_are_anthropics(client, change, kind, words):
    with pytest.raises(kind) as raised:
        ask(client, **change)
    assert words in str(raised.value)
    assert raised.value.body["type"] == "error"


@pytest.mark.parametrize("content", ["", []])
def test_only_the_last_turn_of_the_model_may_be_empty(client, content):
    begun = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": content}]
    assert ask(client, messages=begun).content
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1: all messages must have non-empty content"):
        ask(client, messages=[*begun, {"role": "user", "content": "And?"}])


def test_a_use_without_its_result_is_refused(client):
    use = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": "y"},
    ]
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
        ask(client, messages=messages, tools=[WEATHER])
