"""What a name in the settings stands for: places to ask, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from corral.errors import ConfigError, ModelNotFound
from corral.models.balancing import Balance
from corral.models.lost import unknown_model
from corral.settings.model_sections import NamedModelSettings, ProviderSettings

_PLAIN_MAX = 1_000
"""Callers may ask for any model: those that come later are understood each time."""


class Stage(msgspec.Struct, frozen=True):
    """The same model in one place or several."""

    deployments: tuple[tuple[str, float], ...]
    """`provider/model` and its share."""
    balance: Balance = "order"
    context_tokens: int | None = None


class Chain(msgspec.Struct, frozen=True):
    """Stages, one after the other: the next one is asked when the one before did not answer."""

    stages: tuple[Stage, ...]
    fallback_on: frozenset[str] = frozenset()
    """Codes of errors that are answered elsewhere although they usually are not."""


class Naming:
    """Names of one's own, understood once. A name goes before a model that is called the same."""

    def __init__(
        self,
        names: Mapping[str, NamedModelSettings],
        *,
        context_tokens: Callable[[str], int | None] = lambda _: None,
        providers: Mapping[str, ProviderSettings] | None = None,
    ) -> None:
        """Raises `ConfigError` for names that lead nowhere. `context_tokens` knows how much models can read; `providers`: who may be meant."""
        self._names = names
        self._providers = providers or {}
        self._context_tokens = context_tokens
        self._chains = {name: self._chain(name) for name in names}
        self._plain: dict[str, Chain] = {}

    def chain(self, model: str) -> Chain:
        """Where to ask. Raises `ModelNotFound` for what is neither a name nor `provider/model`."""
        found = self._chains.get(model) or self._plain.get(model)
        if found is None:
            if "/" not in model:
                raise ModelNotFound(unknown_model(model, self._names, self._providers), model=model)
            found = Chain((Stage(((model, 1.0),)),))
            if len(self._plain) < _PLAIN_MAX:
                self._plain[model] = found
        return found

    def first(self, model: str) -> str:
        """The first place of a name: what the model is, for its price and its abilities."""
        chain = self._chains.get(model)
        return model if chain is None else chain.stages[0].deployments[0][0]

    def context_tokens(self, stage: Stage, deployment: str) -> int | None:
        """How much it can read: what the settings say, else what is known."""
        return stage.context_tokens or self._context_tokens(deployment)

    def _chain(self, name: str) -> Chain:
        stages: list[Stage] = []
        self._gather(name, stages, [])
        if not stages:
            circle = self._circle(name)
            raise ConfigError(
                f"models.names.{name} leads nowhere{circle}: give it `deployments` (`provider/model: 1`)"
                f"{' or a `fallback`' if not circle else ''}."
            )
        return Chain(tuple(stages), frozenset(self._names[name].fallback_on))

    def _circle(self, name: str) -> str:
        """Names without places that fall back to each other, as people see it; empty: it has no fallback."""
        path = [name]
        while fallback := self._names[path[-1]].fallback:
            path.append(fallback[0])
            if path[-1] in path[:-1]:
                return f", as its fallbacks go in a circle ({' → '.join(path)})"
        return ""

    def _gather(self, name: str, stages: list[Stage], path: list[str]) -> None:
        """A name's own places, then all places of its fallbacks; a place that is there already does not come again."""
        named = self._names.get(name)
        if named is None or name in path:
            if named is None and "/" not in name:
                raise ConfigError(
                    f"models.names.{path[-1]}.fallback has {name!r}. {unknown_model(name, self._names, self._providers)}"
                )
            # A name that falls back to itself means the model of that name.
            self._add(stages, Stage(((name, 1.0),))) if "/" in name else None
            return
        for deployment in named.deployments:
            if "/" not in deployment:
                raise ConfigError(f"models.names.{name}.deployments has {deployment!r}: write `provider/model`.")
        stage = Stage(tuple(named.deployments.items()), named.balance, named.context_tokens)
        self._add(stages, stage)
        for other in named.fallback:
            self._gather(other, stages, [*path, name])

    def _add(self, stages: list[Stage], stage: Stage) -> None:
        there = {deployment for one in stages for deployment, _ in one.deployments}
        new = tuple(pair for pair in stage.deployments if pair[0] not in there)
        if new:
            stages.append(msgspec.structs.replace(stage, deployments=new))
