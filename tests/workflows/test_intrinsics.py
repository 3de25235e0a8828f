"""The functions of payload templates."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.failing import INTRINSIC, RUNTIME, StateFailed
from corral.workflows.language import intrinsics
from corral.workflows.language.scope import Scope


def called(text: str, given=None, **rest):
    return intrinsics.call(text, Scope(input=given, **rest))


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("States.Format('{} is {}', $.n, $.a)", {"n": "x", "a": 1}, "x is 1"),
        ("States.Format('{}', $.o)", {"o": {"a": 1, "b": [True, None, "t", 1.5]}}, "{a=1, b=[true, null, t, 1.5]}"),
        ("States.Format('\\{\\} {} \\'q\\' \\\\')", None, None),
        ("States.Format('\\{\\}{}\\'\\\\', 1)", None, "{}1'\\"),
        ("States.Format($.t, 2)", {"t": "a {}"}, "a 2"),
        ("States.StringToJson('[1, null]')", None, [1, None]),
        ("States.JsonToString($)", {"a": ["é", 1.0, None]}, '{"a":["é",1.0,null]}'),
        ("States.Array()", None, []),
        ("States.Array(1, -2.5, 'x', true, false, null, $.a)", {"a": {}}, [1, -2.5, "x", True, False, None, {}]),
        ("States.ArrayPartition($, 2)", [1, 2, 3], [[1, 2], [3]]),
        ("States.ArrayContains($, 1)", [1.0, 2], True),
        ("States.ArrayContains($, true)", [1], False),
        ("States.ArrayContains($, 'x')", ["x"], True),
        ("States.ArrayRange(1, 9, 4)", None, [1, 5, 9]),
        ("States.ArrayRange(9, 1, -4)", None, [9, 5, 1]),
        ("States.ArrayRange(1, 0, 1)", None, []),
        ("States.ArrayRange(0.6, 2.4, 1)", None, [1, 2]),
        ("States.ArrayGetItem($, 1)", ["a", "b"], "b"),
        ("States.ArrayLength($)", [0, 0], 2),
        ("States.ArrayUnique($)", [3, 1, 3, "1", [1], [1]], [3, 1, "1", [1]]),
        ("States.Base64Encode('Data to encode')", None, "RGF0YSB0byBlbmNvZGU="),
        ("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", None, "Data to encode"),
        ("States.Hash('input data', 'SHA-1')", None, "aaff4a450a104cd177d28d18d74485e8cae074b7"),
        ("States.Hash('', 'MD5')", None, "d41d8cd98f00b204e9800998ecf8427e"),
        ("States.JsonMerge($.a, $.b, false)", {"a": {"x": 1, "y": 1}, "b": {"y": 2}}, {"x": 1, "y": 2}),
        ("States.MathAdd(-1.5, 0)", None, -1),
        ("States.MathAdd(1.5, 1.51)", None, 4),
        ("States.StringSplit('a.b,,c', '.,')", None, ["a", "b", "c"]),
        ("States.StringSplit(',,', ',')", None, []),
        ("States.ArrayGetItem(States.StringSplit('a-b', '-'), States.MathAdd(0, 1))", None, "b"),
        ("States.ArrayLength($['a,)'][?(@.x == '),')])", {"a,)": [{"x": "),"}]}, 1),
    ],
)
def test_a_function_gives(text, given, expected):
    if expected is None:
        with pytest.raises(StateFailed):
            called(text, given)
    else:
        found = called(text, given)
        assert found == expected
        assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "given", "why"),
    [
        ("States.Format('{} {}', 1)", None, "does not match the occurrences"),
        ("States.StringToJson('{')", None, "valid JSON"),
        ("States.StringToJson('NaN')", None, "valid JSON"),
        ("States.StringToJson($)", {}, "must be a string"),
        ("States.ArrayPartition($, 0)", [1], "positive"),
        ("States.ArrayPartition($, 1)", "x", "must be an array"),
        ("States.ArrayRange(0, 1000, 1)", None, "at most 1000"),
        ("States.ArrayRange(0, 1e300, 1)", None, "at most 1000"),
        ("States.ArrayRange(0, 1, 0)", None, "not be zero"),
        ("States.ArrayGetItem($, 2)", [1], "out of bounds"),
        ("States.ArrayGetItem($, -1)", [1], "out of bounds"),
        ("States.Base64Encode($)", "x" * 10_001, "10000"),
        ("States.Base64Decode('?')", None, "Base64"),
        ("States.Hash('x', 'SHA-3')", None, "must be one of"),
        ("States.JsonMerge($, $, true)", {}, "shallow"),
        ("States.JsonMerge($, 1, false)", {}, "JSON objects"),
        ("States.MathAdd('1', 2)", None, "must be a number"),
        ("States.MathAdd(true, 2)", None, "must be a number"),
        ("States.MathRandom(2, 2)", None, "less than"),
        ("States.UUID(1)", None, "Expected 0 arguments, but got 1"),
        ("States.Array(States.MathAdd(1))", None, "Expected 2 arguments, but got 1"),
    ],
)
def test_what_a_function_refuses(text, given, why):
    with pytest.raises(StateFailed, match=why) as failed:
        called(text, given)
    assert failed.value.error == INTRINSIC
    assert "had the following error: " in (failed.value.cause or "")


def test_text_without_anything_in_it_is_null():
    assert called("States.StringToJson($)", " \n") is None


def test_an_argument_that_is_not_there_is_told():
    with pytest.raises(StateFailed) as failed:
        called("States.Format('{}', $.x)", {"y": 1})
    assert failed.value.error == RUNTIME
    assert "'$.x' could not be found in the input '{\"y\":1}'" in (failed.value.cause or "")


@pytest.mark.parametrize(
    "text",
    [
        "States.Nobody()",
        "States.Format('x'",
        "States.Format('x' 'y')",
        "States.Format('x') ",
        "States.Format(x)",
        'States.Format("x")',
        "States.Format('\\n')",
        'States.StringToJson(\'{"text":"An \\"escaped\\" quote"}\')',
        "States.Format('\\')",
        "States.Format($[)",
        "States.Array(" * 11 + ")" * 11,
        "States.Array(" + ",".join("1" * 1_001) + ")",
        "States.Format('" + "x" * 10_000 + "')",
    ],
)
def test_what_is_no_call_is_refused(text):
    assert intrinsics.is_call(text)
    assert intrinsics.fault_of(text)
    with pytest.raises(StateFailed):
        called(text)


def test_calls_are_told_from_paths():
    assert not intrinsics.is_call("$.States.Format")
    assert intrinsics.fault_of("States.Array(" * 10 + ")" * 10) is None


def test_chance_comes_from_outside():
    assert called("States.MathRandom(1, 11)", chance=lambda: 0.0) == 1
    assert called("States.MathRandom(1, 11)", chance=lambda: 0.999999) == 10
    assert called("States.MathRandom(1, 1000, 7)") == called("States.MathRandom(1, 1000, 7)")
    made = uuid.UUID(called("States.UUID()", chance=lambda: 0.5))
    assert made.version == 4
    assert str(made) == called("States.UUID()", chance=lambda: 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "States.Format('" + "{}" * 900 + "', " + ", ".join(["$"] * 900) + ")",
        "States.JsonToString(States.Array(" + ", ".join(["$"] * 900) + "))",
        "States.ArrayUnique(States.Array(" + ", ".join(["$", "1"] * 400) + "))",
        "States.JsonToString(" * 10 + "$.q" + ")" * 10,
    ],
)
def test_what_a_call_makes_is_bounded(text):
    with pytest.raises(StateFailed) as failed:
        called(text, {"t": "x" * 200_000, "q": '"' * 200_000})
    assert failed.value.error == INTRINSIC


texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(texts)
def test_text_in_quotes_is_the_text(text):
    quoted = "".join("\\" + one if one in "'{}\\" else one for one in text)
    assert called(f"States.Array('{quoted}')") == [text]


@given(st.lists(st.integers() | texts | st.none(), max_size=10), st.integers(1, 12))
def test_parts_of_an_array_are_the_array(values, size):
    parts = called(f"States.ArrayPartition($, {size})", values)
    assert [value for part in parts for value in part] == values
    assert all(len(part) == size for part in parts[:-1])


@given(json_values)
def test_json_goes_to_text_and_back(value):
    assert called("States.StringToJson($)", called("States.JsonToString($)", value)) == value


@given(texts)
def test_base64_goes_there_and_back(text):
    assert called("States.Base64Decode($)", called("States.Base64Encode($)", text)) == text


@given(st.integers(-500, 500), st.integers(-500, 500), st.integers(-30, 30).filter(bool))
def test_a_range_is_that_of_arithmetic(first, last, step):
    expected = list(range(first, last + (1 if step > 0 else -1), step))
    if len(expected) > 1_000:
        return
    assert called(f"States.ArrayRange({first}, {last}, {step})") == expected
