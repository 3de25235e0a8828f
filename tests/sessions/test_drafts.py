from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ValidationFailed
from corral.messages import Message
from corral.sessions.drafts import (
    APPEND_MAX_EVENTS,
    EVENT_MAX_BYTES,
    Defaults,
    check_id,
    drafts_of,
)
from corral.sessions.event import Draft

DEFAULTS = Defaults(actor="ada")


def fault(said):
    with pytest.raises(ValidationFailed) as caught:
        drafts_of(said, DEFAULTS)
    return caught.value


def one(**event):
    return drafts_of({"role": "user", "content": "hi"} | event, DEFAULTS)[0]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("hi", [{"type": "text", "text": "hi"}]),
        ({"type": "image", "url": "x"}, [{"type": "image", "url": "x"}]),
        ([{"type": "text", "text": "a"}], [{"type": "text", "text": "a"}]),
        ({"any": 1}, [{"type": "json", "json": {"any": 1}}]),
        ([1], [{"type": "json", "json": [1]}]),
        (None, [{"type": "json", "json": None}]),
        ([], [{"type": "json", "json": []}]),
    ],
)
def test_content_becomes_parts(content, parts):
    assert one(content=content).content == parts


def test_a_draft_is_taken_as_it_is():
    draft = Draft(role="tool", content=[{"type": "text", "text": "hi"}])
    assert drafts_of(draft, DEFAULTS) == [draft]


def test_a_message_may_stand_in_a_list():
    message = Message(role="user", content=[{"type": "text", "text": "hi"}], metadata={"k": 1})
    (draft,) = drafts_of((message,), DEFAULTS)
    assert (draft.content, draft.metadata, draft.actor) == (message.content, {"k": 1}, "ada")


def test_nothing_said_and_null_said_are_the_same():
    plain = one()
    assert one(actor=None, branch=None, branch_root=None, metadata=None, ttl_s=None) == plain
    assert one(actor="").actor == ""
    assert one(branch="side", branch_root="0000000000000001#00000001").branch_root == "0000000000000001#00000001"


@pytest.mark.parametrize(
    ("event", "pointer", "what"),
    [
        ({"role": None}, "/role", "This field is required: one of system, user, assistant, tool, other"),
        ({"role": "USER"}, "/role", "'USER' is no role"),
        ({"role": ["user"]}, "/role", "is no role"),
        ({"actor": 7}, "/actor", "not a value of type int"),
        ({"actor": "x" * 257}, "/actor", "not 257 characters"),
        ({"branch": ""}, "/branch", "not 0 characters"),
        ({"branch": "a\nb"}, "/branch", "control character"),
        ({"metadata": []}, "/metadata", "not a value of type list"),
        ({"metadata": {1: 2}}, "/metadata", "text keys"),
        ({"ttl_s": 0}, "/ttl_s", "above 0"),
        ({"ttl_s": True}, "/ttl_s", "number of seconds"),
        ({"ttl_s": "5"}, "/ttl_s", "number of seconds"),
        ({"ttl_s": float("nan")}, "/ttl_s", "number of seconds"),
        ({"ttl_s": 10**400}, "/ttl_s", "10000000000 at most"),
    ],
)
def test_each_fault_is_named_with_its_place(event, pointer, what):
    said = {"role": "user", "content": "hi"} | event
    error = fault(said)
    assert what in error.message
    assert error.errors == [{"pointer": pointer, "message": error.message}]
    assert fault([{"role": "user", "content": "hi"}, said]).errors[0]["pointer"] == f"/1{pointer}"


def test_unknown_and_missing_fields_are_named():
    assert "Unknown: text, who. An event takes actor, branch" in fault({"role": "user", "text": 1, "who": 2}).message
    assert fault({"role": "user"}).errors[0]["pointer"] == "/content"
    assert fault(["hi"]).errors[0]["pointer"] == "/0"


@pytest.mark.parametrize("value", [object(), "\ud800", {1, object()}])
def test_what_is_not_json_is_refused(value):
    assert "Event 1 cannot be written as JSON" in fault({"role": "user", "content": {"a": value}}).message


def test_endless_nesting_is_refused():
    value: list[object] = []
    value.append(value)
    assert "cannot be written as JSON" in fault({"role": "user", "content": {"a": value}}).message


def test_everything_is_bounded():
    large = {"role": "user", "content": "x" * (EVENT_MAX_BYTES - 200)}
    assert "bytes as JSON; at most" in fault({"role": "user", "content": "x" * EVENT_MAX_BYTES}).message
    assert drafts_of([large] * 7, DEFAULTS)
    assert "The append has" in fault([large] * 9).message
    assert "1001 events" in fault([{"role": "user", "content": ""}] * (APPEND_MAX_EVENTS + 1)).message


@pytest.mark.parametrize("value", ["a", "x" * 256, "user/1:a b", "é", "日本", "\u200b", "a\u00a0b"])
def test_ids_are_free(value):
    assert check_id(value, "id") == value


@pytest.mark.parametrize("value", ["", "x" * 257, None, 5, "a\x00", "\n", "\x7f", "\x85", "\ud800", "a\udfff"])
def test_ids_have_a_length_and_no_control_characters(value):
    with pytest.raises(ValidationFailed):
        check_id(value, "id")


@given(st.text(max_size=300))
def test_an_id_that_passes_can_be_sent_and_kept(value):
    try:
        check_id(value, "id")
    except ValidationFailed:
        return
    assert 1 <= len(value) <= 256
    assert value.encode()
    assert "\0" not in value
