"""The simulator as the unmodified `openai` client sees it."""

from __future__ import annotations

import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from sim_process import SimServer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@pytest.fixture
def client(sim_server: SimServer):
    with openai.OpenAI(base_url=sim_server.openai, api_key="sk-test", max_retries=0) as made:
        yield made


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_chat_is_answered_about_what_was_asked(client):
    reply = client.chat.completions.create(model="sim/small", messages=user("I want a refund for order 4711"))
    assert "refund" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.model == "sim/small"


def test_a_stream_says_the_same_as_a_whole_answer(client):
    whole = client.chat.completions.create(model="gpt-4.1-mini", messages=user("How do I reset my password?"))
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4.1-mini", messages=user("How do I reset my password?"), stream=True, stream_options=options
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len(chunks) == whole.usage.completion_tokens + 3


def test_a_tool_is_asked_for_and_its_result_is_used(client):
    messages = user("What is the weather in Paris?")
    reply = client.chat.completions.create(model="sim/medium", messages=messages, tools=[WEATHER])
    (call,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages += [
        reply.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear", "celsius": 21}'},
    ]
    answer = client.chat.completions.create(model="sim/medium", messages=messages, tools=[WEATHER])
    assert "clear" in answer.choices[0].message.content
    assert "21" in answer.choices[0].message.content


def test_a_tool_is_asked_for_in_a_stream(client):
    with client.chat.completions.stream(
        model="sim/medium", messages=user("What is the weather in Paris?"), tools=[WEATHER]
    ) as stream:
        completion = stream.get_final_completion()
    assert json.loads(completion.choices[0].message.tool_calls[0].function.arguments) == {"city": "Paris"}


class Ticket(BaseModel):
    title: str
    priority: Literal["low", "high"]
    order: int
    tags: list[str]


def test_an_answer_fits_the_schema(client):
    reply = client.chat.completions.parse(
        model="sim/small", messages=user("Make a high priority ticket for order 4711"), response_format=Ticket
    )
    assert reply.choices[0].message.parsed.priority == "high"
    assert reply.choices[0].message.parsed.order == 4711


def test_an_image_is_accepted(client):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    reply = client.chat.completions.create(model="sim/small", messages=[{"role": "user", "content": content}])
    assert "image/png" in reply.choices[0].message.content
    assert reply.usage.prompt_tokens > 500


def test_length_and_stop_sequences_are_obeyed(client):
    cut = client.chat.completions.create(model="sim/small", messages=user("Tell me about returns"), max_tokens=5)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)
    stopped = client.chat.completions.create(
        model="sim/small", messages=user("Say exactly: one two three"), stop=["two"]
    )
    assert stopped.choices[0].message.content == "one "


