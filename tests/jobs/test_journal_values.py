from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import AgentFailed, DeadlineExceeded, StepNotKept, WaitTimeout
from corral.jobs.journal_values import as_replayed, from_failure, from_value, to_failure, to_value

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@dataclasses.dataclass
class Order:
    id: str
    at: dt.date


class Model:
    def model_dump(self, mode):
        return {"mode": mode}


class Picky(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


class Liar(Exception):
    def __init__(self):
        super().__init__("a", "b")


@given(json_values)
def test_a_result_comes_back(value):
    body = to_value("a#1", value)
    assert from_value(body) == value
    assert as_replayed(value, body) == value


def test_a_result_is_the_same_now_and_after_a_crash():
    for value in ((1, 2), {1: "x"}, Order("7", dt.date(2026, 11, 21)), Model(), {"set": {1}}, b"bytes"):
        body = to_value("a#1", value)
        assert as_replayed(value, body) == from_value(body)
    assert as_replayed((1, 2), b"[1,2]") == [1, 2]


def test_what_cannot_be_kept_says_what_to_do():
    with pytest.raises(
        StepNotKept, match=r"Step 'fetch#1' is done, but its result \(object\) .* Return what JSON knows"
    ):
        to_value("fetch#1", object())
    circle: list = []
    circle.append(circle)
    with pytest.raises(StepNotKept):
        to_value("fetch#1", circle)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("no stock", 3), ValueError, "('no stock', 3)"),
        (Picky("a", 2), Picky, "('a', 2)"),
        (KeyError("sku"), KeyError, "'sku'"),
        (WaitTimeout("late"), WaitTimeout, "late"),
        (DeadlineExceeded(), DeadlineExceeded, DeadlineExceeded.__doc__),
        (AgentFailed("x", original=ValueError("inside")), ValueError, "inside"),
    ],
)
def test_an_error_comes_back_as_its_own_class(error, kind, text):
    again = from_failure(to_failure(error))
    assert type(again) is kind
    assert str(again) == text


def test_an_error_that_cannot_be_made_again_is_told():
    again = from_failure(to_failure(Liar()))
    assert isinstance(again, AgentFailed)
    assert str(again) == "Liar: ('a', 'b')"

    class Local(Exception):
        pass

    again = from_failure(to_failure(Local(object())))
    assert isinstance(again, AgentFailed)


def test_an_error_that_says_what_cannot_be_written_is_kept_all_the_same():
    class Odd(Exception):
        def __str__(self):
            return "half \ud800"

    assert "half ?" in str(from_failure(to_failure(Odd(1))))
