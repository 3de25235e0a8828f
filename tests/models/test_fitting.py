from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.models.fitting import misfit


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (1, {"type": "integer"}, ""),
        (1.0, {"type": "integer"}, ""),
        (1.5, {"type": "integer"}, "/: not integer"),
        (True, {"type": "number"}, "/: not number"),
        (None, {"type": ["string", "null"]}, ""),
        ("x", {"enum": ["y"]}, "/: not one of ['y']"),
        ("x", {"const": "y"}, "/: not 'y'"),
        ("", {"minLength": 1}, "/: minLength is 1"),
        ([1, 2], {"maxItems": 1}, "/: maxItems is 1"),
        (5, {"maximum": 4}, "/: maximum is 4"),
        ([1, "x"], {"items": {"type": "integer"}}, "/1: not integer"),
        ([1, "x"], {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}, ""),
        ([1, "x", 2], {"prefixItems": [{}, {}], "items": False}, "/2: nothing may stand here"),
        ({"a": {"b": 1}}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, "/a/b: not string"),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, "/a: not string"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "/: fits none of 2 choices"),
        (1, {"allOf": [{"minimum": 0}, {"maximum": 0}]}, "/: maximum is 0"),
        ({"a": 1}, {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"required": ["c"]}}}, "/c: missing"),
        (1, {"$ref": "#"}, "/: too deep"),
        (1, {"$ref": "https://example.com/x"}, ""),
        (1, {"$ref": "#/nowhere"}, ""),
    ],
)
def test_what_is_wrong_first(value, schema, fault):
    assert misfit(value, schema) == fault


@dataclasses.dataclass
class Item:
    name: str
    price: float
    tags: list[str]
    also: dict[str, int] | None = None


@settings(deadline=None)
@given(item=st.builds(Item, price=st.floats(allow_nan=False, allow_infinity=False)))
def test_what_a_type_encodes_fits_the_type_s_schema(item):
    schema = msgspec.json.schema(Item)
    value: Any = msgspec.to_builtins(item)
    assert misfit(value, schema) == ""
    del value["name"]
    assert misfit(value, schema) == "/name: missing"
