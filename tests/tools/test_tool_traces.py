"""What the outermost layer records, and counts."""

from __future__ import annotations

import asyncio

import pytest
from tool_scene import Kept, box_of, called

from corral import Context, ToolFailed, span, tool
from corral.context import enter_context, leave_context
from corral.observability.metrics import Metrics
from corral.tools.cached import Cached
from corral.tools.counting import ToolCounting
from corral.tools.failing import failed
from corral.tools.traced import Traced


class Recorder:
    def __init__(self):
        self.spans = []

    def record(self, one):
        self.spans.append(one)

    def record_made(self, made):
        self.record(made())


@pytest.fixture
def spans():
    context = Context("r")
    context.trace_id, context.span_id, context.tenant = "a" * 32, "b" * 16, "acme"
    context.traces = recorder = Recorder()
    token = enter_context(context)
    yield recorder.spans
    leave_context(token)


def counted(*tools, capture=False, layers=(), **more):
    metrics = Metrics()
    counting = ToolCounting(metrics)
    box = box_of(*tools, layers=[Traced(counting.over, capture=capture), *layers], watching=counting, **more)
    return box, metrics


@tool(cost_usd=0.25)
async def work(fail: bool = False, hang: bool = False) -> str:
    with span("inside"):
        if fail:
            raise ToolFailed("no", code="declined")
        if hang:
            await asyncio.Event().wait()
    return "done"


async def test_a_call_is_a_span_and_what_it_does_stands_below(spans):
    box, _ = counted(work)
    reply = await box.call(called("work"))
    inside, outer = spans
    assert reply.duration_s == outer.duration_s > 0
    assert (outer.name, outer.status, outer.parent_id, outer.tenant) == ("execute_tool work", "ok", "b" * 16, "acme")
    assert inside.parent_id == outer.span_id
    assert outer.attributes["gen_ai.tool.name"] == "work"
    assert outer.attributes["corral.cost.usd"] == 0.25
    assert "corral.tool.input" not in outer.attributes


async def test_what_was_said_is_recorded_if_it_is_wanted(spans):
    box, _ = counted(work, capture=True)
    await box.call(called("work", fail="false"))
    assert spans[-1].attributes["corral.tool.input"] == {"fail": False}
    assert spans[-1].attributes["corral.tool.output"] == [{"type": "text", "text": "done"}]


async def test_a_fault_is_an_error_and_a_question_to_a_person_is_none(spans):
    async def asks(use, proceed):
        return failed(use.call, "approval_required", "who says so?") if use.call.id else await proceed(use)

    box, _ = counted(work, layers=[asks])
    import msgspec

    await box.call(called("work", fail=True))
    await box.call(msgspec.structs.replace(called("work"), id="c"))
    failing, asking = (one for one in spans if one.name.startswith("execute_tool"))
    assert (failing.status, failing.attributes["error.type"]) == ("error", "declined")
    assert (asking.status, asking.attributes["error.type"]) == ("ok", "approval_required")
    assert asking.attributes["gen_ai.tool.call.id"] == "c"


async def test_who_is_cancelled_is_recorded_too(spans):
    box, metrics = counted(work)
    task = asyncio.create_task(box.call(called("work", hang=True)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (spans[-1].status, spans[-1].attributes["error.type"]) == ("ok", "cancelled")
    assert 'corral_tools_calls_total{tool="work",outcome="cancelled"} 1' in metrics.render().decode()


async def test_calls_are_counted_by_how_they_ended():
    flaky = iter([ConnectionError(), None])

    @tool(read_only=True, cache_ttl_s=9, output_max_bytes=3)
    async def look(n: int) -> str:
        if n == 0 and (error := next(flaky)):
            raise error
        return "12345" if n == 2 else "1"

    from tool_scene import QUICK

    box, metrics = counted(work, look, layers=[Cached(Kept())], settings=QUICK)
    for call in (
        *(called("work") for _ in range(2)),
        called("work", fail=True),
        called("work", fails=True),
        *(called("look", n=0) for _ in range(2)),
        called("look", n=2),
    ):
        await box.call(call)
    text = metrics.render().decode()
    for line in (
        'corral_tools_calls_total{tool="work",outcome="ok"} 2',
        'corral_tools_calls_total{tool="work",outcome="declined"} 1',
        'corral_tools_calls_total{tool="look",outcome="ok"} 2',
        'corral_tools_calls_total{tool="look",outcome="kept"} 1',
        'corral_tools_duration_seconds_count{tool="look"} 2',
        'corral_tools_retries_total{tool="look"} 1',
        'corral_tools_spilled_total{tool="look"} 1',
        'corral_tools_cost_usd_total{tool="work"} 0.75',
    ):
        assert line in text, line
