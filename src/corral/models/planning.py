"""Who is asked next for one call, and what to say when nobody is left."""

from __future__ import annotations

import msgspec

from corral.errors import (
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelUnavailable,
    PaceExceeded,
)
from corral.models.balancing import Balancing, Candidate
from corral.models.fleet import Deployment, Fleet
from corral.models.naming import Chain, Naming


class Place(msgspec.Struct, frozen=True):
    """A deployment within a chain."""

    deployment: Deployment
    stage: int
    """0: what was asked for; more: a fallback."""


class Plan:
    """The places of a chain that were not asked yet, best first."""

    __slots__ = ("_chain", "_left", "_naming", "_tried")

    def __init__(self, chain: Chain, fleet: Fleet, balancing: Balancing, naming: Naming, now: float) -> None:
        """Each stage is ordered by its own rule."""
        self._chain = chain
        self._naming = naming
        self._left: list[Place] = []
        self._tried: list[tuple[Place, ModelFailed]] = []
        for number, stage in enumerate(chain.stages):
            if len(stage.deployments) == 1:
                self._left.append(Place(fleet.get(stage.deployments[0][0]), number))
                continue
            candidates = [Candidate(name, share, fleet.get(name).live) for name, share in stage.deployments]
            for one in balancing.ordered(candidates, stage.balance, now):
                self._left.append(Place(fleet.get(one.name), number))

    @property
    def is_fresh(self) -> bool:
        """Whether nobody was asked yet."""
        return not self._tried

    def next(self, now: float) -> Place | None:
        """Take the best place that may be asked now; those that are left alone stay."""
        for place in self._left:
            if place.deployment.is_ready(now):
                self._left.remove(place)
                return place
        return None

    def ready(self, now: float) -> int:
        """How many more could be asked now."""
        return sum(place.deployment.is_ready(now) for place in self._left) if self._left else 0

    def twin(self, place: Place, now: float) -> Place:
        """Where the same model could be asked at the same time: elsewhere, or else in the same place again."""
        for other in self._left:
            if other.stage == place.stage and other.deployment.is_ready(now):
                return other
        return place

    def take(self, place: Place) -> None:
        """It is asked already."""
        if place in self._left:
            self._left.remove(place)

    def cooling_s(self, now: float) -> float | None:
        """When the first of those comes back that only want a pause; none: there is none."""
        waits = [one.deployment.cooling_until - now for one in self._left if one.deployment.breaker.allows(now)]
        return min(waits, default=None)

    def goes_on(self, place: Place, error: ModelFailed) -> bool:
        """Note a failure; whether somebody else may be asked."""
        self._tried.append((place, error))
        if isinstance(error, ContextTooLong):
            mine = self._reads(place)
            self._left = [one for one in self._left if not _is_smaller(self._reads(one), mine)]
            # Those that are known to read more come first, in their order; then those of whom nothing is known.
            self._left.sort(key=lambda one: self._reads(one) is None)
            return bool(self._left)
        if isinstance(error, ModelRequestInvalid):
            return error.code in self._chain.fallback_on
        return True

    def _reads(self, place: Place) -> int | None:
        """How many tokens there may be in a question; none: that is not known."""
        return self._naming.context_tokens(self._chain.stages[place.stage], place.deployment.name)

    def detour(self, place: Place) -> str:
        """For the trace: how a fallback came to answer."""
        before = [f"{tried.deployment.name} ({error.code})" for tried, error in self._tried]
        before += [f"{one.deployment.name} (left alone)" for one in self._left if one.stage < place.stage]
        return " → ".join([*before, place.deployment.name])

    def failure(self, model: str, now: float) -> ModelFailed:
        """What to raise: of the errors the one that says most, with what became of every place in its message."""
        if len(self._tried) == 1 and not self._left:
            return self._tried[0][1]
        lines = [f"{place.deployment.name}: {error.message}" for place, error in self._tried]
        lines += [f"{place.deployment.name} {place.deployment.reason(now)}" for place in self._left]
        waits = [one.deployment.wait_s(now) for one in self._left]
        waits += [error.retry_after_s for _, error in self._tried if error.retry_after_s is not None]
        message = f"Nobody answered for {model!r}: " + "; ".join(lines)
        errors = [error for _, error in self._tried]
        worst = min(errors, key=_rank, default=None)
        if worst is None:
            cooling = all(now < place.deployment.cooling_until for place in self._left)
            kind = ModelRateLimited if cooling else ModelUnavailable
            return kind(message, model=model, retry_after_s=min(waits, default=None))
        failure = type(worst)(
            message,
            provider=worst.provider,
            model=worst.model or model,
            provider_status=worst.provider_status,
            provider_code=worst.provider_code,
            retry_after_s=min(waits, default=None) if worst.retryable else None,
        )
        failure.__cause__ = worst
        return failure


def _is_smaller(other: int | None, mine: int | None) -> bool:
    return other is not None and mine is not None and other <= mine


def _rank(error: ModelFailed) -> int:
    """What a caller can do something about goes first: change the call, wait, try again; then what an operator must mend."""
    if isinstance(error, ModelRequestInvalid):
        return 0
    if isinstance(error, ModelRateLimited | PaceExceeded):
        return 1
    if isinstance(error, ModelAuthFailed):
        return 3
    return 4 if isinstance(error, ModelNotFound) else 2