def test_several_answers_are_given(client):
    reply = client.chat.completions.create(model="sim/small", messages=user("How is stock counted?"), n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    chunks = client.chat.completions.create(model="sim/small", messages=user("How is stock counted?"), n=2, stream=True)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


def test_thinking_is_counted(client):
    reply = client.chat.completions.create(model="sim/large", messages=user("Why is it slow?"), reasoning_effort="high")
    assert reply.usage.completion_tokens_details.reasoning_tokens > 10


def test_a_long_beginning_is_read_from_the_cache_the_second_time(client):
    messages = [{"role": "system", "content": "Keep to the rules of the house. " * 300}, *user("Hello")]
    first, again = (client.chat.completions.create(model="sim/cached", messages=messages) for _ in range(2))
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert again.usage.prompt_tokens_details.cached_tokens >= 1024
    assert again.usage.prompt_tokens_details.cached_tokens % 128 == 0


async def test_the_async_client_streams(sim_server):
    async with openai.AsyncOpenAI(base_url=sim_server.openai, api_key="sk-test") as client:
        stream = await client.chat.completions.create(model="sim/small", messages=user("Hello"), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.startswith("Hello!")


def test_responses(client):
    first = client.responses.create(model="sim/small", input="My name is Ada", instructions="Be kind.")
    assert "Ada" in first.output_text
    again = client.responses.create(model="sim/small", input="What is my name?", previous_response_id=first.id)
    assert again.output_text == "Your name is Ada."
    assert client.responses.retrieve(first.id).output_text == first.output_text


def test_responses_stream(client):
    with client.responses.stream(
        model="sim/small", input="How do refunds work?", reasoning={"effort": "low"}
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert numbers == sorted(numbers)
    assert "refund" in final.output_text
    assert final.usage.output_tokens_details.reasoning_tokens > 0
    assert [item.type for item in final.output] == ["reasoning", "message"]


def test_responses_use_tools(client):
    tool = {"type": "function", **WEATHER["function"], "strict": False}
    with client.responses.stream(model="sim/small", input="What is the weather in Rome?", tools=[tool]) as stream:
        reply = stream.get_final_response()
    call = reply.output[0]
    assert json.loads(call.arguments) == {"city": "Rome"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "grey"}'}
    answer = client.responses.create(model="sim/small", input=[output], previous_response_id=reply.id, tools=[tool])
    assert "grey" in answer.output_text


def test_responses_fit_a_schema_and_may_be_incomplete(client):
    parsed = client.responses.parse(model="sim/small", input="A low priority ticket for order 12", text_format=Ticket)
    assert parsed.output_parsed.priority == "low"
    cut = client.responses.create(model="sim/small", input="Tell me about returns", max_output_tokens=5)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_embeddings_of_the_same_text_are_the_same_and_of_like_texts_alike(client):
    texts = ["where is my parcel", "where is my parcel", "my parcel, where is it?", "restart the database"]
    reply = client.embeddings.create(model="sim/embed", input=texts)
    first, same, like, other = (row.embedding for row in reply.data)
    assert first == same

    def near(one, two):
        return sum(a * b for a, b in zip(one, two, strict=True))

    assert near(first, like) > 0.7 > near(first, other)
    plain = client.embeddings.create(model="sim/embed", input="where is my parcel", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(first, abs=1e-6)
    assert (
        len(client.embeddings.create(model="text-embedding-3-small", input="x", dimensions=64).data[0].embedding) == 64
    )


def test_models_are_listed(client):
    assert {"sim/small", "sim/medium", "sim/large", "sim/embed"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("sim/large").id == "sim/large"


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": ""}, openai.BadRequestError, "model"),
        ({"messages": []}, openai.BadRequestError, "empty"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]}, openai.BadRequestError, "tool_calls"),
        ({"extra_body": {"foo": 1}}, openai.BadRequestError, "foo"),
        ({"extra_headers": {"x-sim-fault": "too_long"}}, openai.BadRequestError, "maximum context length"),
        ({"extra_headers": {"x-sim-fault": "404"}}, openai.NotFoundError, "does not exist"),
        ({"extra_headers": {"x-sim-fault": "401"}}, openai.AuthenticationError, ""),
        ({"extra_headers": {"x-sim-fault": "429", "x-sim-retry-after-s": "2"}}, openai.RateLimitError, ""),
        ({"extra_headers": {"x-sim-fault": "500"}}, openai.InternalServerError, ""),
    ],
)
def test_errors_are_openais(client, change, kind, words):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**({"model": "sim/small", "messages": user("Hello")} | change))
    assert words in str(raised.value)


def test_too_long_questions_are_refused(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="sim/small", messages=user("word " * 130_000))
    assert raised.value.code == "context_length_exceeded"


def test_azure_addresses_work(sim_server):
    with openai.AzureOpenAI(azure_endpoint=sim_server.url, api_key="k", api_version="2024-10-21") as client:
        reply = client.chat.completions.create(model="sim/small", messages=user("Hello"))
    assert reply.choices[0].message.content.startswith("Hello")


def test_a_batch_is_worked_off(client):
    lines = [
        {
            "custom_id": f"c{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "sim/small", "messages": user(f"{n} + {n}")},
        }
        for n in range(3)
    ]
    lines.append({"custom_id": "bad", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}})
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    assert client.files.content(file.id).content == content
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.total, batch.request_counts.failed) == ("completed", 4, 1)
    out = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    texts = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in out}
    assert texts == {f"c{n}": f"{n} + {n} = {2 * n}" for n in range(3)}
    (bad,) = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 400)
    assert batch.id in [one.id for one in client.batches.list()]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
