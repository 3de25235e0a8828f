"""Around each question to a provider: what it took and cost is known whatever becomes of it, and handed on once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import CorralError
from corral.messages import (
    CallEmbedder,
    CallModel,
    Delta,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    Usage,
    close,
)
from corral.models.answering import Estimate
from corral.models.exchange import Exchange, Record
from corral.models.wire.collecting import Collector

CostOf = Callable[[str, Usage], float | None]
"""What so many tokens of a model (`provider/model`) cost; none: no price is known."""
_NOTHING = Usage()


class Billed:
    """Knows the price of every answer: also of one that broke off, or that nobody waited for."""

    def __init__(self, record: Record, *, cost_of: CostOf, estimate: Estimate, clock: Clock = SYSTEM_CLOCK) -> None:
        """`estimate` counts tokens where the provider did not say how many there were."""
        self._record = record
        self._cost_of = cost_of
        self._estimate = estimate
        self._now, self._monotonic = clock.now, clock.monotonic

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Pass on, with the price on the reply."""
        started_at, begun = self._now(), self._monotonic()
        first_s: float | None = None
        reply: ModelReply | None = None
        outcome = "ok"
        said: list[Delta] = []
        try:
            events = proceed(call)
            try:
                async for event in events:
                    if type(event) is Delta:
                        if first_s is None:
                            first_s = self._monotonic() - begun
                        said.append(event)
                        yield event
                    else:
                        reply = self._priced(call, event)  # type: ignore[arg-type]  # the other kind of event
                        yield reply
            finally:
                await close(events)
        except CorralError as error:
            outcome = error.code
            partial = getattr(error, "partial", None)
            if isinstance(partial, ModelReply):
                reply = self._counted(call, partial)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            if reply is None:  # else it was all there already
                outcome = "cancelled"
            raise
        except Exception:
            outcome = CorralError.code  # a fault of ours
            raise
        finally:
            if reply is None and said:
                reply = self._counted(call, _collected(said))
            self._over(call, reply, started_at, begun, first_s, outcome)

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        started_at, begun = self._now(), self._monotonic()
        outcome = CorralError.code
        reply: EmbedReply | None = None
        try:
            answer = await proceed(call)
            reply = msgspec.structs.replace(answer, cost_usd=self._cost_of(call.model, answer.usage))
            outcome = "ok"
            return reply  # noqa: TRY300 - what follows is for every end
        except CorralError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._over(call, reply, started_at, begun, None, outcome)

    def _priced(self, call: ModelCall, reply: ModelReply) -> ModelReply:
        if reply.cost_usd is not None:  # some providers say it themselves
            return reply
        return msgspec.structs.replace(reply, cost_usd=self._cost_of(call.model, reply.usage))

    def _counted(self, call: ModelCall, partial: ModelReply) -> ModelReply:
        """What had been said when it broke off is paid for as well."""
        usage = partial.usage if partial.usage.total else self._estimate(call, partial)
        return self._priced(call, msgspec.structs.replace(partial, usage=usage))

    def _over(
        self,
        call: ModelCall | EmbedCall,
        reply: ModelReply | EmbedReply | None,
        started_at: float,
        begun: float,
        first_s: float | None,
        outcome: str,
    ) -> None:
        self._record(
            call,
            Exchange(
                id=new_id(),
                provider=call.model.partition("/")[0],
                model=call.model,
                started_at=started_at,
                duration_s=self._monotonic() - begun,
                first_s=first_s,
                outcome=outcome,
                usage=_NOTHING if reply is None else reply.usage,
                cost_usd=None if reply is None else reply.cost_usd,
            ),
        )


def _collected(said: list[Delta]) -> ModelReply:
    collector = Collector()
    for delta in said:
        collector.add(delta)
    return collector.reply()
