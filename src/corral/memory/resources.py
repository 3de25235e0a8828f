"""A memory as it is declared: how long events are kept, and which strategies learn from them into which namespaces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from corral.memory.resource_store import Resource

StrategyKind = Literal["semantic", "summary", "preference", "episodic", "self_managed"]

MEMORY_KIND = "memory"
"""What memories are in the store of what is declared."""
HISTORY = "#history"
"""After a memory's id: the space in which earlier words of its records lie."""

_VARIABLE = re.compile(r"\{([a-zA-Z][a-zA-Z0-9]*)\}")


class Prompting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a memory's owner adds to the prompts of a strategy."""

    model: str = ""
    """Empty: the one that the settings name."""
    extraction: str = ""
    consolidation: str = ""
    reflection: str = ""


class Triggers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When the agent of a self-managed strategy is called: as soon as one of these holds."""

    messages: int = 6
    tokens: int = 5000
    idle_s: float = 1200.0
    agent: str = ""
    """Whom to call."""
    history: int = 4
    """How many messages before the new ones it is shown."""


class Strategy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to learn from conversations."""

    id: str
    name: str
    kind: StrategyKind
    namespace: str
    """A template: `/facts/{actorId}/`."""
    description: str = ""
    custom: bool = False
    """Declared with prompts of its own."""
    prompting: Prompting = Prompting()
    reflections: str = ""
    """Episodes: the namespace (a template) of what was learnt from several of them."""
    triggers: Triggers | None = None
    configuration: dict[str, Any] = {}
    """As it was declared, for whoever asks."""
    record_schema: dict[str, Any] = {}
    expiry_days: int | None = None
    """Records live so long."""
    created_at: float = 0.0
    updated_at: float = 0.0


class MemoryResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory."""

    id: str
    name: str
    event_expiry_days: int
    description: str = ""
    strategies: list[Strategy] = []
    indexed_keys: list[dict[str, str]] = []
    namespace_keys: list[dict[str, Any]] = []
    asides: dict[str, str] = {}
    """What is only given back: roles, encryption keys."""
    created_at: float = 0.0
    updated_at: float = 0.0

    def strategy(self, strategy_id: str) -> Strategy | None:
        """The strategy of this id."""
        return next((one for one in self.strategies if one.id == strategy_id), None)


def memory_of(resource: Resource) -> MemoryResource:
    """A memory as it was kept."""
    memory = msgspec.convert(resource.body, MemoryResource)
    return msgspec.structs.replace(memory, created_at=resource.created_at, updated_at=resource.updated_at)


def filled(template: str, values: Mapping[str, str]) -> str:
    """A namespace with its variables filled in; one that has no value stays as it is."""
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), template)


def variables_of(template: str) -> set[str]:
    """The variables a template names."""
    return set(_VARIABLE.findall(template))
