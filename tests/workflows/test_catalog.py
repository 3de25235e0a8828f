"""State machines, their versions and aliases, activities and tags, in a store."""

from __future__ import annotations

import asyncio

import pytest

from corral.backends.open import open_stores
from corral.errors import CursorNotFound, ValidationFailed
from corral.workflows.activities import Activities
from corral.workflows.arns import ArnInvalid, Arns
from corral.workflows.catalog import Catalog, MachineChange, MachineDraft
from corral.workflows.language.fault import DefinitionInvalid
from corral.workflows.publishing import Publishing
from corral.workflows.refusals import (
    ActivityNotFound,
    CatalogConflict,
    LoggingInvalid,
    NameInvalid,
    ParameterMissing,
    Referenced,
    RoutingInvalid,
    StateMachineDeleting,
    StateMachineExists,
    StateMachineNotFound,
    TooManyTags,
)
from corral.workflows.state_machine import Logging
from corral.workflows.tagging import Tagging
from ready import ready_url

ARNS = Arns(region="us-east-1", account="000000000000")
FLOW = ARNS.state_machine("flow")


def passing(word: str) -> str:
    """A definition that nobody could take for another word's."""
    return f'{{"Comment": "{word}", "StartAt": "A", "States": {{"A": {{"Type": "Pass", "End": true}}}}}}'


class House:
    """Everything that is declared, and two things that a test decides."""

    def __init__(self, stores) -> None:
        self.busy = False
        self.chance = 0.0
        self.catalog = Catalog(stores.resources, stores.definitions, ARNS, busy=self._busy, chance=lambda: self.chance)
        self.publishing = Publishing(self.catalog)
        self.activities = Activities(stores.resources, ARNS)
        self.tagging = Tagging(self.catalog, self.activities)

    async def _busy(self, tenant: str, arn: str) -> bool:
        return self.busy

    async def create(self, name: str = "flow", word: str = "one", **more):
        return await self.catalog.create("acme", MachineDraft(name=name, definition=passing(word), **more))


