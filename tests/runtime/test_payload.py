from __future__ import annotations

import functools
import sys
import types
import unicodedata

import payload_models as models
import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_models import Odd, Order, Pair, Question, Row

from corral.errors import ValidationFailed
from corral.runtime.payload import PayloadType, check_limits, is_id, payload_type


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        (models.ask, Question),
        (models.order, Order),
        (models.row, Row),
        (models.Asker(), Question),
        (models.Asker().ask, Question),
        (functools.partial(models.ask), Question),
        (functools.partial(models.second, "other"), Question),
        (functools.wraps(models.ask)(lambda *args: None), Question),
    ],
)
def test_the_type_of_a_payload_is_what_the_entrypoint_says(fn, kind):
    assert payload_type(fn).type is kind


@pytest.mark.parametrize(
    "fn",
    [
        *(models.missing, models.nonsense, models.plain, models.text, models.anything, models.listed, models.bare),
        *(dict, int, print, lambda: None, models.second),
    ],
)
def test_other_payloads_are_not_checked(fn):
    assert payload_type(fn) is None


@pytest.mark.parametrize(
    ("kind", "value", "faults"),
    [
        (Question, {}, {"/firstPrompt": "This field is required."}),
        (
            Question,
            {"firstPrompt": 1, "count": 0, "rows": [{"id": 1}, {"id": "x"}], "more": 1},
            {
                "/firstPrompt": "Expected `str`, got `int`",
                "/count": "Expected `int` >= 1",
                "/rows/1/id": "Expected `int`, got `str`",
                "/more": "This field is not known.",
            },
        ),
        (Question, [], {"": "Expected `object`, got `array`"}),
        (Order, None, {"": "Expected `object`, got `null`"}),
        (
            Order,
            {"lines": [{"firstPrompt": "a", "count": 0}]},
            {"/amount": "This field is required.", "/lines/0/count": "Expected `int` >= 1"},
        ),
        (Row, {"id": "x", "note": 1}, {"/id": "Expected `int`, got `str`", "/note": "Expected `str`, got `int`"}),
        (Pair, {"left": 1}, {"": "Expected `array`, got `object`"}),
        (Odd, {"what": 1}, {"/what": "Expected `Unknown`, got `int`"}),
    ],
)
def test_every_fault_is_named_at_once(kind, value, faults):
    with pytest.raises(ValidationFailed) as caught:
        PayloadType(kind).convert(value)
    assert {fault["pointer"]: fault["message"] for fault in caught.value.errors} == faults


def test_what_is_right_is_converted():
    assert PayloadType(Question).convert({"firstPrompt": "a"}) == Question("a")
    assert PayloadType(Order).convert({"amount": 1, "more": 2}) == Order(1)
    assert PayloadType(Row).convert({"id": 1, "more": 2}) == {"id": 1}


def test_a_fault_that_no_field_has_alone_is_told_as_it_is():
    class Range(models.msgspec.Struct):
        low: int
        high: int

        def __post_init__(self):
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(ValidationFailed) as caught:
        PayloadType(Range).convert({"low": 2, "high": 1})
    assert caught.value.errors == [{"pointer": "", "message": "low is above high"}]


@pytest.mark.parametrize("kind", [Question, Order, Row, Odd, Pair])
def test_there_is_a_schema(kind):
    assert kind.__name__ in PayloadType(kind).schema()["$defs"]


# -- pydantic, if the user has it; here a model of its shape -------------------------------------------------------------


class PydanticError(ValueError):
    def __init__(self, *faults):
        self.faults = faults

    def errors(self):
        return [{"loc": loc, "msg": message} for loc, message in self.faults]


@pytest.fixture
def pydantic(monkeypatch):
    class BaseModel:
        fails = None

        def __init__(self, value):
            self.value = value

        @classmethod
        def model_validate(cls, value):
            if cls.fails:
                raise cls.fails
            return cls(value)

        @classmethod
        def model_json_schema(cls):
            return {"title": cls.__name__}

    module = types.ModuleType("pydantic")
    module.BaseModel = BaseModel
    monkeypatch.setitem(sys.modules, "pydantic", module)
    return module


def test_a_pydantic_model_checks_by_itself(pydantic):
    class Order(pydantic.BaseModel):
        pass

    def agent(payload):
        pass

    agent.__annotations__["payload"] = Order
    found = payload_type(agent)
    assert found.convert({"a": 1}).value == {"a": 1}
    assert found.schema() == {"title": "Order"}
    Order.fails = PydanticError((("rows", 0, "id"), "too small"), ((), "all wrong"))
    with pytest.raises(ValidationFailed) as caught:
        found.convert({})
    assert caught.value.errors == [
        {"pointer": "/rows/0/id", "message": "too small"},
        {"pointer": "", "message": "all wrong"},
    ]
    Order.fails = ValueError("no details")
    with pytest.raises(ValidationFailed) as caught:
        found.convert({})
    assert caught.value.errors == [{"pointer": "", "message": "no details"}]


def test_without_pydantic_nothing_is_taken_for_a_model(monkeypatch):
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)

    def agent(payload):
        pass

    agent.__annotations__["payload"] = models.Unknown
    assert payload_type(agent) is None


# -- the plain limits ----------------------------------------------------------------------------------------------------


def check(payload):
    check_limits(payload, prompt_chars_max=5, id_chars_max=3)


@pytest.mark.parametrize(
    "payload",
    [
        *(None, [], "", "longer than five", 1, {}, {"prompt": "12345"}, {"prompt": None}, {"prompt": ["", ""]}),
        *({"session_id": None, "user_id": None}, {"session_id": "abc", "user_id": "é"}, {"other": "longer than five"}),
    ],
)
def test_within_the_limits(payload):
    check(payload)


def test_every_limit_that_is_broken_is_named_at_once():
    with pytest.raises(ValidationFailed) as caught:
        check({"prompt": "", "message": "123456", "session_id": "abcd", "user_id": 7})
    faults = {fault["pointer"]: fault["message"] for fault in caught.value.errors}
    assert faults == {
        "/prompt": "1 to 5 characters are allowed; it is empty.",
        "/message": "1 to 5 characters are allowed; it has 6 characters.",
        "/session_id": "An id is a text of 1 to 3 characters, none of them a control character.",
        "/user_id": "An id is a text of 1 to 3 characters, none of them a control character.",
    }


@given(st.text(max_size=8))
def test_an_id_is_a_short_text_without_control_characters(value):
    control = any(unicodedata.category(character) == "Cc" for character in value)
    assert is_id(value, 5) is (1 <= len(value) <= 5 and not control)


@pytest.mark.parametrize("value", [None, 1, b"id", ["id"], "", "two\nlines", "nul\0"])
def test_other_values_are_no_ids(value):
    assert not is_id(value, 100)
