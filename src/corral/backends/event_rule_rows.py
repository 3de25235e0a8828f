"""Rules for events, as engines write and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from corral.backends.encoding import check_id, encode
from corral.workflows.topic_store import EventRule, Target

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Body(msgspec.Struct, frozen=True):
    """What a database need not understand of a rule."""

    pattern: dict[str, Any]
    targets: tuple[Target, ...]
    description: str = ""


_body = msgspec.json.Decoder(_Body)


def bound_of(rule: EventRule) -> dict[str, Any]:
    """A rule by the names that queries use. Raises `ValidationFailed` for what no engine could keep."""
    check_id("tenant", rule.tenant)
    check_id("rule's name", rule.name)
    check_id("topic", rule.topic)
    return {
        "tenant": rule.tenant,
        "name": rule.name,
        "topic": rule.topic,
        "paused": rule.paused,
        "body": encode(_Body(rule.pattern, rule.targets, rule.description), "The rule"),
    }


def rule_of(row: Sequence[Any]) -> EventRule:
    """What the columns tenant, name, topic, paused, created_at, updated_at and body say."""
    tenant, name, topic, paused, created_at, updated_at, packed = row
    body = _body.decode(packed)
    return EventRule(
        tenant=tenant,
        name=name,
        topic=topic,
        pattern=body.pattern,
        targets=body.targets,
        description=body.description,
        paused=bool(paused),
        created_at=created_at,
        updated_at=updated_at,
    )
