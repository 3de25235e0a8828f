"""The pace of calls: no faster than a provider allows, whichever worker makes them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import (
    ModelAuthFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelUnavailable,
    PaceExceeded,
)
from corral.limits.buckets import Rule
from corral.limits.gate import Gate
from corral.limits.learning import OutputSizes
from corral.messages import (
    CallEmbedder,
    CallModel,
    EmbedCall,
    EmbedReply,
    ModelCall,
    ModelEvent,
    ModelReply,
    Usage,
    close,
)
from corral.observability.metrics import Value

if TYPE_CHECKING:
    from corral.limits.counting import LimitCounting
    from corral.limits.store import LimitStore
    from corral.settings.model_sections import LimitSettings, ModelSettings

_NOTHING_READ = (ModelRateLimited, ModelRequestInvalid, ModelAuthFailed, ModelNotFound, ModelUnavailable)
"""After these the provider counts no tokens."""
_ELSEWHERE = "deployments.left"
"""In a call's notes: how many other places could be asked at once."""
_PATIENCE_S = 0.25
"""With another place to ask, nobody waits longer than that."""
_CHARS_PER_TOKEN = 4
_MODELS_MAX = 4_096
"""A caller may name any model: the gates of those that come later are looked up each time."""

InputTokens = Callable[[ModelCall | EmbedCall], int]
"""How many tokens a call will read, estimated."""


def rules_of(models: ModelSettings) -> dict[str, Rule]:
    """What the settings say of each provider."""
    return {
        name: Rule(
            concurrency=one.concurrency,
            requests_per_minute=one.requests_per_minute,
            tokens_per_minute=one.tokens_per_minute,
            tokens_capacity=one.tokens_capacity,
            cache_read_counts=one.kind not in {"anthropic", "bedrock"},
        )
        for name, one in models.providers.items()
    }


