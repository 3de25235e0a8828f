"""Patterns of events: what each operator means, and that no pattern and no event makes it fail in another way."""

from __future__ import annotations

import fnmatch
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from corral.errors import ValidationFailed
from corral.workflows.matching import check_pattern, matches

EVENT: dict[str, Any] = {
    "source": "shop.orders",
    "detail-type": "Order created",
    "resources": ["arn:one", "arn:two"],
    "detail": {
        "total": 120.5,
        "count": 3,
        "paid": True,
        "coupon": None,
        "tags": ["vip", "eu"],
        "none": [],
        "ip": "10.1.2.3",
        "path": "a/b/c.png",
        "star": "a*b",
        "lines": [{"sku": "A", "count": 1}, {"sku": "B", "count": 9}],
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({}, True),
        ({"source": ["shop.orders"]}, True),
        ({"source": ["other", "shop.orders"]}, True),
        ({"source": ["Shop.Orders"]}, False),
        ({"source": [{"equals-ignore-case": "Shop.Orders"}]}, True),
        ({"source": [{"prefix": "shop."}]}, True),
        ({"source": [{"prefix": "orders"}]}, False),
        ({"source": [{"prefix": {"equals-ignore-case": "SHOP."}}]}, True),
        ({"source": [{"suffix": ".orders"}]}, True),
        ({"source": [{"suffix": {"equals-ignore-case": ".ORDERS"}}]}, True),
        ({"source": [{"suffix": {"equals-ignore-case": "x"}}]}, False),
        ({"source": [{"anything-but": "shop.orders"}]}, False),
        ({"source": [{"anything-but": ["x", "y"]}]}, True),
        ({"source": [{"anything-but": {"prefix": "shop"}}]}, False),
        ({"source": [{"anything-but": {"prefix": ["a", "b"]}}]}, True),
        ({"source": [{"anything-but": {"equals-ignore-case": ["SHOP.ORDERS"]}}]}, False),
        ({"source": [{"anything-but": {"wildcard": "*.invoices"}}]}, True),
        ({"missing": [{"anything-but": "x"}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"missing": [{"exists": True}]}, False),
        ({"missing": [None]}, False),
        ({"source": [{"exists": True}]}, True),
        ({"detail": {"coupon": [None]}}, True),
        ({"detail": {"coupon": [{"exists": True}]}}, True),
        ({"detail": {"none": [{"exists": False}]}}, True),
        ({"detail": {"paid": [True]}}, True),
        ({"detail": {"paid": [1]}}, False),
        ({"detail": {"count": [True, 3.0]}}, True),
        ({"detail": {"count": ["3"]}}, False),
        ({"detail": {"tags": ["eu"]}}, True),
        ({"detail": {"tags": [{"anything-but": ["vip"]}]}}, True),
        ({"resources": [{"suffix": "two"}]}, True),
        ({"detail": {"total": [{"numeric": [">", 100, "<=", 120.5]}]}}, True),
        ({"detail": {"total": [{"numeric": ["<", 100]}]}}, False),
        ({"detail": {"total": [{"numeric": ["=", 120.5]}]}}, True),
        ({"detail": {"paid": [{"numeric": [">=", 0]}]}}, False),
        ({"detail": {"ip": [{"cidr": "10.0.0.0/8"}]}}, True),
        ({"detail": {"ip": [{"cidr": "192.168.0.0/16"}]}}, False),
        ({"detail": {"path": [{"cidr": "10.0.0.0/8"}]}}, False),
        ({"detail": {"count": [{"cidr": "10.0.0.0/8"}]}}, False),
        ({"detail": {"path": [{"wildcard": "a/*.png"}]}}, True),
        ({"detail": {"path": [{"wildcard": "*b*c*"}]}}, True),
        ({"detail": {"path": [{"wildcard": "a/b"}]}}, False),
        ({"detail": {"path": [{"wildcard": r"a/\*"}]}}, False),
        ({"detail": {"star": [{"wildcard": r"a\*b"}]}}, True),
        ({"detail": {"count": [{"wildcard": "*"}]}}, False),
        ({"detail": {"count": [{"prefix": "3"}]}}, False),
        ({"detail": {"count": [{"suffix": "3"}]}}, False),
        ({"detail": {"count": [{"equals-ignore-case": "3"}]}}, False),
        ({"detail": {"lines": {"sku": ["A"], "count": [1]}}}, True),
        ({"detail": {"lines": {"sku": ["A"], "count": [9]}}}, False),
        ({"detail": {"total": {"deeper": ["x"]}}}, False),
        ({"detail": {"total": {"deeper": [{"exists": False}]}}}, True),
        ({"$or": [{"source": ["x"]}, {"detail": {"count": [3]}}]}, True),
        ({"$or": [{"source": ["x"]}, {"detail": {"count": [4]}}]}, False),
        ({"$or": [None]}, False),
        ({"$or": [{"exists": False}]}, True),
        ({"source": ["shop.orders"], "detail": {"$or": [{"count": [1]}, {"total": [{"numeric": [">", 1]}]}]}}, True),
    ],
)
def test_what_a_pattern_means(pattern: dict[str, Any], expected: bool) -> None:
    assert check_pattern(pattern) is pattern
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("pattern", "pointer", "words"),
    [
        ([], "/pattern", "object"),
        ({"source": "shop"}, "/pattern/source", "list"),
        ({"a/b": []}, "/pattern/a~1b", "list"),
        ({"source": [["x"]]}, "/pattern/source/0", "list in a list"),
        ({"source": [{"prefx": "x"}]}, "/pattern/source/0", "no operator 'prefx'"),
        ({"source": [{"prefix": "x", "suffix": "y"}]}, "/pattern/source/0", "one operator"),
        ({"source": [{"prefix": 1}]}, "/pattern/source/0/prefix", "text"),
        ({"source": [{"prefix": {"wildcard": "*"}}]}, "/pattern/source/0/prefix", "equals-ignore-case"),
        ({"source": [{"exists": 1}]}, "/pattern/source/0/exists", "true or false"),
        ({"source": [{"equals-ignore-case": None}]}, "/pattern/source/0/equals-ignore-case", "text"),
        ({"source": [{"wildcard": "a**"}]}, "/pattern/source/0/wildcard", "star"),
        ({"source": [{"wildcard": "a\\b"}]}, "/pattern/source/0/wildcard", "backslash"),
        ({"source": [{"anything-but": []}]}, "/pattern/source/0/anything-but", "list"),
        ({"source": [{"anything-but": True}]}, "/pattern/source/0/anything-but", "number"),
        ({"source": [{"anything-but": {"numeric": [">", 1]}}]}, "/pattern/source/0/anything-but", "one of"),
        ({"source": [{"anything-but": {"prefix": []}}]}, "/pattern/source/0/anything-but/prefix", "empty"),
        ({"n": [{"numeric": [">"]}]}, "/pattern/n/0/numeric", "comparison"),
        ({"n": [{"numeric": ["<", 1, ">", 0]}]}, "/pattern/n/0/numeric", "range"),
        ({"n": [{"numeric": [">", 5, "<", 5]}]}, "/pattern/n/0/numeric", "No number"),
        ({"n": [{"numeric": [">", True]}]}, "/pattern/n/0/numeric", "comparison"),
        ({"ip": [{"cidr": "10.0.0.0/99"}]}, "/pattern/ip/0/cidr", "network"),
        ({"$or": []}, "/pattern/$or", "list"),
        ({"x": ["y" * 5000]}, "/pattern", "bytes"),
        ({"x": [object()]}, "/pattern", "JSON"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(pattern: Any, pointer: str, words: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_pattern(pattern)
    assert caught.value.errors[0]["pointer"] == pointer
    assert words in caught.value.message


def test_patterns_are_bounded() -> None:
    deep: dict[str, Any] = {"x": [1]}
    for _ in range(40):
        deep = {"x": deep}
    with pytest.raises(ValidationFailed, match="levels"):
        check_pattern(deep)
    either = [{"a": [1]}, {"b": [1]}]
    many = {f"f{number}": {"$or": either} for number in range(10)}
    with pytest.raises(ValidationFailed, match="combinations"):
        check_pattern(many)


_texts = some.text("abAB*\\.", max_size=8)
_scalars = some.none() | some.booleans() | some.integers(-9, 9) | some.floats(-9, 9) | _texts
_names = some.sampled_from(["a", "b", "c", "$or"])
_values = some.recursive(
    _scalars,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_names, inner, max_size=3),
    max_leaves=10,
)
_rules = _scalars | some.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("prefix", "suffix", "exists", "numeric", "anything-but", "wildcard", "cidr"), _values),
)
_patterns = some.recursive(
    some.lists(_rules, max_size=3),
    lambda inner: some.dictionaries(_names, inner, max_size=3) | some.lists(inner, max_size=2),
    max_leaves=10,
)


@given(pattern=some.dictionaries(_names, _patterns, max_size=3), event=_values)
def test_any_pattern_is_refused_or_matches_or_not(pattern: Any, event: Any) -> None:
    try:
        check_pattern(pattern)
    except ValidationFailed:
        return
    assert matches(pattern, event) in {True, False}


@given(event=some.dictionaries(some.sampled_from("abc"), _scalars, min_size=1))
def test_an_event_matches_what_names_its_own_values(event: dict[str, Any]) -> None:
    assert matches({name: [value] for name, value in event.items()}, event)


@given(
    glob=some.text("ab*", max_size=10).map(lambda text: text.replace("**", "*").replace("**", "*")),
    text=some.text("ab", max_size=12),
)
def test_stars_are_those_of_file_names(glob: str, text: str) -> None:
    assert matches({"x": [{"wildcard": glob}]}, {"x": text}) is fnmatch.fnmatchcase(text, glob)


@given(low=some.integers(-50, 50), width=some.integers(1, 50), value=some.integers(-100, 100))
def test_ranges_are_arithmetic(low: int, width: int, value: int) -> None:
    pattern = check_pattern({"x": [{"numeric": [">", low, "<=", low + width]}]})
    assert matches(pattern, {"x": value}) is (low < value <= low + width)


@given(network=some.ip_addresses(v=4), bits=some.integers(0, 32), address=some.ip_addresses(v=4))
def test_networks_are_those_of_addresses(network: Any, bits: int, address: Any) -> None:
    text = f"{network}/{bits}"
    pattern = check_pattern({"ip": [{"cidr": text}]})
    assert matches(pattern, {"ip": str(address)}) is (address in ipaddress.ip_network(text, strict=False))


def test_what_is_one_thing_is_not_the_others_too() -> None:
    for value in ("x", 1, True, None):
        others = [one for one in ("x", 1, True, None) if one is not value]
        assert not matches({"a": others}, {"a": value})
        assert matches({"a": [value]}, {"a": value})
