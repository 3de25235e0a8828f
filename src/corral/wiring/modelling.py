"""The models of a service: which layers are around a call, outermost first, in one list."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from corral.backends.stores import Stores
from corral.cache.coalescing import Coalesced
from corral.cache.counting import CacheCounting
from corral.cache.embeddings import CachedEmbeddings
from corral.cache.exact import Cached
from corral.cache.keys import KeyGenerator
from corral.cache.semantic.counting import SemanticCounting
from corral.cache.sharing import Sharing
from corral.cache.shelf import Shelf
from corral.cache.writing import GATHER_S
from corral.clock import SYSTEM_CLOCK
from corral.errors import ConfigError, CorralError
from corral.limits.batches import BatchAccounts
from corral.limits.budget import Budgeted, Estimate
from corral.limits.budgets import Budgets
from corral.limits.counting import LimitCounting
from corral.limits.ladder import Laddered
from corral.limits.learning import OutputSizes
from corral.limits.ledger import ledger_on
from corral.limits.meter import used
from corral.limits.pace import Pace, rules_of
from corral.limits.rated_models import RatedModels
from corral.limits.rates import Rates
from corral.limits.store import LedgerEntry, Spend, SpendBy, SpendQuery
from corral.messages import CallEmbedder, Caller, CallModel, EmbedCall, EmbedReply, ModelCall, Usage
from corral.models.bare_names import BareNames
from corral.models.billed import Billed
from corral.models.classifiers import function_at
from corral.models.connected import Models, use
from corral.models.counting import ModelCounting
from corral.models.deployments import Deployed
from corral.models.dispatch import dispatch, dispatch_embedding
from corral.models.exchange import Exchange
from corral.models.micro_batching import MicroBatching
from corral.models.own import OwnFunctions, own_router
from corral.models.prices import BATCH_PRICE, Price, PriceFile, PriceTable, hosts_of, price_table
from corral.models.provider import ModelInfo, Provider
from corral.models.providers import SIM, build_providers, first_model
from corral.models.retrying import Retried
from corral.models.routing import AUTO, Router, Surroundings, abilities_of
from corral.models.sim.catalog import MODELS
from corral.models.stack import EmbedLayer, ModelLayer, wrap
from corral.models.tokens import Tokens, estimate_usage
from corral.models.traced import Traced
from corral.observability.metrics import Metrics
from corral.settings.model_sections import CacheSettings, ModelSettings
from corral.settings.sections import Settings

if TYPE_CHECKING:
    from corral.cache.semantic.layer import Semantic

_log = logging.getLogger("corral.models")
_LIST_S = 10.0
_GATHER_ALONE_S = 0.1
_SAMPLE = 8
_TYPICAL = Usage(input=1_000, output=300)
_READ = Usage(input=1_000_000)
_WRITTEN = Usage(output=1_000_000)


class Modelling:
    """Answers questions to models, for agents of this process and for the gateway. Each step of its life may come twice."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        metrics: Metrics,
        *,
        own: OwnFunctions | None = None,
        budgets: Budgets | None = None,
        rates: Rates | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`own` goes before the settings; `budgets` are kept to, where there are any. Raises `ConfigError` for what cannot work; nothing is opened yet."""
        own = own or OwnFunctions()
        models = settings.models
        self._settings = models
        self._counting = ModelCounting(metrics)
        self._connected: Models | None = None
        self.providers = build_providers(models, os.environ if env is None else env, estimate_usage)
        self.prices = PriceTable([])
        """Read when it starts."""
        self.tokens = Tokens(exact=models.exact_tokens)
        self._answers = 0
        self._limited = LimitCounting(metrics)
        self.pace = Pace(
            rules_of(models), stores.limits, settings.limits, self.tokens.input_tokens, counting=self._limited
        )
        self.deployed = Deployed(
            models, headroom=self.pace.headroom, cost=self._typical_cost, context_tokens=self._context_tokens
        )
        self.router = Router(
            own_router(own, models.router),
            fallback_model=first_model(models),
            classifier=own.complexity_classifier if callable(own.complexity_classifier) else None,
            surroundings=Surroundings(
                abilities=abilities_of(models.names, self.deployed.naming),
                tokens=self.tokens.input_tokens,
                cost=self._typical_cost,
                p95=self.deployed.p95,
            ),
        )
        counting = CacheCounting(metrics)
        self._alone = settings.server.workers == 1 and settings.store.url.startswith("sqlite")
        # Where nobody else asks, nobody waits for entries to be in the store, and many are written together.
        gather_s = _GATHER_ALONE_S if self._alone else GATHER_S
        self._shelf = Shelf(stores.cache, settings.cache, counting=counting, gather_s=gather_s)
        self.semantic = self._semantic(settings.cache, stores, SemanticCounting(metrics, counting))
        self._key = own.cache_key_generator or _key_generator(settings.cache)
        shared = Coalesced(self._shelf, sharing=self._sharing(), generate=self._key)
        self.cached = Cached(self._shelf, generate=self._key, coalesced=shared)
        self._gathered = MicroBatching(size_max=models.embed_batch_max, wait_s=models.embed_wait_s)
        self._sizes = OutputSizes()
        self._rated = [] if rates is None else [RatedModels(rates, self.tokens.input_tokens)]
        self._budgets = budgets
        self._laddered = Laddered(budgets) if budgets is not None and budgets.has_ladders else None
        self._budgeted = Budgeted(budgets, self._estimate) if budgets is not None and budgets.rules else None
        self.ledger = ledger_on(stores.ledger) if settings.limits.ledger else None
        self._ledger_store = stores.ledger
        self.batches = BatchAccounts[Exchange](
            budgets=budgets,
            rates=rates,
            store=stores.budgets,
            estimate=self._estimate_in_batch,
            cost_of=self._cost_in_batch,
            told=self._told,
            now=SYSTEM_CLOCK.now,
        )
        self.call, self.embed = self._stack()

    def _stack(self) -> tuple[CallModel, CallEmbedder]:
        models = self._settings
        named = BareNames(models)
        traced = Traced(self._over, capture=models.capture)
        retried = Retried(
            attempts_max=models.attempts_max, pause_s=models.retry_initial_s, pause_max_s=models.retry_max_s
        )
        vectors = CachedEmbeddings(self._shelf)
        billed = Billed(self._over, cost_of=self._cost_of, estimate=estimate_usage)
        budgeted: list[Budgeted] = [] if self._budgeted is None else [self._budgeted]
        layers: list[ModelLayer] = [
            *([] if self._laddered is None else [self._laddered]),
            named,
            traced,
            self.cached,
            *([] if self.semantic is None else [self.semantic]),
            self.router,
            *self._rated,
            self.deployed,
            retried,
            *budgeted,
            self.pace,
            billed,
        ]
        embed = dispatch_embedding(self.providers)
        inner: list[EmbedLayer] = [billed, self.pace, *budgeted, retried]
        for layer in (*inner, self.deployed, self._gathered, *self._rated, vectors, traced, named):
            embed = functools.partial(layer.embed, proceed=embed)
        return wrap(dispatch(self.providers), layers), embed

    def _semantic(self, settings: CacheSettings, stores: Stores, counting: SemanticCounting) -> Semantic | None:
        """Loaded only where it is on: it needs numpy, and a model of its own."""
        if settings.semantic.mode == "off":
            return None
        try:
            from corral.cache.semantic.comparing import judge_at  # noqa: PLC0415 - see above
            from corral.cache.semantic.embedders import open_embedder  # noqa: PLC0415 - as above
            from corral.cache.semantic.layer import Semantic  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Answers by meaning need the package {error.name}: install corral[embeddings], or set "
                "`cache.semantic.mode: off`."
            ) from None
        self._refuse_letters(settings.semantic.embedder)
        embedder = open_embedder(settings.semantic.embedder, self._ask_embedder)
        return Semantic(
            settings.semantic,
            store=stores.semantic,
            embedder=embedder,
            counting=counting,
            ttl_s=settings.ttl_s,
            judge=judge_at(settings.semantic.judge) if settings.semantic.judge else None,
        )

    def _refuse_letters(self, embedder: str) -> None:
        """The simulator under another name places texts by their letters as well."""
        provider = self._settings.providers.get(embedder.partition("/")[0])
        if provider is not None and provider.kind == "sim":
            raise ConfigError(
                f"cache.semantic.embedder: {embedder!r} is simulated: it places texts by their letters, not by what they "
                "mean. Take a model: `onnx:FOLDER`, `package:NAME` or `provider/model`."
            )

    async def _ask_embedder(self, call: EmbedCall) -> EmbedReply:
        """Through all the layers, which are not there yet when this is handed on."""
        return await self.embed(call)

    def _sharing(self) -> Sharing | None:
        """With other processes, where there are some and answers are kept: that is how the others get theirs."""
        return None if self._alone or not self._shelf.settings.exact else Sharing(self._shelf)

    def _over(self, call: ModelCall | EmbedCall, exchange: Exchange) -> None:
        """A question is over, or was answered with what was kept."""
        if self._budgeted is not None:
            self._settle(self._budgeted, call, exchange)
        if not exchange.cached:
            used(exchange.usage)
            self._counting.ended(call, exchange)
            self._learn(call, exchange)
        if self.ledger is not None:
            self.ledger.add(_entry(call.caller, exchange, self.prices.version))

    def _settle(self, budgeted: Budgeted, call: ModelCall | EmbedCall, exchange: Exchange) -> None:
        cancelled = exchange.outcome == "cancelled"
        budgeted.billed(call, exchange.usage, exchange.cost_usd, cancelled=cancelled)
        if exchange.usage.output_tokens and not cancelled:
            self._sizes.learn(exchange.model, exchange.usage.output_tokens)

    def _estimate(self, call: ModelCall | EmbedCall) -> Estimate:
        """What a call will probably take: what it may write, or what its model usually does."""
        read, written = int(self.tokens.input_tokens(call)), 0
        if isinstance(call, ModelCall):
            written = call.max_tokens or int(self._sizes.of(call.model))
        usage = Usage(input=read, output=written)
        return Estimate(self.prices.cost_of(call.model, usage), usage.total)

    def _estimate_in_batch(self, call: ModelCall | EmbedCall) -> Estimate:
        usual = self._estimate(call)
        return usual if usual.usd is None else Estimate(usual.usd * self._share_in_batch(call.model), usual.tokens)

    def _cost_in_batch(self, model: str, usage: Usage) -> float | None:
        usual = self.prices.cost_of(model, usage)
        return None if usual is None else usual * self._share_in_batch(model)

    def _share_in_batch(self, model: str) -> float:
        price = self.prices.of(model)
        return BATCH_PRICE if price is None or price.batch is None else price.batch

    def _told(self, caller: Caller, exchange: Exchange) -> None:
        """A call of a batch is over: it is on the bill, and no call that was made by itself."""
        self._counting.batched(caller, exchange)
        if self.ledger is not None:
            self.ledger.add(_entry(caller, exchange, self.prices.version))

    def _learn(self, call: ModelCall | EmbedCall, exchange: Exchange) -> None:
        """What providers count sets our estimates right; a sample is enough."""
        self._answers += 1
        if self._answers % _SAMPLE != 1:
            return
        read = exchange.usage.input_tokens
        if read and not exchange.usage.estimated:
            self.tokens.learn(call.model, self.tokens.input_tokens(call), read)

    def _cost_of(self, model: str, usage: Usage) -> float | None:
        return self.prices.cost_of(model, usage)

    def _typical_cost(self, model: str) -> float | None:
        """For comparing: of a call as most are."""
        return self.prices.cost_of(self.deployed.naming.first(model), _TYPICAL)

    def _context_tokens(self, model: str) -> int | None:
        price = self.prices.of(model)
        return None if price is None else price.context_tokens

    # -- life

    async def start(self) -> None:
        """Agents of this process may ask from now on."""
        if self._connected is not None:
            return
        models = self._settings
        self.prices = await asyncio.to_thread(
            price_table, models.prices, hosts=hosts_of(models.providers), more=[_simulated(models)]
        )
        for provider in self.providers.values():
            await provider.start()
        await self.tokens.start()
        await self.pace.start()
        await self.cached.start()
        if self.semantic is not None:
            await self.semantic.start()
        if self.ledger is not None:
            await self.ledger.start()
        self._connected = Models(
            self.call, self.embed, default=self._settings.default, providers=self.providers, batches=self.batches
        )
        use(self._connected)

    async def drain(self) -> None:
        """Begin nothing in the background any more; questions are still answered."""
        await self.cached.drain()
        if self.semantic is not None:
            await self.semantic.drain()
        if self.ledger is not None:
            await self.ledger.drain()

    async def stop(self) -> None:
        """Nobody asks any more: close every connection."""
        connected, self._connected = self._connected, None
        if connected is None:
            return
        before = use(None)
        if before is not connected:  # another service of this process has taken over
            use(before)
        if self.semantic is not None:
            await self.semantic.stop()
        await self._gathered.drain()
        await self._gathered.stop()
        await self.cached.stop()
        await self.pace.stop()
        if self.ledger is not None:
            await self.ledger.stop()
        for provider in self.providers.values():
            await provider.stop()

    # -- what people ask of models

    def gauge(self) -> None:
        """Set the gauges of limits and deployments: they are looked at, not told."""
        self.pace.status()
        if self._budgets is not None:
            self._budgets.gauge()
        self._counting.stand(self.deployed.status(), self.deployed.hedges)

    async def models(self, *, ask: bool = False) -> list[ModelInfo]:
        """What can be asked: names and classes of the settings, models that providers list; `ask`: ask them as well."""
        settings = self._settings
        found = [ModelInfo(id=AUTO)] if settings.router.classes or first_model(settings) else []
        found += [ModelInfo(id=f"{AUTO}:{name}") for name in settings.router.classes]
        found += [ModelInfo(id=name, context_tokens=one.context_tokens) for name, one in settings.names.items()]
        asked = await asyncio.gather(
            *(self._listed(name, provider, ask=ask) for name, provider in self.providers.items())
        )
        known = {model.id for model in found}
        found += [model for models in asked for model in models if model.id not in known]
        return found

    async def _listed(self, name: str, provider: Provider, *, ask: bool) -> list[ModelInfo]:
        settings = self._settings.providers.get(name)
        if settings is not None and settings.kind != "sim" and (settings.models or not ask):
            return [ModelInfo(id=f"{name}/{model}", provider=name) for model in settings.models]
        try:
            async with asyncio.timeout(_LIST_S):
                return await provider.models()
        except (CorralError, TimeoutError) as error:
            _log.warning("The models of %s cannot be listed: %s", name, str(error) or type(error).__name__)
            return []

    def price_per_million(self, model: str) -> dict[str, float | None]:
        """What a million tokens cost, read and written; none: not known."""
        first = self.deployed.naming.first(model) if model.partition(":")[0] != AUTO else model
        read, written = (self.prices.cost_of(first, usage) for usage in (_READ, _WRITTEN))
        return {"input_usd": read, "output_usd": written}

    def spent(self, call: ModelCall | EmbedCall) -> float | None:
        """What a question that was sent costs whatever its answer will be: that it is read. None: it still waits, or nobody knows."""
        notes = call.notes
        if "attempts" not in notes:  # answered with what was kept, or by the same question of somebody else
            return None
        model = str(notes.get("deployment") or notes.get("route.to") or call.model)
        return self.prices.cost_of(self.deployed.naming.first(model), Usage(input=int(self.tokens.input_tokens(call))))

    async def spend(self, tenant: str, *, since_s: float, by: SpendBy, tag: str = "", limit: int = 100) -> list[Spend]:
        """What a tenant's calls of the last so many seconds took, added up."""
        query = SpendQuery(since=SYSTEM_CLOCK.now() - since_s, by=by, tag=tag, limit=limit)
        return await self._ledger_store.spend(tenant, query)


