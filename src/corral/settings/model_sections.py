"""What an operator decides about models: who is asked, which answers are kept, and how much may be asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from corral.settings.rate_sections import ConcurrencySettings, RateName, RateSettings
from corral.settings.section import Count, Pause, Seconds, Section

Share = Annotated[float, Meta(ge=0, le=1)]


class ProviderSettings(Section, frozen=True):
    """One place where models are asked: an account, a region, a server of one's own."""

    kind: Literal["openai", "azure", "anthropic", "bedrock", "sim"] = "openai"
    """The language it speaks; `openai` is what vLLM, Ollama, OpenRouter and most others speak too."""
    base_url: str = ""
    """Where it is; empty: the kind's own public address."""
    api_key: str = ""
    """Its key: write `${VAR}` here. Empty: the kind's usual variable (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, the AWS chain)."""
    region: str = ""
    """AWS region; empty: as the AWS chain says."""
    headers: dict[str, str] = {}
    """Sent with every call."""
    query: dict[str, str] = {}
    """Added to every address (Azure's `api-version`)."""
    models: list[str] = []
    """Models to list; others may be asked as well."""
    timeout_s: Seconds = 600.0
    """Longest call."""
    connect_s: Seconds = 10.0
    """How long connecting may take."""
    idle_s: Seconds = 120.0
    """Longest silence before the first piece of an answer and between two."""
    concurrency: Count = 50
    """Calls at a time, over all workers."""
    requests_per_minute: Count | None = None
    """Calls a minute over all workers; none: no limit of ours, the provider's own answers are obeyed."""
    tokens_per_minute: Count | None = None
    """Tokens a minute over all workers."""
    tokens_capacity: Count | None = None
    """Most tokens that may have gathered; none: one minute's."""
    options: dict[str, Any] = {}
    """What only this kind knows: see `docs/models.md`."""


class NamedModelSettings(Section, frozen=True):
    """A name of one's own for a model: where it can be asked, and who answers if it cannot."""

    deployments: dict[str, Annotated[float, Meta(ge=0)]] = {}
    """The same model in several places: `provider/model` to its share, where shares decide."""
    balance: Literal["headroom", "weight", "latency", "cost", "order"] = "headroom"
    """Which of them is asked first."""
    fallback: list[str] = []
    """Names or `provider/model`, one after the other, if none of them answers."""
    fallback_on: list[Literal["content_filtered", "model_request_invalid"]] = []
    """Refusals that are usually the caller's to mend, and that somebody else is asked about all the same."""
    context_tokens: Count | None = None
    """What it can read, if the price table does not know."""
    lacks: list[Literal["images", "tools", "schema"]] = []
    """What it cannot do: the router sends such calls to a model that can."""


class RouterSettings(Section, frozen=True):
    """Which model answers a call to `auto`."""

    classes: dict[str, str] = {}
    """Model by class of call: `simple_query`, `complex_reasoning`, `expert_task`, or classes of one's own."""
    classifier: str = "heuristic"
    """`heuristic`, `model:NAME` (a small model is asked), or `module:function` of one's own."""
    default: str = ""
    """The class of calls that the classifier cannot tell; empty: the first one."""
    classifier_s: Seconds = 2.0
    """How long a model or a function may take to classify a call; then it gets the default class."""
    prefer: Literal["class", "cost", "latency"] = "class"
    """`cost`, `latency`: the cheapest or quickest of the models of a call's class and of those above it."""
    escalate: bool = False
    """Ask the next class's model if an answer fails its check."""
    check: str = ""
    """`module:function` that looks at an answer and says whether it will do; empty: refusals, cut-off and malformed answers fail."""
    models_max: Count = 2
    """Models that one call may wake, one after the other, when answers fail their check."""
    shares: dict[str, dict[str, float]] = {}
    """For comparisons: class to models and their weights, instead of one model."""
    latency_s: Seconds | None = None
    """Prefer models whose p95 is below this, live."""


