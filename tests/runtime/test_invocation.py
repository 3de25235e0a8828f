from __future__ import annotations

import asyncio

import pytest
from runtime_scene import call_of

from corral.errors import Cancelled, DeadlineExceeded, Draining, Interrupted
from corral.runtime.invocation import Invocations


def agent(payload): ...


class Clock:
    def __init__(self):
        self.time = 100.0

    def monotonic(self):
        return self.time

    now = monotonic


async def test_endings_run_once_and_in_reverse_whatever_they_raise():
    call = call_of(agent)
    ran = []

    def ending(name, error=None):
        async def run(given):
            assert given is call
            ran.append(name)
            if error is not None:
                raise error

        return run

    call.at_end(ending("first"))
    call.at_end(ending("second", ValueError("second")))
    call.at_end(ending("third", KeyError("third")))
    with pytest.raises(KeyError, match="third"):
        await call.end()
    await call.end()
    assert ran == ["third", "second", "first"]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("deadline", DeadlineExceeded),
        ("client", Cancelled),
        ("request", Cancelled),
        ("interrupted", Interrupted),
        ("draining", Draining),
        (None, Cancelled),
    ],
)
async def test_the_reason_names_the_error(reason, error):
    call = call_of(agent)
    call.check()
    if reason is not None:
        call.cancel(reason)
        assert call.context.cancelled
        with pytest.raises(error):
            call.check()
    assert type(call.cancelled_error()) is error


async def test_a_call_is_cancelled_once_and_once_more_when_its_time_is_up():
    cancelled = []
    call = call_of(agent)
    call.task = type("Task", (), {"cancel": lambda self: cancelled.append(call.cancel_reason)})()
    for reason in ("client", "request", "interrupted", "deadline", "draining", "deadline", "client"):
        call.cancel(reason)
    assert cancelled == ["client", "deadline"]


async def test_calls_are_found_by_tenant_and_request_id():
    invocations = Invocations()
    calls = [call_of(agent, request_id="r", tenant=tenant) for tenant in ("acme", "acme", "other")]
    for call in calls:
        invocations.add(call)
    assert invocations.find("acme", "r") == calls[:2]
    assert invocations.find("other", "r") == calls[2:]
    assert invocations.find("acme", "s") == []
    assert len(invocations) == 3
    assert list(invocations) == calls
    invocations.remove(calls[0])
    invocations.remove(calls[0])
    assert invocations.find("acme", "r") == calls[1:2]


async def test_idle_is_when_nothing_runs():
    invocations = Invocations()
    await invocations.wait_idle()
    first, second = call_of(agent), call_of(agent)
    invocations.add(first)
    invocations.add(second)
    waiting = asyncio.create_task(invocations.wait_idle())
    invocations.remove(first)
    await asyncio.sleep(0)
    assert not waiting.done()
    invocations.remove(second)
    await waiting


async def test_all_are_cancelled_together():
    invocations = Invocations()
    calls = [call_of(agent) for _ in range(3)]
    for call in calls:
        invocations.add(call)
    invocations.cancel_all("draining")
    assert {call.cancel_reason for call in calls} == {"draining"}


async def test_deadlines_are_kept_each_at_its_time():
    clock = Clock()
    invocations = Invocations(clock)
    late, soon, never, sooner = (call_of(agent, deadline=at) for at in (130.0, 120.0, None, 110.0))
    for call in (late, soon, never, sooner):
        invocations.add(call)
    assert invocations._timer_at == 110.0
    clock.time = 110.0
    invocations._timer.cancel()
    invocations._overdue()
    assert [call.cancel_reason for call in (late, soon, never, sooner)] == [None, None, None, "deadline"]
    assert invocations._timer_at == 120.0
    clock.time = 140.0
    invocations._timer.cancel()
    invocations._overdue()
    assert [call.cancel_reason for call in (late, soon, never)] == ["deadline", "deadline", None]
    assert invocations._timer is None
    invocations.add(call_of(agent, deadline=150.0))
    invocations.close()
    invocations.close()
    assert invocations._timer is None


async def test_a_deadline_is_kept_by_the_loop():
    invocations = Invocations()
    call = call_of(agent, deadline=asyncio.get_running_loop().time() + 0.01)
    reached = asyncio.Event()
    call.task = type("Task", (), {"cancel": lambda self: reached.set()})()
    invocations.add(call)
    await asyncio.wait_for(reached.wait(), 10)
    assert call.cancel_reason == "deadline"
