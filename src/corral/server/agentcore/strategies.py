"""Strategies as the service writes them, and as memories keep them."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.errors import ValidationFailed
from corral.memory.resources import MemoryResource, Prompting, Strategy, StrategyKind, Triggers, variables_of
from corral.server.agentcore.checking import check, refusal
from corral.server.agentcore.ids import fresh_id
from corral.server.agentcore.shapes import TRIGGERS

_WRAPPERS: dict[str, StrategyKind] = {
    "semanticMemoryStrategy": "semantic",
    "summaryMemoryStrategy": "summary",
    "userPreferenceMemoryStrategy": "preference",
    "episodicMemoryStrategy": "episodic",
}
_OVERRIDES: dict[str, StrategyKind] = {
    "semanticOverride": "semantic",
    "summaryOverride": "summary",
    "userPreferenceOverride": "preference",
    "episodicOverride": "episodic",
    "selfManagedConfiguration": "self_managed",
}
_WORDS: dict[StrategyKind, str] = {
    "semantic": "semantic",
    "summary": "summary",
    "preference": "userPreference",
    "episodic": "episodic",
    "self_managed": "selfManaged",
}
_TYPES: dict[StrategyKind, str] = {
    "semantic": "SEMANTIC",
    "summary": "SUMMARIZATION",
    "preference": "USER_PREFERENCE",
    "episodic": "EPISODIC",
    "self_managed": "CUSTOM",
}
_OVERRIDE_TYPES: dict[StrategyKind, str] = {
    "semantic": "SEMANTIC_OVERRIDE",
    "summary": "SUMMARY_OVERRIDE",
    "preference": "USER_PREFERENCE_OVERRIDE",
    "episodic": "EPISODIC_OVERRIDE",
    "self_managed": "SELF_MANAGED",
}
_BY_ACTOR = "/strategies/{memoryStrategyId}/actors/{actorId}/"
_BY_SESSION = "/strategies/{memoryStrategyId}/actors/{actorId}/sessions/{sessionId}/"
_DEFAULTS: dict[StrategyKind, str] = {
    "semantic": _BY_ACTOR,
    "summary": _BY_SESSION,
    "preference": _BY_ACTOR,
    "episodic": _BY_SESSION,
    "self_managed": _BY_ACTOR,
}
_BUILT_IN = {"memoryStrategyId", "actorId", "sessionId"}
_PARTS = ("extraction", "consolidation", "reflection")


def strategy_of(wrapped: dict[str, Any], now: float) -> Strategy:
    """A strategy that somebody declares."""
    (wrapper, given), *_ = wrapped.items()
    configuration = given.get("configuration", {})
    custom = wrapper == "customMemoryStrategy"
    if custom and not configuration:
        raise refusal((f"memoryStrategies.{wrapper}.configuration", "Member must not be null"))
    kind = _OVERRIDES[next(iter(configuration))] if custom else _WRAPPERS[wrapper]
    override: dict[str, Any] = next(iter(configuration.values())) if custom else {}
    reflection = given.get("reflectionConfiguration") or override.get("reflection") or {}
    namespace = _template(given) or _DEFAULTS[kind]
    return Strategy(
        id=fresh_id(given["name"]),
        name=given["name"],
        kind=kind,
        namespace=namespace,
        description=given.get("description", ""),
        custom=custom,
        prompting=_prompting({part: override.get(part, {}) for part in _PARTS}),
        reflections=(_template(reflection) or namespace) if kind == "episodic" else "",
        triggers=_triggers(override) if kind == "self_managed" else None,
        configuration=_shown(kind, override),
        record_schema=given.get("memoryRecordSchema", {}),
        expiry_days=given.get("recordExpirySpecification", {}).get("recordExpiryDurationDays"),
        created_at=now,
        updated_at=now,
    )


def modified(strategy: Strategy, given: dict[str, Any], now: float) -> Strategy:
    """A strategy after somebody changed it."""
    expiry = given.get("recordExpirySpecification")
    changed = msgspec.structs.replace(
        strategy,
        description=given.get("description", strategy.description),
        namespace=_template(given) or strategy.namespace,
        record_schema=given.get("memoryRecordSchema", strategy.record_schema),
        expiry_days=strategy.expiry_days if expiry is None else expiry.get("recordExpiryDurationDays"),
        updated_at=now,
    )
    configuration = given.get("configuration")
    return changed if configuration is None else _reconfigured(changed, configuration)


def _reconfigured(strategy: Strategy, configuration: dict[str, Any]) -> Strategy:
    if strategy.kind == "self_managed":
        own = configuration.get("selfManagedConfiguration", {})
        check(own.get("triggerConditions", [{"messageBasedTrigger": {}}]), TRIGGERS, at="triggerConditions")
        kept = {**strategy.configuration.get("selfManagedConfiguration", {}), **own}
        return msgspec.structs.replace(strategy, triggers=_triggers(kept), configuration=_shown(strategy.kind, kept))
    asked = {part: _innermost(configuration[part]) for part in _PARTS if part in configuration}
    if not strategy.custom:
        if set(asked) - {"reflection"} or strategy.kind != "episodic":
            raise ValidationFailed(f"The strategy {strategy.name} has no prompts of its own: declare a custom one.")
        return msgspec.structs.replace(strategy, reflections=_template(asked["reflection"]) or strategy.reflections)
    kept = {**_parts(strategy), **asked}
    return msgspec.structs.replace(strategy, prompting=_prompting(kept), configuration=_shown(strategy.kind, kept))


def _innermost(part: dict[str, Any]) -> dict[str, Any]:
    """What a change wraps twice: `{"customExtractionConfiguration": {"semanticExtractionOverride": {…}}}`."""
    while len(part) == 1 and isinstance(inner := next(iter(part.values())), dict):
        part = inner
    return part


def _parts(strategy: Strategy) -> dict[str, Any]:
    return {part: _innermost(strategy.configuration[part]) for part in _PARTS if part in strategy.configuration}


def _template(given: dict[str, Any]) -> str:
    templates: list[str] = given.get("namespaceTemplates") or given.get("namespaces") or [""]
    return templates[0]


def _prompting(parts: dict[str, Any]) -> Prompting:
    said = {part: parts.get(part, {}) for part in _PARTS}
    models = [one["modelId"] for one in said.values() if one.get("modelId")]
    return Prompting(
        model=models[0] if models else "",
        extraction=said["extraction"].get("appendToPrompt", ""),
        consolidation=said["consolidation"].get("appendToPrompt", ""),
        reflection=said["reflection"].get("appendToPrompt", ""),
    )


def _triggers(given: dict[str, Any]) -> Triggers:
    target = given.get("invocationConfiguration", {}).get("topicArn", "")
    found: dict[str, Any] = {"agent": target.rpartition(":")[2], "history": given.get("historicalContextWindowSize", 4)}
    for condition in given.get("triggerConditions", ()):
        for field, wrapper, member in (
            ("messages", "messageBasedTrigger", "messageCount"),
            ("tokens", "tokenBasedTrigger", "tokenCount"),
            ("idle_s", "timeBasedTrigger", "idleSessionTimeout"),
        ):
            value = condition.get(wrapper, {}).get(member)
            if value is not None:
                found[field] = value
    return Triggers(**found)


def _shown(kind: StrategyKind, override: dict[str, Any]) -> dict[str, Any]:
    """The configuration as the service answers it: each part wrapped by what it overrides."""
    if not override:
        return {}
    if kind == "self_managed":
        triggers = _triggers(override)
        shown = {
            "triggerConditions": [
                {"messageBasedTrigger": {"messageCount": triggers.messages}},
                {"tokenBasedTrigger": {"tokenCount": triggers.tokens}},
                {"timeBasedTrigger": {"idleSessionTimeout": int(triggers.idle_s)}},
            ],
            "invocationConfiguration": override.get("invocationConfiguration", {}),
            "historicalContextWindowSize": triggers.history,
        }
        return {"type": _OVERRIDE_TYPES[kind], "selfManagedConfiguration": shown}
    parts = {
        part: {
            f"custom{part.capitalize()}Configuration": {f"{_WORDS[kind]}{part.capitalize()}Override": override[part]}
        }
        for part in _PARTS
        if part in override
    }
    return {"type": _OVERRIDE_TYPES[kind], **parts}


def check_strategies(memory: MemoryResource) -> None:
    """Refuse strategies of one name, and namespaces with variables that nothing fills."""
    names = [strategy.name for strategy in memory.strategies]
    if len(set(names)) != len(names):
        raise ValidationFailed("Two strategies have the same name: give each a name of its own.")
    known = _BUILT_IN | {str(one["key"]) for one in memory.namespace_keys}
    for strategy in memory.strategies:
        unknown = variables_of(strategy.namespace + strategy.reflections) - known
        if unknown:
            raise ValidationFailed(
                f"The namespace of {strategy.name} names {{{min(unknown)}}}, which nothing fills; known are "
                f"{', '.join(f'{{{name}}}' for name in sorted(known))}."
            )


def shown(strategy: Strategy) -> dict[str, Any]:
    """A strategy as the service answers it."""
    answer: dict[str, Any] = {
        "strategyId": strategy.id,
        "name": strategy.name,
        "type": "CUSTOM" if strategy.custom else _TYPES[strategy.kind],
        "namespaces": [strategy.namespace],
        "namespaceTemplates": [strategy.namespace],
        "status": "ACTIVE",
        "createdAt": strategy.created_at,
        "updatedAt": strategy.updated_at,
    }
    configuration = dict(strategy.configuration)
    if strategy.reflections and "reflection" not in configuration:
        templates = [strategy.reflections]
        configuration["reflection"] = {
            "episodicReflectionConfiguration": {"namespaces": templates, "namespaceTemplates": templates}
        }
    optional = {
        "description": strategy.description,
        "configuration": configuration,
        "memoryRecordSchema": strategy.record_schema,
        "recordExpiryDurationDays": strategy.expiry_days,
    }
    return answer | {name: value for name, value in optional.items() if value}
