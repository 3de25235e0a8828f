"""Spans, and which traces are kept."""

from __future__ import annotations

import pytest

from corral.clock import new_trace_id
from corral.context import Context, enter_context, leave_context
from corral.errors import StoreUnavailable
from corral.observability import traces as traces_module
from corral.observability.store import Span
from corral.observability.traces import Traces, span, traceparent


class Turned:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    monotonic = now


class Kept:
    """A span store that remembers, or does not answer."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.away = False

    async def write(self, spans) -> None:
        if self.away:
            raise StoreUnavailable
        self.spans += spans


@pytest.fixture
def store():
    return Kept()


def request(traces: Traces | None = None, *, parent: str | None = None) -> Context:
    context = Context("r")
    context.trace_id, context.span_id, context.parent_span_id = new_trace_id(), "ab" * 8, parent
    if traces is not None:
        traces.decide(context)
    return context


async def test_spans_of_an_agent_stand_below_each_other(store):
    traces = Traces(store, sample=1.0)
    context = request(traces)
    context.agent_span_id = "cd" * 8
    token = enter_context(context)
    with span("outer", kind="client", answer=42), span("inner") as attributes:
        attributes["api_key"] = "secret"
    leave_context(token)
    await traces.start()
    await traces.start()
    await traces.stop()
    await traces.stop()
    inner, outer = store.spans
    assert (outer.name, outer.kind, outer.parent_id, outer.attributes) == ("outer", "client", "cd" * 8, {"answer": 42})
    assert inner.parent_id == outer.span_id
    assert inner.attributes == {"api_key": "[redacted]"}
    assert inner.trace_id == outer.trace_id == context.trace_id


async def test_a_failing_piece_of_work_says_so(store):
    traces = Traces(store, sample=1.0)
    token = enter_context(request(traces))
    with pytest.raises(KeyError), span("broken"):
        raise KeyError("x")
    leave_context(token)
    await traces.drain()
    (found,) = store.spans
    assert (found.status, found.attributes) == ("error", {"error.type": "KeyError"})


def test_outside_of_a_request_a_span_is_nothing():
    with span("alone") as attributes:
        attributes["x"] = 1


def test_a_share_of_traces_is_kept_unless_the_caller_decided(store):
    traces = Traces(store, sample=0.25, per_second_max=1e9)
    kept = sum(request(traces).sampled for _ in range(4000))
    assert 800 < kept < 1200
    assert all(request(traces, parent="ab" * 8).sampled for _ in range(100))
    decided = request()
    decided.sampled = False
    traces.decide(decided)
    assert not decided.sampled


def test_under_load_only_so_many_a_second(store):
    clock = Turned()
    traces = Traces(store, sample=1.0, per_second_max=10, clock=clock)
    assert sum(request(traces).sampled for _ in range(100)) == 10
    clock.at += 0.5
    assert sum(request(traces).sampled for _ in range(100)) == 5


async def test_what_does_not_fit_or_cannot_be_written_is_counted(store, monkeypatch):
    monkeypatch.setattr(traces_module, "_HELD_MAX", 3)
    traces = Traces(store, sample=1.0)
    context = request(traces)
    token = enter_context(context)
    for _ in range(5):
        with span("x"):
            pass
    leave_context(token)
    assert traces.dropped == 2
    store.away = True
    await traces.drain()
    assert traces.dropped == 5


def test_traceparent():
    context = request()
    assert traceparent(context) == f"00-{context.trace_id}-{'ab' * 8}-01"
    context.sampled = False
    assert traceparent(context).endswith("-00")
