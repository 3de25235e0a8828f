"""What a `TopicStore` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.errors import ValidationFailed
from corral.testing.contracts.setting import Contract
from corral.workflows.topic_store import EventRule, RulesFull, Target

if TYPE_CHECKING:
    from corral.backends.stores import Stores

MANY = 100


def rule(name: str = "big-orders", *, tenant: str = "acme", **more: Any) -> EventRule:
    """A rule to be saved."""
    return EventRule(tenant=tenant, name=name, **more)


class TopicContract(Contract):
    """Making, replacing, finding and removing rules."""

    async def test_what_was_saved_is_there(self, stores: Stores, other_stores: Stores) -> None:
        wanted = rule(
            topic="orders",
            pattern={"detail": {"total": [{"numeric": [">", 100]}, "Grüße \0 🌍"]}},
            targets=(Target(workflow="triage"), Target(job={"agent": "mail"}, input=None, input_path="$.detail")),
            description="big ones",
        )
        kept, is_new = await stores.topics.save(wanted, rules_max=MANY)
        assert is_new
        assert kept.created_at == kept.updated_at > 0
        assert msgspec.structs.replace(kept, created_at=0.0, updated_at=0.0) == wanted
        assert await other_stores.topics.get("acme", "big-orders") == kept
        assert await stores.topics.get("acme", "other") is None
        assert await stores.topics.get("other", "big-orders") is None

    async def test_saving_again_replaces(self, stores: Stores) -> None:
        first, _ = await stores.topics.save(rule(), rules_max=MANY)
        second, is_new = await stores.topics.save(rule(topic="orders", paused=True), rules_max=MANY)
        assert not is_new
        assert (second.created_at, second.topic, second.paused) == (first.created_at, "orders", True)
        assert second.updated_at >= first.updated_at
        assert await stores.topics.rules("acme") == [second]

    async def test_who_listens_is_who_is_not_paused(self, stores: Stores, other_stores: Stores) -> None:
        for one in (rule("b"), rule("a"), rule("c", paused=True), rule("d", topic="other"), rule("e", tenant="other")):
            await stores.topics.save(one, rules_max=MANY)
        assert [one.name for one in await other_stores.topics.listening("acme", "default")] == ["a", "b"]
        assert [one.name for one in await stores.topics.rules("acme", topic="default")] == ["a", "b", "c"]
        assert [one.name for one in await stores.topics.rules("acme")] == ["a", "b", "c", "d"]
        assert [one.name for one in await stores.topics.rules("other")] == ["e"]

    async def test_removing_twice_is_removing_once(self, stores: Stores) -> None:
        await stores.topics.save(rule(), rules_max=MANY)
        await stores.topics.save(rule(tenant="other"), rules_max=MANY)
        assert await stores.topics.remove("acme", "big-orders")
        assert not await stores.topics.remove("acme", "big-orders")
        assert await stores.topics.listening("acme", "default") == []
        assert len(await stores.topics.listening("other", "default")) == 1

    async def test_a_tenant_has_no_more_than_it_may(self, stores: Stores) -> None:
        await stores.topics.save(rule("a"), rules_max=2)
        await stores.topics.save(rule("b"), rules_max=2)
        with pytest.raises(RulesFull):
            await stores.topics.save(rule("c"), rules_max=2)
        await stores.topics.save(rule("b", topic="orders"), rules_max=2)
        await stores.topics.save(rule("c", tenant="other"), rules_max=2)
        assert [one.topic for one in await stores.topics.rules("acme")] == ["default", "orders"]

    async def test_of_many_who_make_a_rule_one_makes_it(self, stores: Stores, other_stores: Stores) -> None:
        saved = await asyncio.gather(
            *(
                one.topics.save(rule(description=str(at)), rules_max=MANY)
                for at, one in enumerate([stores, other_stores] * 5)
            )
        )
        assert sum(is_new for _, is_new in saved) == 1
        assert len(await stores.topics.rules("acme")) == 1

    async def test_what_no_engine_can_keep_is_refused(self, stores: Stores) -> None:
        for wrong in (
            rule("nul\0"),
            rule(""),
            rule("x" * 600),
            rule(topic="half \ud800"),
            rule(pattern={"a": object()}),
        ):
            with pytest.raises(ValidationFailed):
                await stores.topics.save(wrong, rules_max=MANY)
        assert await stores.topics.get("acme", "nul\0") is None
        assert await stores.topics.rules("nul\0") == []
        assert await stores.topics.listening("acme", "half \ud800") == []
        assert not await stores.topics.remove("acme", "nul\0")
