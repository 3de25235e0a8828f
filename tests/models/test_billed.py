from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from corral.context import Context, enter_context, leave_context
from corral.errors import ModelStreamBroken, ModelUnavailable
from corral.messages import CallModel, Delta, EmbedCall, EmbedReply, Message, ModelCall, ModelEvent, ModelReply, Usage
from corral.models.billed import Billed
from corral.models.counting import ModelCounting
from corral.models.exchange import Exchange
from corral.models.stack import reply_of, wrap
from corral.models.traced import Traced
from corral.observability.metrics import Metrics
from corral.observability.store import Span
from corral.observability.traces import Made

REPLY = ModelReply(
    model="small", provider="sim", content=[{"type": "text", "text": "Hello"}], usage=Usage(input=7, output=3)
)
CALL = ModelCall(model="sim/small", messages=[Message(role="user", content=[{"type": "text", "text": "Hi"}])])
STREAM = ModelCall(model="sim/small", messages=CALL.messages, stream=True)


class Till:
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.metrics = Metrics()
        self.counting = ModelCounting(self.metrics)
        self.billed = Billed(self.record, cost_of=self.cost_of, estimate=self.estimate)

    def record(self, call: ModelCall, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.counting.ended(call, exchange)

    def cost_of(self, model: str, usage: Usage) -> float | None:
        return None if model.startswith("odd/") else usage.total / 1000

    def estimate(self, call: ModelCall, reply: ModelReply) -> Usage:
        return Usage(input=len(call.messages), output=len(reply.text), estimated=True)


def answering(*events: ModelEvent | Exception) -> CallModel:
    async def call_model(call: ModelCall) -> AsyncIterator[ModelEvent]:
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    return call_model


async def test_an_answer_has_its_price():
    till = Till()
    reply = await reply_of(wrap(answering(REPLY), [till.billed])(CALL))
    assert reply.cost_usd == 0.01
    (one,) = till.exchanges
    assert (one.provider, one.model, one.outcome, one.usage, one.cost_usd) == (
        "sim",
        "sim/small",
        "ok",
        REPLY.usage,
        0.01,
    )
    assert one.first_s is None
    assert one.duration_s >= 0


async def test_a_stream_is_timed_to_its_first_piece():
    till = Till()
    events = [event async for event in wrap(answering(Delta("text", "Hel"), REPLY), [till.billed])(STREAM)]
    assert [type(event) for event in events] == [Delta, ModelReply]
    assert till.exchanges[0].first_s is not None


async def test_what_has_no_price_is_not_free():
    till = Till()
    odd = ModelCall(model="odd/one", messages=CALL.messages)
    assert (await reply_of(wrap(answering(REPLY), [till.billed])(odd))).cost_usd is None
    assert till.exchanges[0].cost_usd is None


async def test_what_broke_off_is_paid_for():
    till = Till()
    partial = ModelReply(content=[{"type": "text", "text": "Hel"}])
    broken = ModelStreamBroken(partial=partial)
    with pytest.raises(ModelStreamBroken):
        await reply_of(wrap(answering(Delta("text", "Hel"), broken), [till.billed])(STREAM))
    (one,) = till.exchanges
    assert (one.outcome, one.usage.output, one.usage.estimated) == ("model_stream_broken", 3, True)


async def test_what_failed_before_it_began_cost_nothing():
    till = Till()
    with pytest.raises(ModelUnavailable):
        await reply_of(wrap(answering(ModelUnavailable()), [till.billed])(CALL))
    (one,) = till.exchanges
    assert (one.outcome, one.usage.total, one.cost_usd) == ("model_unavailable", 0, None)


async def test_what_nobody_waited_for_is_paid_for():
    till = Till()
    stack = wrap(answering(Delta("text", "Hello"), Delta("text", " you"), REPLY), [till.billed])
    async with aclosing(stack(STREAM)) as events:
        async for _ in events:
            break
    (one,) = till.exchanges
    assert (one.outcome, one.usage.output) == ("cancelled", 5)


async def test_a_cancelled_call_is_written_down_once():
    till, begun = Till(), asyncio.Event()

    async def hanging(call: ModelCall) -> AsyncIterator[ModelEvent]:
        begun.set()
        await asyncio.Event().wait()
        yield REPLY

    task = asyncio.create_task(reply_of(wrap(hanging, [till.billed])(CALL)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.outcome for one in till.exchanges] == ["cancelled"]


async def test_a_call_without_an_answer_is_broken():
    with pytest.raises(ModelStreamBroken):
        await reply_of(answering()(CALL))


class Recorder:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def record(self, span: Span) -> None:
        self.spans.append(span)

    def record_made(self, made: Made) -> None:
        self.record(made())


async def ask_traced(
    *events: ModelEvent | Exception, capture: bool = False, call: ModelCall = CALL
) -> tuple[Span, list[Exchange]]:
    kept: list[Exchange] = []
    context = Context("r-1")
    context.trace_id, context.span_id, context.agent_span_id = "t", "s", "a"
    recorder = context.traces = Recorder()
    token = enter_context(context)
    try:
        layer = Traced(lambda _call, exchange: kept.append(exchange), capture=capture)
        await reply_of(wrap(answering(*events), [layer])(call))
    except (ModelUnavailable, ZeroDivisionError):
        pass
    finally:
        leave_context(token)
    (span,) = recorder.spans
    return span, kept


async def test_a_question_shows_in_the_trace_of_its_request():
    call = ModelCall(model="sim/small", messages=CALL.messages, notes={"route.reason": "short"})
    span, kept = await ask_traced(REPLY, call=call)
    assert (span.name, span.kind, span.parent_id, span.status) == ("chat sim/small", "client", "a", "ok")
    assert span.attributes["gen_ai.usage.input_tokens"] == 7
    assert span.attributes["corral.route.reason"] == "short"
    assert "gen_ai.input.messages" not in span.attributes
    assert kept == []


async def test_what_was_said_is_shown_only_if_asked_for():
    span, _ = await ask_traced(REPLY, capture=True)
    assert span.attributes["gen_ai.output.messages"] == REPLY.content


@pytest.mark.parametrize(
    ("error", "code"), [(ModelUnavailable(), "model_unavailable"), (ZeroDivisionError(), "internal_error")]
)
async def test_a_failure_shows(error, code):
    span, _ = await ask_traced(error)
    assert (span.status, span.attributes["error.type"]) == ("error", code)


async def test_an_answer_that_was_kept_is_written_down_and_cost_nothing():
    _, kept = await ask_traced(ModelReply(provider="sim", model="small", cached="exact", usage=Usage(input=7)))
    (one,) = kept
    assert (one.cached, one.cost_usd, one.usage.total) == ("exact", 0.0, 0)


@pytest.mark.parametrize("events", [[], [Delta("text", "Hel")]])
async def test_a_fault_of_ours_is_no_success(events):
    till = Till()
    with pytest.raises(ZeroDivisionError):
        await reply_of(wrap(answering(*events, ZeroDivisionError()), [till.billed])(STREAM))
    (one,) = till.exchanges
    assert (one.outcome, one.usage.output) == ("internal_error", 3 * len(events))


@pytest.mark.parametrize(
    ("error", "outcome"), [(ZeroDivisionError(), "internal_error"), (asyncio.CancelledError(), "cancelled")]
)
async def test_embeddings_that_fail_are_told_from_those_nobody_waited_for(error, outcome):
    till = Till()

    async def failing(call: EmbedCall) -> EmbedReply:
        raise error

    with pytest.raises(type(error)):
        await till.billed.embed(EmbedCall(model="sim/small", texts=["Hi"]), failing)
    assert [one.outcome for one in till.exchanges] == [outcome]