class ModelSettings(Section, frozen=True):
    """Who is asked when an agent asks a model."""

    default: str = "auto"
    """The model of calls that name none. `auto` is routed; without `router.classes`, the first provider's first model."""
    providers: dict[str, ProviderSettings] = {}
    """Name to provider. The simulator is always there as `sim`; without any other, it answers."""
    names: dict[str, NamedModelSettings] = {}
    """Names of one's own, used like models."""
    router: RouterSettings = RouterSettings()
    """How `auto` is decided."""
    attempts_max: Count = 3
    """How often one deployment is asked when it fails in passing."""
    retry_initial_s: Pause = 0.5
    """Pause before the second attempt; each further one is twice as long, less what chance takes away."""
    retry_max_s: Seconds = 30.0
    """Longest pause; if a provider asks for a longer one, another deployment is asked at once."""
    hedge: bool = False
    """Ask a second deployment when the first one is slower than usual (p95), and take the faster answer."""
    hedge_share_max: Share = 0.05
    """Calls that may be asked twice."""
    breaker_failures: Count = 5
    """After so many failures in a row a deployment is left alone."""
    breaker_s: Seconds = 30.0
    """For so long; then one call tries it again."""
    embed_batch_max: Count = 128
    """Texts that are embedded together."""
    embed_wait_s: Pause = 0.003
    """How long a text waits for others."""
    prices: str = ""
    """A file with prices of one's own, over those that come along."""
    exact_tokens: bool = False
    """Count exactly where a model's vocabulary is public (extra `tokens`); else they are estimated."""
    capture: bool = False
    """Keep what was asked and answered in traces, redacted."""
    gateway: bool = True
    """Answer `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings` and `/v1/models`."""


class SemanticCacheSettings(Section, frozen=True):
    """Answers to questions that mean the same."""

    mode: Literal["off", "shadow", "serve", "fixed"] = "off"
    """`shadow` gathers evidence and serves nothing; `serve` serves once the evidence allows it; `fixed` trusts `similarity_threshold`."""
    similarity_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """For `fixed`: how alike two questions must be."""
    error_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.02
    """For `serve`: how many of the answers served may be wrong."""
    audit_share: Annotated[float, Meta(ge=0.01, le=1)] = 0.03
    """Share of hits that are asked anyway and compared, for ever."""
    embedder: str = ""
    """`onnx:FOLDER`, `package:NAME`, or `provider/model`. Needed unless the mode is `off`."""
    judge: str = ""
    """`module:function` that says whether a kept answer would have done; empty: a strict rule of thumb."""
    entries_max: Count = 10_000
    """Answers kept per tenant and scope."""
    temperature_max: Annotated[float, Meta(ge=0)] = 0.3
    """Calls hotter than this are left alone."""


class CacheSettings(Section, frozen=True):
    """Answers of models that are kept for the next who asks the same."""

    exact: bool = False
    """Keep answers, and give them to who asks exactly the same."""
    ttl_s: Seconds = 3600.0
    """How long."""
    stale_s: Pause = 0.0
    """How much longer an answer is still given while a new one is fetched."""
    negative_ttl_s: Pause = 60.0
    """How long a refusal that would not change (a bad request) is kept."""
    entries_max: Count = 100_000
    """Answers kept."""
    bytes_max: Count = 268_435_456
    """Bytes kept; what was not used for the longest time goes first."""
    local_max: Count = 2_000
    """Answers that a worker has at hand as well."""
    temperature_max: Annotated[float, Meta(ge=0)] = 2.0
    """Calls hotter than this are not kept."""
    coalesce: Literal["auto", "always", "never"] = "auto"
    """Ask once for identical calls at the same time: `auto`, where answers may be kept or chance plays no part."""
    key_generator: str = ""
    """`module:function` that says what makes two questions the same: the same text for both. Empty: all that is asked."""
    embeddings: bool = True
    """Keep vectors of texts."""
    semantic: SemanticCacheSettings = SemanticCacheSettings()
    """Answers to questions that mean the same."""


class LimitSettings(Section, frozen=True):
    """How often each caller may ask, and how much of the providers' limits is used; all of it shared between workers."""

    rates: dict[RateName, RateSettings] = {}
    """Limits on who asks, by name: `free_tier: {requests_per_minute: 10, tokens_per_day: 50000}`. More is answered 429."""
    concurrency: ConcurrencySettings = ConcurrencySettings()
    """How many invocations may run at the same time for one session, user, key or tenant."""

    lease_s: Seconds = 2.0
    """For how long a worker takes its part of a provider's limits at a time; one that dies loses no more than that."""
    wait_max_s: Seconds = 60.0
    """How long a call may wait for its turn, if it has no deadline of its own."""
    learn: bool = True
    """Believe providers' own headers and refusals about their limits."""
    ledger: bool = True
    """Write down what every call cost."""
    ledger_keep_s: Seconds = 34_560_000.0
    """How long: 400 days."""
