"""Definitions that nothing names any more go, half an hour after they were found so."""

from __future__ import annotations

from engine_scene import TENANT, TurnedClock

from corral.backends.open import open_stores
from corral.workflows.arns import Arns
from corral.workflows.catalog import Catalog, MachineChange, MachineDraft
from corral.workflows.catalog_store import digest_of
from corral.workflows.forgetting import Forgetting
from corral.workflows.publishing import Publishing

ARNS = Arns(region="us-east-1", account="000000000000")
FLOW = ARNS.state_machine("flow")


def passing(word: str) -> str:
    return f'{{"Comment": "{word}", "StartAt": "A", "States": {{"A": {{"Type": "Pass", "End": true}}}}}}'


async def nobody_runs(tenant: str, arn: str) -> bool:
    return False


async def test_what_a_workflow_was_goes_and_what_a_version_is_stays(store_url):
    stores = open_stores(store_url)
    await stores.start()
    try:
        catalog = Catalog(stores.resources, stores.definitions, ARNS, busy=nobody_runs, chance=lambda: 0.0)
        await catalog.create(TENANT, MachineDraft(name="flow", definition=passing("one"), publish=True))
        for word in ("two", "three"):
            await catalog.update(TENANT, FLOW, MachineChange(definition=passing(word)))

        async def left() -> list[str]:
            words = ("one", "two", "three")
            texts = {word: await stores.definitions.text(TENANT, digest_of(passing(word))) for word in words}
            return [word for word, text in texts.items() if text is not None]

        clock = TurnedClock()
        clock.time = await stores.executions.now()
        forgetting = Forgetting(stores.definitions, clock=clock)
        for later in (0, 3600, 1000):  # found when it had rested, and removed when it is found so again after a while
            clock.turn(later)
            await forgetting.sweep()
            assert await left() == ["one", "two", "three"]
        clock.turn(1000)
        assert await forgetting.sweep() >= 1
        assert await left() == ["one", "three"]
        await Publishing(catalog).delete_version(TENANT, f"{FLOW}:1")
        for still in (["one", "three"], ["three"], ["three"]):
            clock.turn(3600)
            await forgetting.sweep()
            assert await left() == still
    finally:
        await stores.stop()


class Kept:
    """Definitions of which one is always unnamed."""

    def __init__(self) -> None:
        self.unnamed_now = [("acme", "d")]
        self.asked: list = []

    async def unnamed(self, *, before, limit):
        return self.unnamed_now

    async def forget(self, tenant, digest, *, before):
        self.asked.append((tenant, digest, before))
        return True


async def test_what_was_named_in_between_begins_anew():
    clock, kept = TurnedClock(), Kept()
    forgetting = Forgetting(kept, clock=clock)
    await forgetting.sweep()
    clock.turn(1000)
    kept.unnamed_now = []
    await forgetting.sweep()
    kept.unnamed_now = [("acme", "d")]
    clock.turn(1000)
    assert await forgetting.sweep() == 0
    clock.turn(1800)
    assert await forgetting.sweep() == 1
    assert kept.asked == [("acme", "d", clock.now() - 1800)]
