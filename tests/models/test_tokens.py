"""Estimates against real vocabularies, and counts that learn."""

from __future__ import annotations

import asyncio
import base64
import builtins
import json
import pydoc_data.topics
import random
import struct
import sys
from pathlib import Path

import pytest
import quicktok
from hypothesis import given
from hypothesis import strategies as st
from token_texts import TEXTS

from corral.errors import ConfigError
from corral.messages import EmbedCall, Message, ModelCall, ModelReply, OutputFormat, ToolSpec, as_parts
from corral.models.picture_size import size_of
from corral.models.tokens import (
    Tokens,
    estimate,
    estimate_usage,
    family_of,
    input_tokens,
    is_exact,
    picture_tokens,
)

MODELS = {
    "o200k_base": "openai/gpt-4o",
    "cl100k_base": "openai/gpt-4",
    "llama3": "groq/llama-3.3-70b",
    "qwen3": "x/qwen3-32b",
}


def corpus():
    """Pieces of every sort, the same ones each time."""
    chance = random.Random(11)
    library = Path(builtins.__file__ if hasattr(builtins, "__file__") else asyncio.__file__).parent.parent
    code = [
        (library / name).read_text()
        for name in ("argparse.py", "tarfile.py", "typing.py", "decimal.py", "_pydecimal.py")
    ]
    prose = [text for text in pydoc_data.topics.topics.values() if len(text) > 1_500]
    rows = [
        json.dumps(
            [{"id": chance.randrange(10**6), "name": "Ada", "price": round(chance.random() * 100, 2)} for _ in range(9)]
        )
        for _ in range(20)
    ]
    numbers = [
        "\n".join(f"{chance.random() * 1e6:.2f};{chance.randrange(10**5)}" for _ in range(40)) for _ in range(20)
    ]
    pieces = []
    for text in [*code * 8, *chance.sample(prose, 40)]:
        start = chance.randrange(max(1, len(text) - 1_500))
        pieces.append(text[start : start + 1_500])
    return [*pieces, *rows, *numbers, *(text for text in TEXTS.values() for _ in range(3))]


@pytest.mark.parametrize("encoding", MODELS)
def test_the_error_of_estimates_is_what_the_docs_say(encoding):
    tokenizer = quicktok.get_encoding(encoding)
    errors = []
    for text in corpus():
        counted = len(tokenizer.encode(text))
        errors.append(abs(estimate(text, MODELS[encoding]) - counted) / counted)
    errors.sort()
    assert errors[len(errors) // 2] < 0.09
    assert errors[int(len(errors) * 0.95)] < 0.25


@pytest.mark.parametrize("language", TEXTS)
def test_no_language_is_far_off(language):
    text = TEXTS[language]
    counted = len(quicktok.get_encoding("o200k_base").encode(text))
    assert 0.7 < estimate(text, "openai/gpt-4o") / counted < 1.5


# Lines drawn with one sign may make a text's end cheaper than its beginning was.
written = st.text(st.characters(exclude_characters="-=*#_~"), max_size=300)


@given(written, written)
def test_any_text_has_an_estimate_and_more_text_never_less(one, more):
    assert 0 <= estimate(one) <= 4 * len(one.encode(errors="replace")) + 2
    assert estimate(one + " " + more) >= estimate(one) - 1


def test_half_a_character_is_text_as_well():
    assert estimate("\ud800 half") > 0
    assert estimate("") <= 2


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-4o-mini", "o200k"),
        ("gpt-4.1", "o200k"),
        ("openrouter/openai/gpt-5", "o200k"),
        ("azure/gpt-4", "cl100k"),
        ("openai/gpt-4-turbo", "cl100k"),
        ("openai/text-embedding-3-small", "cl100k"),
        ("bedrock/us.meta.llama3-3-70b-instruct-v1:0", "llama3"),
        ("groq/qwen/qwen3-32b", "qwen3"),
    ],
)
def test_a_model_is_known_by_its_name(model, family):
    assert family_of(model) == (family, 1.0)
    assert is_exact(model)


@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4", "bedrock/eu.amazon.nova-pro-v1:0", "gemini/gemini-2.5-pro", "x"]
)
def test_models_whose_vocabulary_is_secret_are_taken_to_need_more(model):
    assert family_of(model)[1] > 1
    assert not is_exact(model)


# -- conversations ------------------------------------------------------------------------------------------------------


def question(*parts, **more):
    return ModelCall(model="openai/gpt-4o", messages=[Message(role="user", content=list(parts))], **more)


def test_all_that_is_read_counts():
    bare = input_tokens(question(*as_parts("Hello there")))
    assert bare == estimate(question(*as_parts("Hello there")).messages, "openai/gpt-4o")
    tool = ToolSpec(
        name="find", description="Find a ticket by its number.", parameters={"type": "object", "properties": {}}
    )
    assert input_tokens(question(*as_parts("Hello there"), tools=[tool])) > bare + 10
    output = OutputFormat(schema={"type": "object", "properties": {"answer": {"type": "string"}}})
    assert input_tokens(question(*as_parts("Hello there"), output=output)) > bare + 5
    for part in (
        {"type": "tool_use", "id": "1", "name": "find", "input": {"number": 12345}},
        {"type": "tool_result", "tool_use_id": "1", "content": as_parts("It is closed since Monday.")},
        {"type": "tool_result", "tool_use_id": "1", "content": "It is closed since Monday."},
        {"type": "reasoning", "text": "The number is missing a digit."},
        {"type": "file", "data": "A" * 4_000, "media_type": "application/pdf"},
        {"type": "image", "url": "https://example.org/a.png"},
        {"type": "json", "json": {"a": [1, 2, 3]}},
        {"type": "odd", "value": object()},
    ):
        assert input_tokens(question(*as_parts("Hello there"), part)) > bare + 3, part
    assert input_tokens(EmbedCall(model="openai/text-embedding-3-small", texts=["one two", "three"])) in range(2, 8)