@pytest.fixture
async def house(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield House(stores)
    await stores.stop()


async def test_what_was_declared_is_found_by_its_tenant_alone(house):
    machine, version = await house.create(role_arn="arn:aws:iam::0:role/r", tags={"a": "1"})
    assert version is None
    assert (await house.catalog.named("acme", FLOW)) == (await house.catalog.get("acme", "flow"))
    assert machine.setup.role_arn == "arn:aws:iam::0:role/r"
    found = await house.catalog.resolve("acme", FLOW)
    assert (found.name, found.machine_arn, found.version_arn, found.alias_arn) == ("flow", FLOW, "", "")
    assert await house.catalog.definition("acme", found.setup.digest) == passing("one")
    assert [one.name for one in (await house.catalog.find("acme")).items] == ["flow"]
    assert (await house.catalog.find("other")).items == []
    for tenant, arn in (("other", FLOW), ("acme", Arns(region="eu", account="1").state_machine("flow"))):
        with pytest.raises(StateMachineNotFound, match="State Machine Does Not Exist"):
            await house.catalog.named(tenant, arn)
    with pytest.raises(ArnInvalid):
        await house.catalog.named("acme", ARNS.activity("flow"))
    with pytest.raises(LookupError):
        await house.catalog.definition("acme", "nothing")


async def test_creating_twice_is_creating_once(house):
    first, _ = await house.create()
    again, _ = await house.create(role_arn="another", tags={"b": "2"})
    assert (again.created_at, again.setup.role_arn, again.tags) == (first.created_at, "", {})
    for other in ({"word": "two"}, {"kind": "EXPRESS"}, {"tracing": True}, {"publish": True}):
        with pytest.raises(StateMachineExists, match=FLOW):
            await house.create(**other)
    results = await asyncio.gather(*(house.create("many", publish=True, description="d") for _ in range(8)))
    assert {version.number for _, version in results} == {1}
    with pytest.raises(StateMachineExists):
        await house.create("many", publish=True, description="e")


async def test_what_makes_no_sense_is_not_declared(house):
    with pytest.raises(NameInvalid, match="Invalid Name: 'a b'"):
        await house.create("a b")
    with pytest.raises(DefinitionInvalid):
        await house.catalog.create("acme", MachineDraft(name="flow", definition="{}"))
    for logging in (Logging(level="ALL"), Logging(destinations=("a", "b"))):
        with pytest.raises(LoggingInvalid, match="exactly one Log Destination"):
            await house.create(logging=logging)
    with pytest.raises(ValidationFailed, match="Version description can only be set when publish is true"):
        await house.create(description="d")
    assert (await house.catalog.find("acme")).items == []


async def test_a_change_makes_a_revision_and_the_same_again_does_not(house):
    machine, _ = await house.create()
    assert machine.revision_id == ""
    first, _ = await house.catalog.update("acme", FLOW, MachineChange(role_arn="r"))
    again, _ = await house.catalog.update("acme", FLOW, MachineChange(role_arn="r", definition=passing("one")))
    assert first.revision_id == again.revision_id != ""
    other, version = await house.catalog.update("acme", FLOW, MachineChange(definition=passing("two"), publish=True))
    assert other.revision_id not in {"", first.revision_id}
    assert (version.number, version.revision_id) == (1, other.revision_id)
    with pytest.raises(ParameterMissing):
        await house.catalog.update("acme", FLOW, MachineChange(publish=True))
    with pytest.raises(DefinitionInvalid):
        await house.catalog.update("acme", FLOW, MachineChange(definition="[]"))
    with pytest.raises(StateMachineNotFound):
        await house.catalog.update("other", FLOW, MachineChange(role_arn="r"))
    await asyncio.gather(*(house.catalog.update("acme", FLOW, MachineChange(role_arn=f"r{n}")) for n in range(6)))


async def test_a_version_stays_what_it_was(house):
    await house.create()
    first = await house.publishing.publish("acme", FLOW)
    assert (await house.publishing.publish("acme", FLOW)).number == first.number == 1
    changed, _ = await house.catalog.update("acme", FLOW, MachineChange(definition=passing("two")))
    with pytest.raises(CatalogConflict, match=f"revision INITIAL.*current .* revision is {changed.revision_id}"):
        await house.publishing.publish("acme", FLOW, revision="INITIAL")
    second = await house.publishing.publish("acme", FLOW, revision=changed.revision_id, description="later")
    assert (second.number, second.description) == (2, "later")
    old = await house.catalog.resolve("acme", f"{FLOW}:1")
    assert await house.catalog.definition("acme", old.setup.digest) == passing("one")
    assert old.version_arn == f"{FLOW}:1"
    assert (await house.catalog.named("acme", FLOW)).numbers() == [2, 1]
    with pytest.raises(StateMachineNotFound):
        await house.catalog.resolve("acme", f"{FLOW}:3")
    with pytest.raises(StateMachineNotFound):
        await house.publishing.publish("acme", f"{FLOW}:1")


async def test_a_deleted_version_is_gone_and_its_number_never_comes_again(house):
    await house.create(publish=True)
    await house.publishing.delete_version("acme", f"{FLOW}:1")
    await house.publishing.delete_version("acme", f"{FLOW}:1")
    await house.publishing.delete_version("acme", f"{ARNS.state_machine('none')}:1")
    assert (await house.catalog.named("acme", FLOW)).numbers() == []
    assert (await house.publishing.publish("acme", FLOW)).number == 2
    with pytest.raises(ValidationFailed):
        await house.publishing.delete_version("acme", FLOW)


async def test_an_alias_names_versions_and_chance_takes_one(house):
    await house.create(publish=True)
    await house.catalog.update("acme", FLOW, MachineChange(definition=passing("two"), publish=True))
    routing = [(f"{FLOW}:1", 30), (f"{FLOW}:2", 70)]
    arn, alias = await house.publishing.create_alias("acme", "live", routing, "what is live")
    assert arn == f"{FLOW}:live"
    assert (await house.publishing.create_alias("acme", "live", routing, "what is live"))[1] == alias
    for house.chance, expected in ((0.0, 1), (0.299, 1), (0.3, 2), (0.999, 2)):
        found = await house.catalog.resolve("acme", arn)
        assert (found.version_arn, found.alias_arn) == (f"{FLOW}:{expected}", arn)
    with pytest.raises(CatalogConflict, match=r"referencing this version: \[live\]"):
        await house.publishing.delete_version("acme", f"{FLOW}:2")
    assert [one.name for one in (await house.publishing.aliases("acme", f"{FLOW}:2"))[1]] == ["live"]
    await house.publishing.update_alias("acme", arn, routing=[(f"{FLOW}:1", 100)])
    await house.publishing.delete_version("acme", f"{FLOW}:2")
    assert (await house.publishing.aliases("acme", f"{FLOW}:2"))[1] == []
    changed = await house.publishing.update_alias("acme", arn, description="else")
    assert ((await house.publishing.alias("acme", arn))[1], changed.description) == (changed, "else")
    await house.publishing.delete_alias("acme", arn)
    await house.publishing.delete_alias("acme", arn)
    with pytest.raises(Referenced):
        await house.publishing.alias("acme", arn)
    with pytest.raises(StateMachineNotFound):
        await house.catalog.resolve("acme", arn)


async def test_an_alias_that_makes_no_sense_is_refused(house):
    await house.create(publish=True)
    one = f"{FLOW}:1"
    for routing, error in (
        ([(one, 99)], RoutingInvalid),
        ([(one, 50), (one, 50)], RoutingInvalid),
        ([(one, 50), (ARNS.state_machine("other", 1), 50)], RoutingInvalid),
        ([(FLOW, 100)], RoutingInvalid),
        ([(one, 50), (f"{FLOW}:2", 50)], Referenced),
        ([(ARNS.state_machine("none", 1), 100)], Referenced),
        ([("nonsense", 100)], ArnInvalid),
    ):
        with pytest.raises(error):
            await house.publishing.create_alias("acme", "live", routing)
    arn, _ = await house.publishing.create_alias("acme", "live", [(one, 100)])
    with pytest.raises(CatalogConflict, match="different routing configuration"):
        await house.publishing.create_alias("acme", "live", [(one, 100)], "other")
    with pytest.raises(ValidationFailed):
        await house.publishing.update_alias("acme", arn)
    with pytest.raises(ValidationFailed):
        await house.publishing.alias("acme", FLOW)
    for tenant, unknown in (("other", arn), ("acme", f"{FLOW}:none")):
        with pytest.raises(Referenced):
            await house.publishing.update_alias(tenant, unknown, description="d")


async def test_a_machine_goes_with_its_last_execution(house):
    await house.create(publish=True)
    await house.publishing.create_alias("acme", "live", [(f"{FLOW}:1", 100)])
    house.busy = True
    await house.catalog.delete("acme", FLOW)
    assert (await house.catalog.named("acme", FLOW)).is_deleting
    assert (await house.catalog.resolve("acme", FLOW)).is_deleting
    with pytest.raises(StateMachineDeleting):
        await house.catalog.update("acme", FLOW, MachineChange(role_arn="r"))
    with pytest.raises(StateMachineDeleting):
        await house.create()
    await house.catalog.delete("acme", FLOW)
    house.busy = False
    with pytest.raises(StateMachineNotFound):
        await house.catalog.named("acme", FLOW)
    machine, _ = await house.create()
    assert (machine.numbers(), machine.aliases) == ([], {})
    await house.catalog.delete("other", FLOW)
    assert await house.catalog.get("acme", "flow")
    await house.catalog.delete("acme", FLOW)
    await house.catalog.delete("acme", FLOW)
    assert await house.catalog.get("acme", "flow") is None
    with pytest.raises(ValidationFailed):
        await house.catalog.delete("acme", f"{FLOW}:1")


async def test_lists_come_in_pages(house):
    for number in range(3):
        await house.create(f"flow{number}")
        await house.activities.create("acme", f"work{number}")
    for find in (house.catalog.find, house.activities.find):
        first = await find("acme", limit=2)
        second = await find("acme", limit=2, cursor=first.next_cursor)
        assert [one.name[-1] for one in first.items + second.items] == ["2", "1", "0"]
        with pytest.raises(CursorNotFound):
            await find("acme", cursor="nonsense")


async def test_activities(house):
    made = await house.activities.create("acme", "work", tags={"a": "1"})
    arn = ARNS.activity("work")
    assert await house.activities.create("acme", "work") == made == await house.activities.named("acme", arn)
    with pytest.raises(NameInvalid):
        await house.activities.create("acme", "work here")
    with pytest.raises(ActivityNotFound, match=f"Activity Does Not Exist: '{arn}'"):
        await house.activities.named("other", arn)
    await house.activities.delete("other", arn)
    await house.activities.named("acme", arn)
    await house.activities.delete("acme", arn)
    await house.activities.delete("acme", arn)
    with pytest.raises(ActivityNotFound):
        await house.activities.named("acme", arn)


async def test_tags(house):
    await house.create(tags={"a": "1"})
    await house.activities.create("acme", "work")
    for arn in (FLOW, ARNS.activity("work")):
        await house.tagging.tag("acme", arn, {"a": "2", "b": "3"})
        assert await house.tagging.tags("acme", arn) == {"a": "2", "b": "3"}
        await house.tagging.untag("acme", arn, ["a", "none"])
        assert await house.tagging.tags("acme", arn) == {"b": "3"}
        with pytest.raises(TooManyTags):
            await house.tagging.tag("acme", arn, {f"k{number}": "" for number in range(50)})
        await asyncio.gather(*(house.tagging.tag("acme", arn, {f"k{number}": ""}) for number in range(6)))
        assert len(await house.tagging.tags("acme", arn)) == 7
        with pytest.raises(Referenced, match=f"Resource not found: '{arn}'"):
            await house.tagging.tag("other", arn, {})
        with pytest.raises(Referenced):
            await house.tagging.tags("other", arn)
    with pytest.raises(ArnInvalid):
        await house.tagging.tags("acme", "nonsense")
    with pytest.raises(Referenced):
        await house.tagging.tag("acme", f"{FLOW}:1", {"a": "1"})
