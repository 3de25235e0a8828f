from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.backends.cursor import page_of, read_cursor, write_cursor
from corral.backends.encoding import ID_MAX_BYTES, check_id, decode, encode, findable, labels
from corral.errors import CursorNotFound, ValidationFailed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back_as_it_was(value):
    assert decode(encode(value, "Value")) == value


@given(st.text(st.characters(codec="utf-8")))
def test_an_id_that_passes_can_be_looked_for(text):
    try:
        check_id("id", text)
    except ValidationFailed:
        assert not text or "\0" in text or len(text.encode()) > ID_MAX_BYTES
    else:
        assert findable(text)


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_labels_are_equal_only_when_the_strings_are(one, other):
    assert (labels(one) == labels(other)) == (one == other)
    assert not any("\0" in text for pair in labels(one).items() for text in pair)


def test_labels_say_scalars_as_json_and_leave_the_rest_away():
    assert labels({"a": 1, "b": True, "c": None, "d": 1.5, "e": [1], "f": {}, "g": "x"}) == {
        "a": "1",
        "b": "true",
        "c": "null",
        "d": "1.5",
        "g": "x",
    }


@given(st.tuples(st.floats(0, 1e12), st.integers(0, 2**62)))
def test_a_cursor_is_read_as_it_was_written(place):
    assert read_cursor(write_cursor(place), tuple[float, int]) == place


@given(st.text())
def test_any_other_text_is_no_cursor(text):
    try:
        place = read_cursor(text, int)
    except CursorNotFound:
        return
    assert isinstance(place, int)


@pytest.mark.parametrize(
    ("rows", "items", "more"), [([1, 2, 3], [1, 2], True), ([1, 2], [1, 2], False), ([], [], False)]
)
def test_a_page_is_cut_where_it_is_full(rows, items, more):
    page = page_of(rows, lambda last: last, 2)
    assert page.items == items
    assert (page.next_cursor is not None) == more
