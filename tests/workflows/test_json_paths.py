"""Paths into JSON: what they find, how they fail, and where a value can be put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.failing import RESULT_PATH, RUNTIME, StateFailed
from corral.workflows.language import paths
from corral.workflows.language.path_steps import FOUND_MAX
from corral.workflows.language.scope import Scope

STORE = {
    "book": [
        {"title": "A", "price": 5, "tags": ["old", "red"]},
        {"title": "B", "price": 12.5, "isbn": "1"},
        {"title": "C", "price": 20, "isbn": "2"},
    ],
    "bicycle": {"color": "red", "price": 20},
    "odd name": {"it's": 1},
    "a-b": None,
}


def found(path: str, document=STORE, **rest):
    return paths.find(path, Scope(input=document, **rest))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", STORE),
        ("$.bicycle.color", "red"),
        ("$['bicycle']['color']", "red"),
        ('$["bicycle"].color', "red"),
        ("$['odd name']['it\\'s']", 1),
        ("$.a-b", None),
        ("$.book[0].title", "A"),
        ("$.book[-1].title", "C"),
        ("$.book[0,2].title", ["A", "C"]),
        ("$.book[1:].title", ["B", "C"]),
        ("$.book[:2].title", ["A", "B"]),
        ("$.book[-2:].title", ["B", "C"]),
        ("$.book[*].title", ["A", "B", "C"]),
        ("$.book.*.title", ["A", "B", "C"]),
        ("$.bicycle['color','price']", {"color": "red", "price": 20}),
        ("$.book[*]['title','isbn']", [{"title": "A"}, {"title": "B", "isbn": "1"}, {"title": "C", "isbn": "2"}]),
        ("$..price", [5, 12.5, 20, 20]),
        ("$..tags[0]", ["old"]),
        ("$.book[?(@.isbn)].title", ["B", "C"]),
        ("$.book[?(!@.isbn)].title", ["A"]),
        ("$.book[?(@.price < 13)].title", ["A", "B"]),
        ("$.book[?(@.price >= 12.5 && @.price < 20)].title", ["B"]),
        ("$.book[?(@.price == 5 || @.title == 'C')].title", ["A", "C"]),
        ("$.book[?(@.price == $.bicycle.price)].title", ["C"]),
        ("$.book[?(@['title'] != 'A')].title", ["B", "C"]),
        ("$.book[?(@.title =~ /[ab]/i)].title", ["A", "B"]),
        ("$.book[?(@.title in ['A','C'])].title", ["A", "C"]),
        ("$.book[?(@.title nin ['A','C'])].title", ["B"]),
        ("$.book[?(@.tags contains 'red')].title", ["A"]),
        ("$.book[?(@.tags anyof ['red','blue'])].title", ["A"]),
        ("$.book[?(@.tags subsetof ['red','old','x'])].title", ["A"]),
        ("$.book[?(@.tags noneof ['blue'])].title", ["A"]),
        ("$.book[?(@.tags size 2)].title", ["A"]),
        ("$.book[?(@.tags empty false)].title", ["A"]),
        ("$.book[?(@.title < 3)]", []),
        ("$.book[?((@.price < 6) && !(@.title == 'B'))].title", ["A"]),
        ("$.book.length()", 3),
        ("$.book[*].price.max()", 20),
        ("$.book[*].price.min()", 5),
        ("$.book[*].price.sum()", 37.5),
        ("$.book[*].price.avg()", 12.5),
        ("$.book[0].keys()", ["title", "price", "tags"]),
        ("$.book[0].tags.append('new')", ["old", "red", "new"]),
        ("$.book[0].tags.last()", "red"),
        ("$.book[0].tags.index(0)", "old"),
        ("$.nobody[*]", []),
        ("$.nobody[1:].x", []),
        ("$.nobody..x", []),
        ("$.book[5,9]", []),
    ],
)
def test_a_path_finds(path, expected):
    assert found(path) == expected


def test_the_context_and_variables_have_their_own_roots():
    scope = Scope(input={"x": 1}, context={"Execution": {"Id": "e"}}, variables={"x": [{"y": 2}]})
    assert paths.find("$$.Execution.Id", scope) == "e"
    assert paths.find("$$", scope) == {"Execution": {"Id": "e"}}
    assert paths.find("$x", scope) == [{"y": 2}]
    assert paths.find("$x[0].y", scope) == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("$.X", "No results for path: $['X']"),
        ("$.X.y", "Missing property in path $['X']"),
        ("$.bicycle.X.y", "Missing property in path $['bicycle']['X']"),
        ("$.book[7]", "No results for path: $['book'][7]"),
        ("$nobody", "No results for path: $nobody"),
        ("$.a-b[0]", "The path $['a-b'] is null"),
        ("$.bicycle[0]", 'Filter: [0] can only be applied to arrays. Current context is: {"color":"red","price":20}'),
        (
            "$.bicycle.color.x",
            (
                "Expected to find an object with property ['x'] in path $['bicycle']['color'] but found 'a string'. "
                "This is not a json object according to the JsonProvider."
            ),
        ),
    ],
)
def test_what_is_not_there_is_told(path, reason):
    with pytest.raises(StateFailed) as failed:
        found(path)
    assert (failed.value.error, failed.value.cause) == (RUNTIME, f"Invalid path '{path}' : {reason}")
    assert failed.value.prefixed


def test_a_field_tells_its_name_and_the_input():
    with pytest.raises(StateFailed) as failed:
        paths.find("$.x", Scope(input={"é": 1}), field="value.$")
    assert failed.value.cause == (
        "The JSONPath '$.x' specified for the field 'value.$' could not be found in the input '{\"é\":1}'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "$.",
        "$..",
        "$[",
        "$['a'",
        "$.a b",
        "$[?(@.a)",
        "$[?(@.a ==)]",
        "$.a[x]",
        "$.a.nobody()",
        "$[?(@.a =~ 'x')]",
        "$[?(@.a =~ /(/)]",
        "$" + "[?(" + "(" * 60 + "@.a" + ")" * 60 + ")]",
        "$." + "a" * 10_001,
    ],
)
def test_what_is_no_path_is_refused(text):
    assert not paths.is_path(text)
    assert paths.fault_of(text)
    with pytest.raises(StateFailed):
        found(text)


def test_reference_paths_name_one_place_of_the_data():
    assert all(paths.is_reference_path(path) for path in ("$", "$.a", "$['a b'][0].c", "$[0]"))
    assert not any(
        paths.is_reference_path(path) for path in ("$$", "$$.a", "$x", "$.*", "$..a", "$[1:]", "$.a.length()", "a")
    )


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"a": 1}, "$", 9),
        ({"a": 1}, "$.b", {"a": 1, "b": 9}),
        ({"a": 1}, "$.b.c.d", {"a": 1, "b": {"c": {"d": 9}}}),
        ({"a": [1, {"b": 2}]}, "$.a[1].b", {"a": [1, {"b": 9}]}),
        ([1, 2], "$[-1]", [1, 9]),
    ],
)
def test_a_value_is_put_where_a_path_points(document, path, expected):
    before = repr(document)
    assert paths.reference_set(document, path, 9) == expected
    assert repr(document) == before


@pytest.mark.parametrize(
    ("document", "path"), [([1], "$.a"), ("x", "$.a.b"), ({"a": 1}, "$.a.b"), ({"a": []}, "$.a[0]"), ({}, "$.*")]
)
def test_where_there_is_no_place_nothing_is_put(document, path):
    with pytest.raises(StateFailed) as failed:
        paths.reference_set(document, path, 1)
    assert failed.value.error == RESULT_PATH


names = st.text(st.characters(codec="utf-8", exclude_characters="\\"), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    document=st.dictionaries(names, json_values, max_size=3),
    keys=st.lists(names, min_size=1, max_size=4),
    value=json_values,
)
def test_what_was_put_is_found_and_all_else_stays(document, keys, value):
    path = "$" + "".join("['" + key.replace("'", "\\'") + "']" for key in keys)
    try:
        after = paths.reference_set(document, path, value)
    except StateFailed:
        on_the_way = document
        for key in keys[:-1]:
            on_the_way = on_the_way.get(key, {})
            if not isinstance(on_the_way, dict):
                return
        raise
    assert found(path, after) == value
    assert {key: one for key, one in after.items() if key != keys[0]} == {
        key: one for key, one in document.items() if key != keys[0]
    }


@given(json_values)
def test_a_path_to_everything_is_everything(document):
    assert found("$", document) == document
    assert isinstance(found("$..*", document), list)


def test_paths_that_multiply_are_stopped():
    document = {"a": [list(range(100)) for _ in range(100)]}
    with pytest.raises(StateFailed, match=str(FOUND_MAX)):
        found("$..*" * 1 + "..*" * 3, [document] * 20)


def test_deeply_nested_data_is_walked_without_recursion():
    document: dict = {}
    inner = document
    for _ in range(5_000):
        inner["a"] = {}
        inner = inner["a"]
    inner["b"] = 1
    assert found("$..b", document) == [1]
