"""The numbers of models: `corral_llm_*`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from corral.errors import ModelNotFound
from corral.messages import Caller, EmbedCall, ModelCall
from corral.models.exchange import Exchange
from corral.observability.metrics import Distribution, Metrics, Value

FIRST_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_UNKNOWN = "_unknown"
_KNOWN_MAX = 5_000
"""A caller may name any model: the numbers of those that come later are looked up each time."""
_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")


class Hedges(Protocol):
    """What is known of calls that were asked twice."""

    asked: int
    won: int


class _Numbers:
    """The numbers that an end changes: of one model, one way to end and one tenant."""

    __slots__ = ("cache_read", "cache_write", "cost", "duration", "first", "input", "output", "reasoning", "requests")

    def __init__(self, requests: Value, duration: Distribution, first: Distribution, tokens: tuple[Value, ...]) -> None:
        self.requests = requests
        self.duration = duration
        self.first = first
        self.input, self.output, self.cache_read, self.cache_write, self.reasoning = tokens
        self.cost: Value | None = None
        """None: nothing that was paid for has come yet."""


class ModelCounting:
    """Counts questions to providers, and what they took."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        m = metrics
        self._requests = m.counter(
            "corral_llm_requests_total", "Questions to models, by how they ended.", "model", "outcome"
        )
        self._duration = m.histogram(
            "corral_llm_duration_seconds", "How long models took for all of an answer.", "model", bounds=FIRST_SECONDS
        )
        self._first = m.histogram(
            "corral_llm_ttft_seconds", "Until the first piece of a streamed answer.", "model", bounds=FIRST_SECONDS
        )
        self._tokens = m.counter("corral_llm_tokens_total", "Tokens, in kinds that do not overlap.", "model", "type")
        self._cost = m.counter(
            "corral_llm_cost_usd_total", "What models cost, where a price is known.", "model", "tenant"
        )
        self._unpriced = m.counter("corral_llm_unpriced_total", "Answers of models whose price is not known.", "model")
        self._limited = m.counter("corral_provider_429_total", "Refusals because of a provider's limits.", "provider")
        self._open = m.gauge(
            "corral_llm_deployment_open",
            "1: this deployment failed too often, or asked for a pause, and is left alone by this worker.",
            "deployment",
            of_workers="highest",
        )
        self._p95 = m.gauge(
            "corral_llm_deployment_p95_seconds",
            "How long whole answers take lately.",
            "deployment",
            of_workers="highest",
        )
        self._hedged = m.counter(
            "corral_llm_hedges_total",
            "Calls that were asked twice, and those where the second one was faster.",
            "result",
        )
        self._known: dict[tuple[str, str, str], _Numbers] = {}

    def ended(self, call: ModelCall | EmbedCall, exchange: Exchange) -> None:
        """A question to a provider is over."""
        # Whoever asks for a model that nobody has must not have a label of it.
        outcome, tenant = exchange.outcome, call.caller.tenant
        model = _UNKNOWN if outcome == ModelNotFound.code else exchange.model
        numbers = self._known.get((model, outcome, tenant)) or self._numbers(model, outcome, tenant)
        numbers.requests.value += 1
        numbers.duration.observe(exchange.duration_s)
        if exchange.first_s is not None:
            numbers.first.observe(exchange.first_s)
        usage, cost_usd = exchange.usage, exchange.cost_usd
        numbers.input.value += usage.input
        numbers.output.value += usage.output
        if usage.cache_read:
            numbers.cache_read.value += usage.cache_read
        if usage.cache_write:
            numbers.cache_write.value += usage.cache_write
        if usage.reasoning:
            numbers.reasoning.value += usage.reasoning
        if outcome == "model_rate_limited":
            self._limited.value(exchange.provider).value += 1
        if cost_usd is not None:
            if numbers.cost is None:
                numbers.cost = self._cost.value(model, tenant)
            numbers.cost.value += cost_usd
        elif usage.total:
            self._unpriced.value(model).value += 1

    def batched(self, caller: Caller, exchange: Exchange) -> None:
        """A call of a batch is over: how long it was under way is nobody's waiting."""
        model, usage = exchange.model, exchange.usage
        self._requests.value(model, exchange.outcome).value += 1
        for kind in _KINDS:
            self._tokens.value(model, kind).value += getattr(usage, kind)
        if exchange.cost_usd is not None:
            self._cost.value(model, caller.tenant).value += exchange.cost_usd
        elif usage.total:
            self._unpriced.value(model).value += 1

    def stand(self, deployments: Iterable[Mapping[str, Any]], hedges: Hedges | None) -> None:
        """How deployments are doing."""
        for one in deployments:
            is_open = one["breaker"] != "closed" or one["cooling"]
            self._open.value(one["deployment"]).set(int(is_open))
            if one["total_p95_s"] is not None:
                self._p95.value(one["deployment"]).set(one["total_p95_s"])
        if hedges is not None:
            self._hedged.value("asked").set(hedges.asked)
            self._hedged.value("won").set(hedges.won)

    def _numbers(self, model: str, outcome: str, tenant: str) -> _Numbers:
        numbers = _Numbers(
            self._requests.value(model, outcome),
            self._duration.distribution(model),
            self._first.distribution(model),
            tuple(self._tokens.value(model, kind) for kind in _KINDS),
        )
        if len(self._known) < _KNOWN_MAX:
            self._known[model, outcome, tenant] = numbers
        return numbers
