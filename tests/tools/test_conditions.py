"""Places and conditions: what a rule asks of arguments."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ConfigError
from corral.settings.policy_sections import ConditionSettings
from corral.tools.conditions import TEXT_MAX, Condition, bounded_pattern
from corral.tools.paths import Place

SHORT = st.text(max_size=5)
ARGUMENTS = {
    "amount": 5,
    "order": {"total": 7.5, "lines": [{"price": 1}, {"price": 2}], "odd.key": "x"},
    "pairs": [[1, 2], [3]],
}


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("amount", [5]),
        ("$.amount", [5]),
        ("order.total", [7.5]),
        ("order.lines[0].price", [1]),
        ("order.lines[*].price", [1, 2]),
        ("order['odd.key']", ["x"]),
        ("pairs[*][0]", [1, 3]),
        ("pairs[1][1]", []),
        ("order.lines[9].price", []),
        ("nothing", []),
        ("amount.deep", []),
        ("order[0]", []),
        ("lines[*]", []),
    ],
)
def test_a_place_finds_its_values(place, values):
    assert Place(place).values(ARGUMENTS) == values


@pytest.mark.parametrize(
    "odd", ["", "$", ".", ".amount", "a..b", "a[", "a[x]", "a[-1]", "a b", "a['b]", "a" + ".a" * 30]
)
def test_what_is_no_place_is_refused(odd):
    with pytest.raises(ConfigError, match="no place"):
        Place(odd)


@given(
    st.recursive(
        st.none() | st.integers() | SHORT,
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(SHORT, inside, max_size=3),
        max_leaves=5,
    )
)
def test_any_value_can_be_looked_into(value):
    for place in ("a", "a[*]", "a[0].b", "a['']"):
        Place(place).values({"a": value, "": value})


def fits(value, *, allowing, **said):
    return not Condition(ConditionSettings(at="it", **said)).fits({"it": value}, allowing=allowing)


@pytest.mark.parametrize(
    ("said", "holds", "fails", "unclear"),
    [
        ({"equals": "prod"}, ["prod"], ["test", ""], [1, None, ["prod"], True]),
        ({"equals": 1}, [1, 1.0], [2], [True, "1", None]),
        ({"equals": True}, [True], [False], [1, "true"]),
        ({"one_of": ["EUR", "USD"]}, ["EUR", "USD"], ["eur"], [1, None]),
        ({"one_of": []}, [], ["EUR", 1], []),
        ({"prefix": "+49"}, ["+49", "+4930"], ["49"], [49, None]),
        ({"matches": "[a-z]+"}, ["abc"], ["abc1", "", "abc\n"], ["a" * (TEXT_MAX + 1), 5]),
        ({"at_most": 50}, [50, -1, 49.9], [51, 1e300], ["5", None, True, [5], float("nan")]),
        ({"at_least": 10, "at_most": 20}, [10, 20], [9, 21], ["15"]),
    ],
)
def test_what_cannot_be_judged_counts_against_the_call(said, holds, fails, unclear):
    for value in holds:
        assert fits(value, allowing=True, **said), value
        assert fits(value, allowing=False, **said), value
    for value in fails:
        assert not fits(value, allowing=True, **said), value
        assert not fits(value, allowing=False, **said), value
    for value in unclear:
        assert not fits(value, allowing=True, **said), value
        assert fits(value, allowing=False, **said), value


def test_what_allows_wants_all_of_a_list_and_what_denies_one():
    small = Condition(ConditionSettings(at="lines[*].price", at_most=10))
    large = Condition(ConditionSettings(at="lines[*].price", at_least=10))
    mixed = {"lines": [{"price": 1}, {"price": 100}]}
    assert "100" in small.fits(mixed, allowing=True)
    assert not large.fits(mixed, allowing=False)
    assert small.fits({"lines": []}, allowing=True)
    assert large.fits({"lines": []}, allowing=False)


def test_a_condition_says_something():
    with pytest.raises(ConfigError, match="says nothing"):
        Condition(ConditionSettings(at="amount"))


@pytest.mark.parametrize(
    "fine",
    [
        "[a-z]+@[a-z.]+",
        r"https?://[^/]+/repos/[^/]+/.*",
        "(EUR|USD|GBP)",
        r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}",
        "(?:ab)*",
        "(?i)yes",
        ".*a.*b.*c",
        "(?=.*x)y",
    ],
)
def test_expressions_people_write_are_taken(fine):
    assert bounded_pattern(fine).pattern == fine


@pytest.mark.parametrize(
    "hostile",
    [
        "(a+)+",
        "(a|a)*b",
        "(a|ab)*c",
        "(a?a?)*b",
        "a*a*a*a*b",
        "a?" * 40 + "a" * 40,
        "(a{1,16}){1,16}b",
        r"(a)\1",
        "(",
        "(a*?){10}",
    ],
)
def test_expressions_that_could_take_for_ever_are_refused(hostile):
    with pytest.raises(ConfigError):
        bounded_pattern(hostile)


def test_an_expression_without_end_is_refused():
    with pytest.raises(ConfigError, match="longer"):
        bounded_pattern("a" * 600)


@given(st.text(st.sampled_from("ab|()*+?{}12,.[]\\"), max_size=12), st.text(st.sampled_from("ab1"), max_size=TEXT_MAX))
def test_whatever_expression_is_taken_ends_soon(text, value):
    try:
        pattern = bounded_pattern(text)
    except ConfigError:
        return
    assert pattern.fullmatch(value) == pattern.fullmatch(value) or isinstance(pattern.fullmatch(value), re.Match)
