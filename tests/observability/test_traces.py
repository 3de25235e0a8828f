"""Spans, and which traces are kept."""

from __future__ import annotations

import asyncio
import re
import weakref

import pytest

from corral.clock import new_trace_id
from corral.context import Context, enter_context, leave_context
from corral.errors import StoreUnavailable
from corral.observability import semconv
from corral.observability import traces as traces_module
from corral.observability.store import Span
from corral.observability.traces import Traces, finished_span, span, traceparent


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


async def test_a_trace_that_fails_is_kept_after_all_with_its_spans(store, monkeypatch):
    monkeypatch.setattr(traces_module, "_OF_A_TRACE_MAX", 2)
    traces = Traces(store, sample=0.0)
    fine, broken = request(traces), request(traces)
    for context in (fine, broken):
        assert not context.sampled
        token = enter_context(context)
        for name in ("one", "two", "three"):
            with span(name):
                pass
        leave_context(token)
    traces.keep(broken)
    traces.keep(broken)
    traces.record(finished(broken, "agent"))
    await traces.drain()
    assert [(s.trace_id, s.name) for s in store.spans] == [(broken.trace_id, n) for n in ("one", "two", "agent")]
    assert broken.sampled


def finished(context: Context, name: str) -> Span:
    return finished_span(
        context, name, "internal", span_id="ef" * 8, parent_id=None, started_at=1.0, duration_s=1.0, failed=False,
        attributes={"a": 1, "b": None},
    )  # fmt: skip


async def test_spans_of_threads_and_tasks_stand_below_the_one_they_were_started_in(store):
    traces = Traces(store, sample=1.0)
    token = enter_context(request(traces))

    def work(name: str) -> None:
        with span(name):
            pass

    async def task() -> None:
        work("task")

    with span("outer"):
        await asyncio.to_thread(work, "thread")
        await asyncio.create_task(task())
    work("after")
    leave_context(token)
    await traces.drain()
    by_name = {found.name: found for found in store.spans}
    assert by_name["thread"].parent_id == by_name["task"].parent_id == by_name["outer"].span_id
    assert by_name["after"].parent_id == by_name["outer"].parent_id == "ab" * 8


async def test_a_stream_that_is_left_in_the_middle_of_a_span(store):
    traces = Traces(store, sample=1.0)

    async def agent():
        with span("stream"):
            yield 1
            yield 2

    async def begin():
        stream = agent()
        await anext(stream)
        return stream

    token = enter_context(request(traces))
    stream = await asyncio.create_task(begin())  # a context of its own, which is gone when the stream is closed
    await stream.aclose()
    leave_context(token)
    await traces.drain()
    assert [(found.name, found.status) for found in store.spans] == [("stream", "ok")]


async def test_an_agent_that_calls_an_agent_in_the_same_process(store):
    traces = Traces(store, sample=1.0)
    outer, inner = request(traces), request(traces)
    inner.span_id = "99" * 8
    token = enter_context(outer)
    with span("outer"):
        below = enter_context(inner)
        with span("inner"):
            pass
        leave_context(below)
        with span("again"):
            pass
    leave_context(token)
    await traces.drain()
    found = {each.name: each for each in store.spans}
    assert (found["inner"].trace_id, found["inner"].parent_id) == (inner.trace_id, "99" * 8)
    assert found["again"].parent_id == found["outer"].span_id


async def test_attributes_are_plain_and_without_secrets_when_they_are_written(store):
    traces = Traces(store, sample=1.0)
    token = enter_context(request(traces))
    with span("ask https://me:hunter2@host", thing=object, nested={"password": "x"}, n=1):
        pass
    leave_context(token)
    await traces.drain()
    (found,) = store.spans
    assert found.name == "ask https://[redacted]@host"
    assert found.attributes == {"thing": "<class 'object'>", "nested": {"password": "[redacted]"}, "n": 1}


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("a bug"), None], ids=["away", "bug", "silent"])
async def test_a_store_that_fails_stops_nothing_and_is_said_once(store, caplog, monkeypatch, error):
    monkeypatch.setattr(traces_module, "_BATCH_MAX", 2)
    monkeypatch.setattr(traces_module, "_WRITE_S_MAX", 0.01)

    async def write(_spans):
        if error is None:
            await asyncio.get_running_loop().create_future()
        raise error

    traces = Traces(store, sample=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", write)
        context = request(traces)
        for _ in range(5):
            traces.record(finished(context, "x"))
        await traces.drain()
        await traces.drain()
        assert traces.dropped == 4
        assert len(caplog.records) == 1
    await traces.drain()
    assert len(store.spans) == 1
    assert store.spans[0].attributes == {"a": 1}


async def test_what_is_left_when_the_store_is_away_at_the_end_is_counted_and_it_starts_again(store, monkeypatch):
    monkeypatch.setattr(traces_module, "_BATCH_MAX", 1)
    traces = Traces(store, sample=1.0)
    context = request(traces)
    store.away = True
    await traces.start()
    for _ in range(3):
        traces.record(finished(context, "x"))
    await traces.stop()
    assert traces.dropped == 3
    store.away = False
    await traces.start()
    traces.record(finished(context, "x"))
    await traces.stop()
    assert len(store.spans) == 1


def test_names_of_attributes_are_one_table():
    names = [value for name, value in vars(semconv).items() if name.isupper() and name != "VERSION"]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name) for name in names)


def test_traceparent():
    context = request()
    assert traceparent(context) == f"00-{context.trace_id}-{'ab' * 8}-01"
    context.sampled = False
    assert traceparent(context).endswith("-00")


async def test_a_span_is_made_when_its_trace_is_kept_and_not_before(store):
    traces = Traces(store, sample=0.0)
    fine, broken = request(traces), request(traces)
    made = []

    def make(name):
        made.append(name)
        return finished_span(
            Context("r"), name, "client", span_id=name, parent_id=None, started_at=1.0, duration_s=0.1, failed=False, attributes={}
        )  # fmt: skip

    fine.traces.record_made(lambda: make("fine"))
    broken.traces.record_made(lambda: make("broken"))
    assert made == []
    traces.keep(broken)
    traces.record_made(lambda: make("at once"))
    await traces.drain()
    assert made == ["broken", "at once"]
    assert [span.name for span in store.spans] == made


async def test_what_is_held_back_of_a_trace_that_nobody_keeps_leads_back_to_nothing(store):
    """Else each request would be garbage in a circle, and collecting it stops all others."""
    traces = Traces(store, sample=0.0)
    context = request(traces)
    call = CallsSpan(context)
    context.traces.record_made(call.span)
    traces.let_go(context)
    gone = weakref.ref(call)
    del call
    assert gone() is None
    assert store.spans == []


class CallsSpan:
    def __init__(self, context):
        self.context = context

    def span(self):
        raise AssertionError("Nobody keeps it.")
