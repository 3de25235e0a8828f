"""Values for any schema."""

from __future__ import annotations

import random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.models.sim.fitting import Fitting

TEXT = "Ada Lovelace (ada@example.org) ordered 3 lamps on 2031-05-04 for 19.90, order AB-4711. It is urgent, ship to Paris!"
names = st.sampled_from(["name", "email", "order_id", "city", "summary", "count", "done", "due_date", "query", "x"])


def fitted(schema: dict[str, Any], text: str = TEXT, seed: int = 0) -> Any:
    return Fitting(schema, text, random.Random(seed), lambda: "A few words.").value()


def bounded(kind: str):
    def make(low: int, more: int, exclusive: bool) -> dict[str, Any]:
        if exclusive:
            return {"type": kind, "exclusiveMinimum": low, "exclusiveMaximum": low + more + 2}
        return {"type": kind, "minimum": low, "maximum": low + more}

    return st.builds(make, st.integers(-1_000, 1_000), st.integers(0, 50), st.booleans())


strings = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    st.sampled_from(["date", "date-time", "email", "uuid", "uri", "ipv4", "time"]).map(
        lambda form: {"type": "string", "format": form}
    ),
    st.sampled_from([r"^[A-Z]{2}-\d{4}$", r"^\d{3}$", r"^[a-z]+$", r"^#[0-9a-f]{6}$"]).map(
        lambda p: {"type": "string", "pattern": p}
    ),
    st.lists(st.sampled_from(["low", "high", "urgent", "a", "b"]), min_size=1, unique=True).map(lambda e: {"enum": e}),
)
leaves = st.one_of(
    strings,
    bounded("integer"),
    bounded("number"),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"const": {"a": 1}}),
    st.builds(
        lambda step, low: {"type": "integer", "multipleOf": step, "minimum": low},
        st.integers(1, 20),
        st.integers(-50, 50),
    ),
    st.just({"type": ["string", "null"]}),
    st.just({}),
)


def nested(inner):
    objects = st.dictionaries(names, inner, max_size=4).flatmap(
        lambda properties: st.builds(
            lambda required, closed: {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": not closed,
            },
            st.lists(st.sampled_from(sorted(properties) or ["x"]), unique=True) if properties else st.just([]),
            st.booleans(),
        )
    )
    arrays = st.builds(
        lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
        inner,
        st.integers(0, 4),
        st.integers(0, 3),
    )
    return st.one_of(objects, arrays, st.lists(inner, min_size=1, max_size=3).map(lambda any_of: {"anyOf": any_of}))


@settings(max_examples=300, deadline=None)
@given(st.recursive(leaves, nested, max_leaves=8), st.integers(0, 3))
def test_whatever_the_schema_the_value_fits_it(schema, seed):
    value = fitted(schema, seed=seed)
    assert jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value), value


def test_references_and_recursion_come_to_an_end():
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "children"],
            }
        },
        "allOf": [{"$ref": "#/$defs/node"}, {"properties": {"kind": {"const": "tree"}}, "required": ["kind"]}],
    }
    value = fitted(schema)
    assert jsonschema_rs.is_valid(schema, value)
    assert value["kind"] == "tree"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]},
            {"email": "ada@example.org"},
        ),
        ({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, {"city": "Paris"}),
        (
            {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
            {"order_id": "AB-4711"},
        ),
        (
            {"type": "object", "properties": {"due_date": {"type": "string"}}, "required": ["due_date"]},
            {"due_date": "2031-05-04"},
        ),
        ({"enum": ["calm", "urgent"]}, "urgent"),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 3),
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3}, None),
    ],
)
def test_what_the_text_says_is_filled_in(schema, expected):
    value = fitted(schema)
    assert jsonschema_rs.is_valid(schema, value), value
    assert expected is None or value == expected
