from __future__ import annotations

import functools

import pytest

import corral
from corral.context import Context
from corral.errors import ConfigError
from corral.runtime.entrypoint import Entrypoint, kind_of


def sync(payload):
    """Answers."""


async def coroutine(payload): ...


def generator(payload):
    yield payload


async def async_generator(payload):
    yield payload


class AsyncObject:
    async def __call__(self, payload): ...


class StreamObject:
    async def __call__(self, payload, context):
        yield payload

    async def method(self, payload): ...

    @staticmethod
    def static(payload):
        yield payload


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        (sync, "sync"),
        (coroutine, "async"),
        (generator, "sync_stream"),
        (async_generator, "async_stream"),
        (functools.partial(coroutine), "async"),
        (functools.partial(functools.partial(generator)), "sync_stream"),
        (functools.partial(AsyncObject()), "async"),
        (AsyncObject(), "async"),
        (StreamObject(), "async_stream"),
        (StreamObject().method, "async"),
        (StreamObject.static, "sync_stream"),
        (lambda payload: payload, "sync"),
        (print, "sync"),
        (dict, "sync"),
    ],
)
def test_the_four_kinds_are_told_apart(fn, kind):
    assert kind_of(fn) == kind
    assert Entrypoint("a", fn).streams == kind.endswith("stream")


def test_what_cannot_be_called_is_no_entrypoint():
    with pytest.raises(ConfigError, match="not callable"):
        kind_of(42)


def by_name(payload, context): ...
def by_type(payload, request: Context): ...
def by_text(payload, request: "Context"): ...  # noqa: UP037 - how older files say it
def by_long_text(payload, request: "corral.Context"): ...  # noqa: UP037 - how older files say it
def unannotated_but_named(payload, context: dict): ...
def other_type(payload, request: dict = {}): ...  # noqa: B006 - never called
def with_more(payload, context, name=None): ...
def with_default(payload, context=None): ...
def keyword_only(payload, *, context): ...
def no_context(payload): ...
def optional_other(payload, other=1): ...
def anything(*args): ...
def anything_named(**kwargs): ...
def nothing(): ...
def too_many(payload, one, two): ...
def required_keyword(payload, *, other): ...
def required_third(payload, context, other): ...
def required_keyword_alone(payload=None, *, other): ...


@pytest.mark.parametrize(
    ("fn", "takes"),
    [
        (by_name, True),
        (by_type, True),
        (by_text, True),
        (by_long_text, True),
        (unannotated_but_named, True),
        (other_type, False),
        (with_more, True),
        (with_default, True),
        (no_context, False),
        (optional_other, False),
        (anything, False),
        (StreamObject(), True),
        (StreamObject().method, False),
        (functools.partial(by_name), True),
        (functools.partial(too_many, one=1, two=2), False),
        (print, False),
        (dict, False),
        (int, False),
    ],
)
def test_the_context_is_passed_to_those_who_ask_for_it(fn, takes):
    assert Entrypoint("a", fn).takes_context is takes


@pytest.mark.parametrize(
    "fn",
    [nothing, too_many, required_keyword, required_third, required_keyword_alone, keyword_only, anything_named],
)
def test_a_signature_that_cannot_be_called_is_an_error_at_once(fn):
    with pytest.raises(ConfigError, match=r"'billing'.*is called as"):
        Entrypoint("billing", fn)


def test_the_description_is_the_docstring():
    assert Entrypoint("a", sync).description == "Answers."
    assert Entrypoint("a", functools.partial(sync)).description == "Answers."
    assert Entrypoint("a", no_context).description == ""
    assert corral.Context is Context
