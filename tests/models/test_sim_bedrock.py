"""The simulator as the unmodified boto3 client of Bedrock's runtime sees it."""

from __future__ import annotations

import base64
import json

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config
from sim_process import SimServer

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {
    "tools": [
        {"toolSpec": {"name": "get_weather", "description": "The weather at a place", "inputSchema": {"json": SCHEMA}}}
    ]
}


@pytest.fixture
def client(sim_server: SimServer):
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=sim_server.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield made
    made.close()


def user(*content) -> list[dict]:
    return [{"role": "user", "content": [{"text": block} if isinstance(block, str) else block for block in content]}]


def test_converse(client):
    reply = client.converse(modelId=MODEL, messages=user("How do refunds work?"), system=[{"text": "Be kind."}])
    assert "refund" in reply["output"]["message"]["content"][0]["text"]
    assert reply["stopReason"] == "end_turn"
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + reply["usage"]["outputTokens"]


def test_converse_stream_says_the_same(client):
    events = list(client.converse_stream(modelId=MODEL, messages=user("How do refunds work?"))["stream"])
    whole = client.converse(modelId=MODEL, messages=user("How do refunds work?"))
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert text == whole["output"]["message"]["content"][0]["text"]
    assert list(events[0]) == ["messageStart"]
    assert events[-2]["messageStop"] == {"stopReason": "end_turn"}
    assert events[-1]["metadata"]["usage"]["outputTokens"] == whole["usage"]["outputTokens"]


def test_tools_whole_and_streamed(client):
    question = user("What is the weather in Paris?")
    reply = client.converse(modelId=MODEL, messages=question, toolConfig=TOOLS)
    message = reply["output"]["message"]
    use = message["content"][0]["toolUse"]
    assert (use["input"], reply["stopReason"]) == ({"city": "Paris"}, "tool_use")
    events = list(client.converse_stream(modelId=MODEL, messages=question, toolConfig=TOOLS)["stream"])
    given = "".join(
        event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event
    )
    assert json.loads(given) == {"city": "Paris"}
    result = {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"json": {"sky": "clear"}}]}}
    answer = client.converse(modelId=MODEL, messages=[*question, message, *user(result)], toolConfig=TOOLS)
    assert "clear" in answer["output"]["message"]["content"][0]["text"]


def test_reasoning_images_and_length(client):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    reply = client.converse(modelId=MODEL, messages=user("Why is it slow?"), additionalModelRequestFields=thinking)
    thought, text = reply["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"]["signature"]
    assert text["text"]
    events = list(
        client.converse_stream(modelId=MODEL, messages=user("Why is it slow?"), additionalModelRequestFields=thinking)[
            "stream"
        ]
    )
    assert any(
        "signature" in event.get("contentBlockDelta", {}).get("delta", {}).get("reasoningContent", {})
        for event in events
    )
    image = {"image": {"format": "png", "source": {"bytes": PIXEL}}}
    seen = client.converse(modelId=MODEL, messages=user(image, "What is this?"), inferenceConfig={"maxTokens": 4})
    assert seen["stopReason"] == "max_tokens"


def test_cache_points_are_counted(client):
    system = [{"text": "Keep to the rules. " * 400}, {"cachePoint": {"type": "default"}}]
    first = client.converse(modelId="cached-model", messages=user("Hello"), system=system)["usage"]
    again = client.converse(modelId="cached-model", messages=user("Bye"), system=system)["usage"]
    assert first["cacheWriteInputTokens"] == again["cacheReadInputTokens"] > 1024


def test_titan_embeds(client):
    body = json.dumps({"inputText": "where is my parcel", "dimensions": 256})
    reply = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)
    content = json.loads(reply["body"].read())
    assert len(content["embedding"]) == 256
    assert content["inputTextTokenCount"] > 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("429", "ThrottlingException"),
        ("500", "InternalServerException"),
        ("503", "ServiceUnavailableException"),
        ("529", "ServiceUnavailableException"),
        ("404", "ResourceNotFoundException"),
        ("401", "UnrecognizedClientException"),
        ("403", "AccessDeniedException"),
        ("408", "ModelTimeoutException"),
        ("too_long", "ValidationException"),
        ("filtered", "ValidationException"),
    ],
)
@pytest.mark.parametrize("verb", ["converse", "converse_stream"])
def test_errors_are_bedrocks(client, fault, code, verb):
    def wish(request, **_more):
        request.headers["X-Sim-Fault"] = fault

    client.meta.events.register("before-sign.bedrock-runtime", wish)
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        getattr(client, verb)(modelId=MODEL, messages=user("Hello"))
    assert raised.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": [{"text": "I begin"}]}],
        user("one") + user("two"),
        user(" "),
        user({"toolResult": {"toolUseId": "x", "content": [{"text": "1"}]}}),
    ],
)
def test_conversations_that_are_none_are_refused(client, messages):
    with pytest.raises(client.exceptions.ValidationException):
        client.converse(modelId=MODEL, messages=messages)


def test_streams_break_with_an_exception_or_a_wrong_checksum(client):
    fault = {"name": "midstream"}
    client.meta.events.register(
        "before-sign.bedrock-runtime", lambda request, **_: request.headers.__setitem__("X-Sim-Fault", fault["name"])
    )
    for fault["name"], kind, words in (
        ("midstream", botocore.exceptions.EventStreamError, "serviceUnavailableException"),
        ("malformed", Exception, "(?i)checksum"),
    ):
        stream = client.converse_stream(modelId=MODEL, messages=user("How do refunds work?"))["stream"]
        with pytest.raises(kind, match=words):
            list(stream)
        stream.close()