def _key_generator(settings: CacheSettings) -> KeyGenerator | None:
    return function_at(settings.key_generator, "cache.key_generator") if settings.key_generator else None


def _simulated(settings: ModelSettings) -> PriceFile:
    """What simulated answers would cost if they were real ones."""
    names = [SIM, *(name for name, one in settings.providers.items() if one.kind == "sim")]
    prices = [
        Price(
            id=f"{name}/{model}",
            input=one.input_price,
            output=one.output_price,
            cache_read=one.cached_price,
            context_tokens=one.context_tokens,
        )
        for name in dict.fromkeys(names)
        for model, one in MODELS.items()
    ]
    return PriceFile(version="sim", models=tuple(prices))


def _entry(caller: Caller, exchange: Exchange, prices: str) -> LedgerEntry:
    return LedgerEntry(
        id=exchange.id,
        at=exchange.started_at,
        tenant=caller.tenant,
        agent=caller.agent,
        session_id=caller.session_id,
        run_id=caller.run_id,
        tags=caller.tags,
        provider=exchange.provider,
        model=exchange.model,
        usage=exchange.usage,
        cost_usd=exchange.cost_usd,
        cached=exchange.cached,
        duration_s=exchange.duration_s,
        first_s=exchange.first_s,
        outcome=exchange.outcome,
        prices=prices,
    )
