"""`auto`: which model answers a call, and why."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from corral.errors import ConfigError, ModelNotFound
from corral.messages import CallModel, ModelCall, ModelEvent, closing
from corral.models.answer_checks import Check, check_from
from corral.models.classifiers import Classify, Verdict, classifier_from, function_at, shares_of
from corral.models.classifying import Heuristic
from corral.models.escalating import upwards
from corral.models.lost import nearest
from corral.models.naming import Naming
from corral.settings.model_sections import NamedModelSettings, RouterSettings

AUTO = "auto"


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do; what is not known is taken for granted."""

    images: bool = True
    tools: bool = True
    schema: bool = True
    context_tokens: int | None = None


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the router asks others about models; all of it is optional."""

    abilities: Callable[[str], Abilities] = lambda _: Abilities()
    tokens: Callable[[ModelCall], int] = lambda call: sum(len(str(p)) for m in call.messages for p in m.content) // 3
    """How much there is to read: estimated, and asked for only when a model's window is known."""
    p95: Callable[[str, bool], float | None] = lambda _model, _stream: None
    """How slow a model is lately; the second argument: until the first piece of a stream, or the whole answer."""
    cost: Callable[[str], float | None] = lambda _: None


def abilities_of(names: Mapping[str, NamedModelSettings], naming: Naming) -> Callable[[str], Abilities]:
    """What the settings and the price table know of names and models."""

    @functools.lru_cache(maxsize=1_000)
    def abilities(model: str) -> Abilities:
        named = names.get(model)
        lacks = () if named is None else named.lacks
        chain = naming.chain(model)
        windows = [naming.context_tokens(stage, name) for stage in chain.stages for name, _ in stage.deployments]
        # Its fallbacks count: a name can read what any of its places can.
        return Abilities(
            images="images" not in lacks,
            tools="tools" not in lacks,
            schema="schema" not in lacks,
            context_tokens=max((window for window in windows if window is not None), default=None),
        )

    return abilities


