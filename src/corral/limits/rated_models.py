"""The layer `rated`: tokens count where models are asked, by estimate before and by truth after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from corral.context import find_context
from corral.errors import (
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelUnavailable,
)
from corral.limits.learning import OutputSizes
from corral.limits.rates import Rates
from corral.limits.rules import Visitor
from corral.messages import (
    CallEmbedder,
    CallModel,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    Usage,
    closing,
)

_NOTHING_READ = (ModelRateLimited, ModelRequestInvalid, ModelAuthFailed, ModelNotFound, ModelUnavailable)
"""After these nothing was read, and nothing counts."""
_CHARS_PER_TOKEN = 4


class RatedModels:
    """Answers that were kept do not come here: they take no tokens."""

    def __init__(self, rates: Rates, input_tokens: Callable[[ModelCall | EmbedCall], int]) -> None:
        """`input_tokens` estimates what a call will read."""
        self._rates = rates
        self._input_tokens = input_tokens
        self._sizes = OutputSizes()

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Charge, go on, settle. Raises `RateExceeded`."""
        read = float(self._input_tokens(call))
        tokens = read + (call.max_tokens or self._sizes.of(call.model))
        admission = await self._rates.admit(visitor_of(call), tokens=tokens, where="model")
        took, written = read, 0
        try:
            async with closing(proceed(call)) as events:
                async for event in events:
                    if type(event) is ModelReply:
                        took = self._learnt(call.model, event.usage) or read + written / _CHARS_PER_TOKEN
                    else:
                        written += len(event.text)
                        took = read + written / _CHARS_PER_TOKEN
                    yield event
        except ModelFailed as error:
            partial = error.partial
            if isinstance(partial, ModelReply) and partial.usage.total:
                took = partial.usage.total
            elif isinstance(error, _NOTHING_READ) and not written:
                admission.undo()
            raise
        finally:
            admission.settle(took)

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        read = float(self._input_tokens(call))
        admission = await self._rates.admit(visitor_of(call), tokens=read, where="model")
        took = read
        try:
            reply = await proceed(call)
            took = reply.usage.total or read
            return reply  # noqa: TRY300 - what follows is for every end
        except _NOTHING_READ:
            admission.undo()
            raise
        finally:
            admission.settle(took)

    def _learnt(self, model: str, usage: Usage) -> float:
        if usage.total and not usage.estimated:
            self._sizes.learn(model, usage.output_tokens)
        return usage.total


def visitor_of(call: ModelCall | EmbedCall) -> Visitor:
    """Who is counted for a call."""
    caller = call.caller
    context = find_context()
    return Visitor(
        tenant=caller.tenant,
        key="" if context is None else context.key_id,
        user=caller.user_id,
        session=caller.session_id,
        tier=caller.tier,
        agent=caller.agent,
        model=call.model,
    )