class Pace:
    """The layer `paced`. A call passes the limit of its provider, and that of its model there if it has one of its own.

    Before it is sent it is charged what it will probably take: its input as estimated, and `max_tokens` or what the model
    usually writes. After it, however it ended, that is set right. One instance per event loop.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        store: LimitStore,
        settings: LimitSettings,
        input_tokens: InputTokens,
        *,
        counting: LimitCounting | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`rules` by provider, or by `provider/model`; who is in none of them passes."""
        self._settings = settings
        self._input_tokens = input_tokens
        self._counting = counting
        self._monotonic = clock.monotonic
        self._sizes = OutputSizes()
        who = new_id()
        self._gates = {
            key: Gate(key, rule, store, holder=who, lease_s=settings.lease_s, clock=clock, chance=chance)
            for key, rule in rules.items()
        }
        self._known: dict[str, _Gates] = {}

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Nothing is held until somebody calls."""

    async def drain(self) -> None:
        """Nothing goes on here by itself: calls that wait belong to whoever made them, and have their deadlines."""

    async def stop(self) -> None:
        """Give back what is held. Stopping twice is stopping once."""
        for gate in self._gates.values():
            await gate.stop()

    # -- the layer ---------------------------------------------------------------------------------------------------

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Wait for room, and go on."""
        passage, notes = await self._enter(call), call.notes
        try:
            events = proceed(call)
            try:
                async for event in events:
                    if type(event) is ModelReply:
                        passage.usage = event.usage
                    else:
                        passage.written += len(event.text)
                    if notes.get("limits") is not passage.seen:
                        self._hear(passage, call)
                    yield event
            finally:
                await close(events)
        except Exception as error:
            passage.failed(error)
            raise
        finally:
            self._leave(passage, call)

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        passage = await self._enter(call)
        try:
            reply = await proceed(call)
            passage.usage = reply.usage
            return reply  # noqa: TRY300 - what follows is for every end
        except Exception as error:
            passage.failed(error)
            raise
        finally:
            self._leave(passage, call)

    def headroom(self, model: str) -> float:
        """How much room there is for calls of `provider/model`, from 1 (all of it) to 0: they wait."""
        return min((gate.headroom() for gate in self._gates_of(model)), default=1.0)

    def status(self) -> list[dict[str, object]]:
        """How each limit stands, for people; the gauges are set on the way."""
        shown: list[dict[str, object]] = []
        for key, gate in self._gates.items():
            tokens, requests = gate.left()
            if self._counting is not None:
                self._counting.stands(key, tokens=tokens, requests=requests, waiting=gate.waiting)
            held = gate.held
            shown.append(
                {
                    "key": key,
                    "running": gate.used,
                    "waiting": gate.waiting,
                    "headroom": round(gate.headroom(), 3),
                    "tokens_left": round(tokens),
                    "requests_left": round(requests),
                    "held_tokens": round(held[0]),
                    "held_slots": held[2],
                }
            )
        return shown

    # -- inside ------------------------------------------------------------------------------------------------------

    def _gates_of(self, model: str) -> _Gates:
        known = self._known.get(model)
        if known is None:
            # The narrower one first: who waits for it does not hold what others could use.
            keys = [key for key in (model, model.partition("/")[0]) if key in self._gates]
            passed = self._counting.passed(keys[-1]) if keys and self._counting is not None else Value()
            known = _Gates([self._gates[key] for key in keys], passed)
            if len(self._known) < _MODELS_MAX:
                self._known[model] = known
        return known

    async def _enter(self, call: ModelCall | EmbedCall) -> _Passage:
        """Pass all gates, or none."""
        gates = self._known.get(call.model) or self._gates_of(call.model)
        read = tokens = self._input_tokens(call) if gates.meters_tokens else 0.0
        if read and isinstance(call, ModelCall):
            tokens += call.max_tokens or self._sizes.of(call.model)
        began = deadline = 0.0
        entered = 0
        try:
            for gate in gates:
                if not gate.try_enter(tokens):
                    if not began:
                        began = self._monotonic()
                        deadline = self._deadline(call, began)
                    await gate.enter(tokens, priority=call.caller.priority, deadline=deadline)
                entered += 1
        except BaseException as error:
            for gate in gates[:entered]:
                gate.leave(tokens, 0.0, sent=False)
            if self._counting is not None and isinstance(error, PaceExceeded):
                self._counting.refused(gates[-1].key)
            raise
        if began:
            self._waited(call, gates[-1].key, self._monotonic() - began)
        else:
            gates.passed.value += 1
        return _Passage(gates, read, tokens, call.notes.get("limits"))

    def _waited(self, call: ModelCall | EmbedCall, key: str, seconds: float) -> None:
        call.notes["paced.waited_s"] = round(call.notes.get("paced.waited_s", 0.0) + seconds, 6)
        if self._counting is not None:
            self._counting.waited(key, seconds)

    def _deadline(self, call: ModelCall | EmbedCall, now: float) -> float:
        deadline = now + self._settings.wait_max_s
        if call.deadline is not None:
            deadline = min(deadline, call.deadline)
        if call.notes.get(_ELSEWHERE):
            deadline = min(deadline, now + _PATIENCE_S)
        return deadline

    def _hear(self, passage: _Passage, call: ModelCall | EmbedCall) -> None:
        """What this answer said about the limits, once."""
        passage.seen = call.notes.get("limits")
        if self._settings.learn and passage.seen is not None:
            for gate in passage.gates:
                gate.hear(passage.seen)

    def _leave(self, passage: _Passage, call: ModelCall | EmbedCall) -> None:
        if call.notes.get("limits") is not passage.seen:
            self._hear(passage, call)
        usage = passage.usage
        total = 0 if usage is None else usage.total
        if usage is None or not total:  # what the provider did not say is what we saw of it
            seen = passage.read + passage.written / _CHARS_PER_TOKEN
            for gate in passage.gates:
                gate.leave(passage.tokens, seen)
            return
        if not usage.estimated and passage.gates.meters_tokens:
            self._sizes.learn(call.model, usage.output_tokens)
        for gate in passage.gates:
            gate.leave(passage.tokens, total if gate.rule.cache_read_counts else total - usage.cache_read)


class _Gates(list[Gate]):
    """What a call has to pass, in order."""

    __slots__ = ("meters_tokens", "passed")

    def __init__(self, gates: list[Gate], passed: Value) -> None:
        """`passed`: where those are counted that pass at once."""
        super().__init__(gates)
        self.meters_tokens = any(gate.rule.tokens_per_minute is not None for gate in gates)
        self.passed = passed


class _Passage:
    """One call on its way: what it entered with, and what is known of what it took."""

    __slots__ = ("gates", "read", "seen", "tokens", "usage", "written")

    def __init__(self, gates: _Gates, read: float, tokens: float, seen: object) -> None:
        self.gates = gates
        self.read = read
        self.tokens = tokens
        self.written = 0
        self.usage: Usage | None = None
        self.seen = seen

    def failed(self, error: Exception) -> None:
        """Some errors say what it took, some that it took nothing, and some that others should stay away for a while."""
        partial = getattr(error, "partial", None)
        if isinstance(partial, ModelReply):
            self.usage = partial.usage
        elif isinstance(error, _NOTHING_READ):
            self.read, self.written = 0.0, 0
        if isinstance(error, ModelRateLimited) and not error.wished:
            for gate in self.gates[:1]:
                gate.refused(error.retry_after_s)
