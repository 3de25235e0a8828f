"""What AgentCore's API reads and writes, without a server: shapes, events, records, strategies."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ValidationFailed
from corral.memory.resources import MemoryResource, filled, variables_of
from corral.server.agentcore import shapes
from corral.server.agentcore.checking import check, mapping, number, one_of, outlined, several, structure, text, union
from corral.server.agentcore.event_words import draft_of, key_of, prefix_of, query_of, shown
from corral.server.agentcore.ids import bare, fresh_id, runtime_id_of, runtime_name_of
from corral.server.agentcore.record_words import packed, unpacked
from corral.sessions.event import SessionEvent

MEMORY = MemoryResource(id="notes-0123456789", name="notes", event_expiry_days=7)
SHAPE = structure(
    ("name",),
    name=text("[a-z]+", least=2, most=4),
    count=number(1, 5),
    share=number(0, 1, whole=False),
    kind=one_of("A", "B"),
    flag={"type": "boolean"},
    parts=several(text(), 1, 2),
    labels=mapping(text("[a-z]+"), text(most=2), most=2),
    either=union(one=text(), other=text()),
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "'name' failed to satisfy constraint: Member must not be null"),
        ({"name": None}, "'name' failed to satisfy constraint: Member must not be null"),
        ({"name": "a"}, "greater than or equal to 2"),
        ({"name": "abcde"}, "less than or equal to 4"),
        ({"name": "AB"}, "regular expression pattern: [a-z]+"),
        ({"name": "ab\n"}, "regular expression"),
        ({"name": "ab", "count": 0}, "greater than or equal to 1"),
        ({"name": "ab", "count": 6}, "less than or equal to 5"),
        ({"name": "ab", "count": 1.5}, "type integer"),
        ({"name": "ab", "count": True}, "type integer"),
        ({"name": "ab", "share": math.inf}, "type number"),
        ({"name": "ab", "kind": "C"}, "enum value set: [A, B]"),
        ({"name": "ab", "flag": 1}, "type boolean"),
        ({"name": "ab", "parts": []}, "length greater than or equal to 1"),
        ({"name": "ab", "parts": ["a", "b", "c"]}, "length less than or equal to 2"),
        ({"name": "ab", "parts": ["a", 1]}, "'parts.2.member'"),
        ({"name": "ab", "labels": {"A": "x"}}, "'labels.A'"),
        ({"name": "ab", "labels": {"a": "xyz"}}, "'labels.a'"),
        ({"name": "ab", "labels": {"a": "", "b": "", "c": ""}}, "'labels'"),
        ({"name": "ab", "either": {}}, "'either'"),
        ({"name": "ab", "either": {"one": "", "other": ""}}, "'either'"),
        ({"name": "ab", "either": {"third": ""}}, "one of: [one, other]"),
        ({"name": "ab", "parts": "text"}, "type array"),
        ([], "type object"),
    ],
)
def test_a_fault_says_where_and_what(value, said):
    with pytest.raises(ValidationFailed) as caught:
        check(value, SHAPE)
    assert said in caught.value.message
    assert caught.value.errors


def test_what_fits_passes_and_unknown_members_are_passed_over():
    check({"name": "ab", "count": 5.0, "parts": ["x"], "either": {"one": ""}, "unknown": object()}, SHAPE)


def test_all_faults_are_named_up_to_five():
    with pytest.raises(ValidationFailed) as caught:
        check({"name": "A", "count": 0, "share": 2, "kind": "C", "flag": 1, "parts": []}, SHAPE)
    assert caught.value.message.startswith("5 validation errors detected: ")


def test_an_outline_is_as_deep_as_it_is_told():
    deep = structure((), one=structure((), two=structure((), three=text())), many=several(structure((), two=text())))
    flat = outlined(deep, 1)
    assert flat["properties"] == {
        "one": {"type": "object"},
        "many": {**deep["properties"]["many"], "items": {"type": "object"}},
    }
    assert outlined(deep, 9) == deep


# -- events ---------------------------------------------------------------------------------------------------------------

ROLES = st.sampled_from(["USER", "ASSISTANT", "TOOL", "OTHER"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)
PARTS = st.one_of(
    st.builds(
        lambda said, role: {"conversational": {"content": {"text": said}, "role": role}}, st.text(min_size=1), ROLES
    ),
    st.builds(lambda value: {"blob": value}, JSON),
    st.builds(lambda value: {"json": {"content": value}}, JSON),
)
LABELS = st.dictionaries(
    st.text(string.ascii_letters + string.digits + " ._:/=+@-", min_size=1, max_size=20),
    st.builds(lambda value: {"stringValue": value}, st.text(string.ascii_letters, max_size=20)),
    max_size=5,
)


@given(payload=st.lists(PARTS, max_size=5), metadata=LABELS, at=st.floats(0, 2e9))
def test_an_event_comes_back_as_it_was(payload, metadata, at):
    body = {"actorId": "ada", "eventTimestamp": at, "payload": payload, "metadata": metadata}
    check(body, shapes.CREATE_EVENT)
    draft = draft_of(MEMORY, body)
    event = SessionEvent(
        id="1#1",
        session_id="x",
        seq=1,
        role=draft.role,
        content=draft.content,
        actor=draft.actor,
        branch=draft.branch,
        metadata=draft.metadata,
        created_at=1.0,
    )
    answer = shown(MEMORY.id, "ada", "s", event)
    assert answer["payload"] == payload
    assert answer.get("metadata", {}) == metadata
    assert answer["eventTimestamp"] == at


def test_an_event_of_one_role_has_it_and_one_of_two_has_none():
    def role_of(*roles):
        payload = [{"conversational": {"content": {"text": "x"}, "role": role}} for role in roles]
        return draft_of(MEMORY, {"actorId": "ada", "eventTimestamp": 1, "payload": payload}).role

    assert (role_of("USER"), role_of("USER", "USER"), role_of("USER", "ASSISTANT"), role_of()) == (
        "user",
        "user",
        "other",
        "other",
    )


@given(
    actors=st.lists(st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9\-_/:]{0,9}\Z"), min_size=2, max_size=2, unique=True),
    sessions=st.lists(st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9\-_]{0,9}\Z"), min_size=2, max_size=2),
)
def test_sessions_of_two_actors_never_meet(actors, sessions):
    ada, bob = (key_of("acme", MEMORY.id, actor, session) for actor, session in zip(actors, sessions, strict=True))
    assert ada != bob
    assert not bob.session_id.startswith(prefix_of(MEMORY.id, actors[0]))
    assert ada.session_id.startswith(prefix_of(MEMORY.id, actors[0]))


def test_a_comparison_without_a_value_is_refused():
    condition = {"left": {"metadataKey": "k"}, "operator": "EQUALS_TO"}
    with pytest.raises(ValidationFailed, match="right"):
        query_of({"filter": {"eventMetadata": [condition]}}, limit=1)


# -- records, names ---------------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.builds(lambda value: {"stringValue": value}, st.text(max_size=9)),
    st.builds(lambda value: {"stringListValue": value}, st.lists(st.text(max_size=5), min_size=1, max_size=5)),
    st.builds(lambda value: {"numberValue": value}, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(lambda value: {"dateTimeValue": value}, st.floats(0, 2e9)),
)


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), VALUES, max_size=5))
def test_metadata_comes_back_with_its_types(metadata):
    assert unpacked(packed(metadata)) == metadata


@given(st.from_regex(r"\A[a-zA-Z_.\-][a-zA-Z0-9_.\-]{0,60}\Z"))
def test_every_agent_has_a_runtimes_name_and_id(agent):
    check(runtime_name_of(agent), text(shapes.NAME))
    check(runtime_id_of(agent), shapes.RUNTIME_ID)
    assert runtime_id_of(agent) == runtime_id_of(agent)


def test_ids_are_fresh_and_fit():
    ids = {fresh_id("notes") for _ in range(100)}
    assert len(ids) == 100
    for one in ids:
        check(one, shapes.MEMORY_ID)
    assert bare("arn:aws:bedrock-agentcore:us-east-1:123456789012:memory/notes-0123456789") == "notes-0123456789"


def test_namespaces_are_filled_in():
    assert filled("/a/{actorId}/{what}/", {"actorId": "{what}"}) == "/a/{what}/{what}/"
    assert variables_of("/a/{actorId}/{x1}/{}") == {"actorId", "x1"}