class Router:
    """Answers calls to `auto` (or `auto:CLASS`) with a model by class; every other call passes untouched.

    A call goes up to the next class whose model can do what it needs (images, tools, a schema, its length). What was decided
    is in the notes: `route.class`, `route.to`, `route.reason`.
    """

    def __init__(
        self,
        settings: RouterSettings,
        *,
        fallback_model: str = "",
        classifier: Callable[..., Any] | None = None,
        check: Callable[..., Any] | None = None,
        surroundings: Surroundings | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`fallback_model` answers `auto` without classes. `classifier` and `check` go before those of the settings.

        Raises `ConfigError` for what cannot be right.
        """
        self._settings = settings
        self._classes = tuple(settings.classes)
        self._models = tuple(settings.classes.values())
        self._places = tuple(settings.classes.items()) or (("", fallback_model),)
        """Classes and their models; without classes, what answers in their place."""
        self._number = {name: number for number, name in enumerate(settings.classes)}
        self._around = surroundings or Surroundings()
        self._chance = chance
        if settings.default and settings.default not in settings.classes:
            raise ConfigError(
                f"models.router.default is no class. {nearest(settings.default, self._classes, 'Classes')}"
            )
        for name in settings.shares:
            if name not in settings.classes:
                raise ConfigError(f"models.router.shares.{name} is no class. {nearest(name, self._classes, 'Classes')}")
        for name, model in settings.classes.items():
            if model.partition(":")[0] == AUTO:
                raise ConfigError(f"models.router.classes.{name} is `{model}`, which leads back here: name a model.")
        self._shares = {
            name: shares_of(weights, f"models.router.shares.{name}") for name, weights in settings.shares.items()
        }
        self._takes_the_first = settings.prefer not in {"cost", "latency"} and settings.latency_s is None
        """Neither cost nor latency is looked at: a class whose model is able is taken."""
        self._default = settings.default or (self._classes[0] if self._classes else "")
        self._classify = classifier_from(
            classifier or settings.classifier, self._classes or ("",), timeout_s=settings.classifier_s
        )
        own_check = check or (function_at(settings.check, "models.router.check") if settings.check else None)
        self._check: Check | None = check_from(own_check) if settings.escalate else None

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """The layer."""
        name, _, wanted = call.model.partition(":")
        if name != AUTO:
            return proceed(call)
        if wanted or call.policy.route or not self._classes:
            return self._routed(call, self._said(call, wanted), proceed)
        if isinstance(self._classify, Heuristic):
            return self._routed(call, self._classify(call), proceed)
        return self._asked_about(call, self._classify, proceed)

    async def _asked_about(self, call: ModelCall, classify: Classify, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """A classifier that takes its time."""
        async with closing(self._routed(call, await classify(call, proceed), proceed)) as events:
            async for event in events:
                yield event

    def _routed(self, call: ModelCall, verdict: Verdict, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        index, reason = self._decide(call, verdict)
        name, model = self._places[index]
        if name in self._shares:
            model, reason = self._compared(name, call), f"{reason}; compared by shares"
        elif not model:
            raise ModelNotFound(
                "Nothing answers `auto`: set `models.router.classes`, or name a provider in `models.providers`."
            )
        notes = call.notes
        notes["route.class"] = name
        notes["route.to"] = model
        notes["route.reason"] = reason
        asked = replace(call, model=model)
        return proceed(asked) if self._check is None else self._checked(asked, index, proceed, self._check)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def _said(self, call: ModelCall, wanted: str) -> Verdict:
        """The class, where the classifier need not be asked."""
        named = wanted or (call.policy.route if self._classes else "")
        if not named:
            return "", ""
        if named not in self._number:
            raise ModelNotFound(f"There is no class {named!r} to route to. {nearest(named, self._classes, 'Classes')}")
        return named, "the caller said so"

    def _decide(self, call: ModelCall, verdict: Verdict) -> tuple[int, str]:
        """The class by number, and why."""
        if not self._classes:
            return 0, "there are no classes"
        found, reason = verdict
        index = self._number.get(found)
        if index is None:
            if found:
                reason = f"the classifier said {found!r}, which is no class"
            index, reason = self._number[self._default], f"{reason}; so the default"
        if self._takes_the_first and not self._lack(self._models[index], call):
            return index, reason
        return self._able(index, reason, call)

    def _able(self, index: int, reason: str, call: ModelCall) -> tuple[int, str]:
        """The nearest class from `index` upwards (else downwards) whose model can; the preferred one of those."""
        lacks = [self._lack(model, call) for model in self._models]
        able = [number for number, lack in enumerate(lacks) if not lack]
        if not able:
            return index, f"{reason}; no model is known to do it all ({lacks[index]})"
        above = [number for number in able if number >= index] or [able[-1]]
        found = above[0]
        if found != index:
            reason = f"{reason}; {self._models[index]} {lacks[index]}"
        found, why = self._preferred(found, above, able, call.stream)
        return found, f"{reason}; {why}" if why else reason

    def _lack(self, model: str, call: ModelCall) -> str:
        """What a model cannot do of what a call needs."""
        can = self._around.abilities(model)
        if call.tools and not can.tools:
            return "cannot call tools"
        if call.output is not None and call.output.schema is not None and not can.schema:
            return "cannot keep to a schema"
        if not can.images and any(part.get("type") == "image" for one in call.messages for part in one.content):
            return "cannot see images"
        if can.context_tokens is not None and self._tokens(call) + (call.max_tokens or 0) > can.context_tokens:
            return f"reads no more than {can.context_tokens} tokens"
        return ""

    def _tokens(self, call: ModelCall) -> int:
        """Estimated once for each call, however many models it is compared with."""
        known: int | None = call.notes.get("route.tokens")
        if known is None:
            known = call.notes["route.tokens"] = self._around.tokens(call)
        return known

    def _preferred(self, found: int, above: list[int], able: list[int], stream: bool) -> tuple[int, str]:
        """By latency and cost, where the operator cares."""
        models = self._models

        def slow(number: int) -> float:
            return self._around.p95(models[number], stream) or 0.0

        def price(number: int) -> float:
            cost = self._around.cost(models[number])
            return float("inf") if cost is None else cost

        why = ""
        if self._settings.prefer == "cost" and len(above) > 1:
            cheapest = min(above, key=price)
            if price(cheapest) < price(found):
                found, why = cheapest, "it is cheaper"
        elif self._settings.prefer == "latency" and len(above) > 1:
            quickest = min(above, key=slow)
            if slow(quickest) < slow(found):
                found, why = quickest, "it is quicker"
        limit = self._settings.latency_s
        if limit is not None and slow(found) > limit:
            quick = [number for number in able if slow(number) <= limit]
            if quick:
                late = f"{models[found]} takes {slow(found):.3g} s (p95)"
                # The nearest class; of two, the abler one.
                return min(quick, key=lambda number: (abs(number - found), -number)), late
        return found, why

    def _compared(self, name: str, call: ModelCall) -> str:
        """The caller's side of a comparison: the same one each time."""
        shares, caller = self._shares[name], call.caller
        who = caller.session_id or caller.user_id or caller.run_id
        point = zlib.crc32(f"{name}\0{caller.tenant}\0{who}".encode()) / 2**32 if who else self._chance()
        for share in shares:
            if point < share.until:
                return share.model
        return shares[-1].model

    # -- escalating ----------------------------------------------------------------------------------------------------

    def _checked(self, call: ModelCall, index: int, proceed: CallModel, check: Check) -> AsyncIterator[ModelEvent]:
        """Ask, and ask the next class if the answer will not do."""
        woken = [call.model]
        at = index

        def higher() -> ModelCall | None:
            number = self._higher(at, woken, call)
            return None if number is None else replace(call, model=self._models[number])

        def decided(better: ModelCall, fault: str) -> None:
            nonlocal at
            at = self._higher(at, woken, call) or at
            woken.append(better.model)
            call.notes["route.class"] = self._classes[at]
            call.notes["route.to"] = better.model
            call.notes["route.reason"] += f"; escalated, {fault}"
            call.notes["route.escalated"] = call.notes.get("route.escalated", 0) + 1

        return upwards(call, proceed, check=check, higher=higher, decided=decided)

    def _higher(self, index: int, woken: list[str], call: ModelCall) -> int | None:
        """The next class up that can answer with another model; none: the answer at hand is the last word."""
        if len(woken) >= self._settings.models_max:
            return None
        for number in range(index + 1, len(self._classes)):
            model = self._models[number]
            if model not in woken and not self._lack(model, call):
                return number
        return None