def test_usage_is_estimated_kind_by_kind_and_says_so():
    reply = ModelReply(
        content=[{"type": "reasoning", "text": "Let me think. " * 20}, *as_parts("Forty-two it is. " * 10)]
    )
    usage = estimate_usage(question(*as_parts("What is it?")), reply)
    assert usage.estimated
    assert 6 < usage.input < 20
    assert 40 < usage.output < 70
    assert 60 < usage.reasoning < 110


# -- pictures -----------------------------------------------------------------------------------------------------------


def picture(kind, width, height):
    match kind:
        case "png":
            raw = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", width, height)
        case "gif":
            raw = b"GIF89a" + struct.pack("<HH", width, height)
        case "jpeg":
            raw = b"\xff\xd8\xff\xe0" + struct.pack(">H", 200) + b"\0" * 198
            raw += b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width)
        case "webp-x":
            raw = (
                b"RIFF\0\0\0\0WEBPVP8X"
                + b"\0" * 8
                + (width - 1).to_bytes(3, "little")
                + (height - 1).to_bytes(3, "little")
            )
        case "webp-l":
            raw = b"RIFF\0\0\0\0WEBPVP8L" + b"\0" * 5 + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
        case _:
            raw = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", width, height)
    return base64.b64encode(raw + b"\0" * 10).decode()


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp-x", "webp-l", "webp"])
def test_a_picture_says_how_large_it_is(kind):
    assert size_of(picture(kind, 640, 480)) == (640, 480)


@pytest.mark.parametrize(
    "data", ["", "A", "!!!!", "////", base64.b64encode(b"\xff\xd8\xff").decode(), "iVBORw0KGgo=", "R0lGODlh"]
)
def test_what_is_no_picture_has_no_size(data):
    assert size_of(data) is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 "]))
def test_no_file_breaks_it(raw, head):
    size_of(base64.b64encode(head + raw).decode())


def test_pictures_count_by_their_size_as_their_makers_say():
    assert picture_tokens((512, 512), "openai/gpt-4o") == 255
    assert picture_tokens((1024, 1024), "openai/gpt-4o") == 765
    assert picture_tokens((2048, 4096), "openai/gpt-4o") == 1105
    assert picture_tokens((1000, 1000), "anthropic/claude-sonnet-4") == 1334
    assert picture_tokens((8000, 8000), "anthropic/claude-sonnet-4") == 1600
    assert picture_tokens((300, 300), "gemini/gemini-2.5-flash") == 258
    assert picture_tokens((1536, 768), "gemini/gemini-2.5-flash") == 516
    assert picture_tokens(None) == 765
    part = {"type": "image", "data": picture("png", 512, 512), "media_type": "image/png"}
    assert input_tokens(question(part)) == pytest.approx(262, abs=1)


# -- learning -----------------------------------------------------------------------------------------------------------


def test_estimates_lean_towards_what_the_provider_counts():
    tokens = Tokens()
    call = question(*as_parts(TEXTS["en"]))
    first = tokens.input_tokens(call)
    for _ in range(60):
        tokens.learn(call.model, tokens.input_tokens(call), round(first * 1.6))
    assert tokens.input_tokens(call) == pytest.approx(first * 1.6, rel=0.03)
    assert tokens.ratio("openai/gpt-4o-mini") == 1.0
    for _ in range(60):
        tokens.learn(call.model, tokens.input_tokens(call), first)
    assert tokens.input_tokens(call) == pytest.approx(first, rel=0.03)


def test_what_is_learnt_is_bounded():
    tokens = Tokens()
    for _ in range(200):
        tokens.learn("up", 1, 1_000_000)
        tokens.learn("down", 1_000_000, 1)
    assert (tokens.ratio("up"), tokens.ratio("down")) == (4.0, 0.3)
    tokens.learn("none", 0, 5)
    tokens.learn("none", 5, 0)
    assert tokens.ratio("none") == 1.0
    for number in range(2_000):
        tokens.learn(f"m-{number}", 10, 20)
    assert len(tokens._ratios) == 1_000


def test_long_texts_are_counted_once():
    tokens = Tokens()
    for number in range(20_000):
        tokens.count(f"{number} " * 100)
    assert len(tokens._known) <= 8_192
    text = TEXTS["en"] * 3
    assert tokens.count(text, "openai/gpt-4o") == tokens.count(text, "openai/gpt-4o") == estimate(text, "openai/gpt-4o")


async def test_with_a_vocabulary_counts_are_exact():
    tokens = Tokens(exact=True)
    call = question(*as_parts(TEXTS["ru"]))
    estimated = tokens.input_tokens(call)
    await tokens.start()
    await tokens.start()
    counted = len(quicktok.get_encoding("o200k_base").encode(TEXTS["ru"]))
    assert tokens.count(TEXTS["ru"], "openai/gpt-4o") == counted
    assert tokens.input_tokens(call) == counted + 7 != estimated
    assert tokens.count("\ud800 half", "openai/gpt-4o") > 0
    assert tokens.count(TEXTS["ru"], "openai/gpt-4") == estimate(TEXTS["ru"], "openai/gpt-4")  # not loaded


async def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "quicktok", None)
    with pytest.raises(ConfigError, match=r"corral\[tokens\]"):
        await Tokens(exact=True).start()
    await Tokens().start()
