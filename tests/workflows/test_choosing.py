"""The rules of a Choice that are written with paths."""

from __future__ import annotations

import fnmatch
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.failing import RUNTIME, StateFailed
from corral.workflows.language import choosing
from corral.workflows.language.scope import Scope


def holds(value, **rule):
    return choosing.matches(
        {"Variable": "$.v", **rule}, Scope(input={"v": value, "other": 5, "text": "b", "yes": True})
    )


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        ("a", {"StringEquals": "a"}, True),
        ("a", {"StringLessThan": "b"}, True),
        ("a", {"StringGreaterThanEqualsPath": "$.text"}, False),
        ("b", {"StringLessThanEqualsPath": "$.text"}, True),
        (1, {"StringEquals": "1"}, False),
        (5.0, {"NumericEqualsPath": "$.other"}, True),
        (4, {"NumericLessThanPath": "$.other"}, True),
        ("4", {"NumericLessThanPath": "$.other"}, False),
        (True, {"NumericEquals": 1}, False),
        (1, {"BooleanEquals": True}, False),
        (True, {"BooleanEqualsPath": "$.yes"}, True),
        (None, {"IsNull": True}, True),
        (0, {"IsNull": False}, True),
        (True, {"IsNumeric": True}, False),
        (1.5, {"IsNumeric": True}, True),
        ("x", {"IsString": True}, True),
        (False, {"IsBoolean": True}, True),
        (None, {"IsPresent": True}, True),
        ("2023-02-24T12:15:00Z", {"IsTimestamp": True}, True),
        ("2023-02-24T12:15:00.123456789+05:30", {"IsTimestamp": True}, True),
        ("2023-02-24", {"IsTimestamp": True}, False),
        ("2023-02-24t12:15:00z", {"IsTimestamp": True}, False),
        ("2023-02-24T12:15:00", {"IsTimestamp": True}, False),
        ("2023-02-30T12:15:00Z", {"IsTimestamp": True}, False),
        (1_700_000_000, {"IsTimestamp": True}, False),
        ("2023-02-24T12:15:00Z", {"TimestampEquals": "2023-02-24T13:15:00+01:00"}, True),
        ("2023-02-24T12:15:00.0000001Z", {"TimestampGreaterThan": "2023-02-24T12:15:00Z"}, True),
        ("2023-02-24", {"TimestampLessThan": "2023-02-25T00:00:00Z"}, False),
        ("zebra.log", {"StringMatches": "*.log"}, True),
        ("zebra.logs", {"StringMatches": "*.log"}, False),
        ("a*b", {"StringMatches": "a\\*b"}, True),
        ("axb", {"StringMatches": "a\\*b"}, False),
        ("a\\b", {"StringMatches": "a\\\\*"}, True),
        ("aXbYc", {"StringMatches": "a*b*c"}, True),
        ("ab", {"StringMatches": "ab*b"}, False),
        ("", {"StringMatches": "*"}, True),
        ("a", {"StringMatches": ""}, False),
        (1, {"StringMatches": "*"}, False),
    ],
)
def test_a_comparison(value, rule, expected):
    assert holds(value, **rule) is expected


def test_rules_are_joined():
    small, large = {"Variable": "$.v", "NumericLessThan": 5}, {"Variable": "$.v", "NumericGreaterThan": 3}
    scope = Scope(input={"v": 4})
    assert choosing.matches({"And": [small, large]}, scope)
    assert choosing.matches({"Or": [{"Not": small}, large]}, scope)
    assert not choosing.matches({"Not": {"And": [small, large]}}, scope)


def test_the_variable_may_be_a_variable_or_the_context():
    scope = Scope(variables={"x": {"y": 1}}, context={"State": {"Name": "S"}})
    assert choosing.matches({"Variable": "$x.y", "NumericEquals": 1}, scope)
    assert choosing.matches({"Variable": "$$.State.Name", "StringEquals": "S"}, scope)


def test_only_what_is_not_there_fails():
    with pytest.raises(StateFailed) as failed:
        choosing.matches({"Variable": "$.x", "IsNull": True}, Scope(input={}))
    assert failed.value.error == RUNTIME
    assert not choosing.matches({"Variable": "$.x", "IsPresent": True}, Scope(input={}))
    assert choosing.matches({"Variable": "$.x.y[0]", "IsPresent": False}, Scope(input={}))
    with pytest.raises(StateFailed):
        choosing.matches({"Variable": "$.v", "NumericEqualsPath": "$.x"}, Scope(input={"v": 1}))


def test_what_is_no_rule_fails():
    with pytest.raises(StateFailed, match="operator"):
        choosing.matches({"Variable": "$.v"}, Scope(input={"v": 1}))
    rule: dict = {"Variable": "$.v", "IsNull": True}
    for _ in range(500):
        rule = {"Not": rule}
    with pytest.raises(StateFailed, match="nested"):
        choosing.matches(rule, Scope(input={"v": 1}))


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_stars_match_as_they_do_for_files(wild, text):
    assert holds(text, StringMatches=wild) is fnmatch.fnmatchcase(text, wild)


SIGNS = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.sampled_from(sorted(SIGNS)), numbers | st.text() | st.booleans() | st.none(), numbers)
def test_numbers_are_compared_with_numbers_alone(sign, value, expected):
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    assert holds(value, **{f"Numeric{sign}": expected}) is (is_number and SIGNS[sign](value, expected))


@given(st.sampled_from(sorted(SIGNS)), st.datetimes(), st.datetimes(), st.integers(-23, 23), st.integers(-23, 23))
def test_moments_are_in_order_whatever_their_zones(sign, first, second, here, there):
    texts = [f"{at.isoformat(timespec='microseconds')}{zone:+03d}:00" for at, zone in ((first, here), (second, there))]
    seconds = [(at - first).total_seconds() - zone * 3600 for at, zone in ((first, here), (second, there))]
    if abs(seconds[0] - seconds[1]) < 0.001 and first != second:
        return
    assert holds(texts[0], **{f"Timestamp{sign}": texts[1]}) is SIGNS[sign](*seconds)
