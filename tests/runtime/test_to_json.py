from __future__ import annotations

import dataclasses
import enum
import json
import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corral.runtime.encoding import to_compact_json, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(TEXT | st.integers() | st.booleans() | st.none() | st.floats(), inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_json_is_what_json_dumps_writes(value):
    assert to_json(value) == json.dumps(value, ensure_ascii=False)
    assert to_compact_json(value).decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


BROKEN = st.text(st.characters(categories=["Cs", "Lu", "Ll", "So"]))


@given(st.recursive(st.none() | BROKEN, lambda inner: st.lists(inner) | st.dictionaries(BROKEN, inner)))
@example(["\ud800", "é\udfff"])
def test_halves_of_characters_are_escaped(value):
    text = to_json(value)
    assert json.loads(text.encode()) == json.loads(json.dumps(value))
    assert json.loads(to_compact_json(value)) == json.loads(json.dumps(value))


@dataclasses.dataclass
class Point:
    x: int
    tags: set


class Row(msgspec.Struct):
    name: str
    at: object = None


class Model:
    def __init__(self, **values):
        self.values = values

    def model_dump(self):
        return self.values


class Colour(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Loud(dict):
    def items(self):
        raise RuntimeError("no items")


class Mute:
    def __str__(self):
        raise RuntimeError("no words")


class Sulking:
    def model_dump(self):
        raise RuntimeError("not now")

    def __str__(self):
        return "sulking"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Model(a=1, b=[2]), {"a": 1, "b": [2]}),
        ({"rows": [Row("é"), Model(x=None)]}, {"rows": [{"name": "é", "at": None}, {"x": None}]}),
        ({1}, [1]),
        (("a", {"b"}), ["a", ["b"]]),
        (Number.ONE, 1),
        ({Number.ONE: "x"}, {"1": "x"}),
        (Point(1, []), {"x": 1, "tags": []}),
        (Colour.RED, "Colour.RED"),
        (Sulking(), "sulking"),
        (b"bytes", "b'bytes'"),
        (Point, f"<class '{__name__}.Point'>"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (Mute(), {"error": "Serialization failed", "original_type": "Mute"}),
    ],
)
def test_other_values_are_converted_or_told(value, expected):
    assert json.loads(to_json(value)) == expected
    assert json.loads(to_compact_json(value)) == expected


def test_one_part_that_cannot_be_converted_makes_a_text_of_the_whole():
    assert json.loads(to_json(Point(1, {object}))) == str(Point(1, {object}))


def test_a_value_within_itself_ends_somewhere():
    ring: list = [1]
    ring.append(ring)
    assert "<too_deep:int>" in to_json(ring)
    twice: dict = {}
    twice["left"] = twice["right"] = twice
    assert json.loads(to_json(twice)) == str(twice)


def test_what_is_deeper_than_the_stack_is_still_a_reply():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "<too_deep:list>" in to_json(deep)
    while deep:  # taken apart by hand: the collector of old Pythons would recurse
        deep = deep[0]


def test_a_dict_that_raises_is_told_as_text():
    assert json.loads(to_json({"a": Loud(x=1)})) == "{'a': {'x': 1}}"


@given(st.from_type(type).flatmap(st.from_type))
def test_nothing_makes_it_raise(value):
    json.loads(to_json(value))
    json.loads(to_compact_json(value))


def test_numbers_that_json_does_not_know_are_written_as_the_reference_does():
    assert to_json([math.inf, -math.inf, math.nan]) == "[Infinity, -Infinity, NaN]"
