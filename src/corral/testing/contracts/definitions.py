"""What `Definitions` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from corral.errors import ValidationFailed
from corral.memory.resource_store import ResourceDraft
from corral.testing.contracts.setting import Contract
from corral.workflows.catalog_store import digest_of
from corral.workflows.store import ExecutionRow, Move

if TYPE_CHECKING:
    from corral.backends.stores import Stores


class DefinitionContract(Contract):
    """Keeping, reading and forgetting."""

    async def test_what_was_kept_is_there_to_the_letter(self, stores: Stores, other_stores: Stores) -> None:
        texts = ["{}", '{ "StartAt":\t"Grüße \0 🌍" }', "", "x" * 1_048_576]
        for text in texts:
            digest = await stores.definitions.keep("acme", text)
            assert digest == digest_of(text)
            assert await other_stores.definitions.text("acme", digest) == text
        assert len({digest_of(text) for text in texts}) == len(texts)

    async def test_what_comes_again_is_kept_once(self, stores: Stores, other_stores: Stores) -> None:
        digests = await asyncio.gather(
            *(one.definitions.keep("acme", "the same") for one in [stores, other_stores] * 5)
        )
        assert len(set(digests)) == 1
        assert await stores.definitions.forget("acme", digests[0])
        assert await other_stores.definitions.text("acme", digests[0]) is None
        assert not await other_stores.definitions.forget("acme", digests[0])

    async def test_every_tenant_has_its_own(self, stores: Stores) -> None:
        digest = await stores.definitions.keep("acme", "{}")
        assert await stores.definitions.text("other", digest) is None
        assert not await stores.definitions.forget("other", digest)
        await stores.definitions.keep("other", "{}")
        assert await stores.definitions.forget("other", digest)
        assert await stores.definitions.text("acme", digest) == "{}"

    async def test_what_nothing_names_is_found_and_goes(self, stores: Stores, other_stores: Stores) -> None:
        names = ("machine", "version", "execution", "part", "nothing")
        digests = {name: await stores.definitions.keep("acme", name) for name in names}
        elsewhere = await stores.definitions.keep("other", "machine")
        far = await stores.executions.now() + 60
        setup = {"setup": {"digest": digests["machine"]}, "description": "nul \0"}
        await stores.resources.create("acme", [ResourceDraft(kind="workflow", id="workflow:a", body=setup)])
        setup = {"setup": {"digest": digests["version"]}}
        await stores.resources.create("acme", [ResourceDraft(kind="workflow-version", id="workflow:a:1", body=setup)])
        stranger = {"setup": {"digest": digests["nothing"]}}
        await stores.resources.create("acme", [ResourceDraft(kind="memory", id="m", body=stranger)])
        for name, digest in (("execution", digests["execution"]), ("part", f"{digests['part']}#/States/Each")):
            row = ExecutionRow(
                tenant="acme",
                id=name,
                arn=name,
                name=name,
                machine_arn="m",
                facts=msgspec.json.encode({"machine_name": "a", "digest": digest}),
                input=b"[null,{}]",
            )
            await stores.executions.begin(row, Move(tenant="acme", id=name, revision=0, mark=name, at=1.0))
        own = {("acme", digest) for digest in digests.values()} | {("other", elsewhere)}

        async def unnamed(before: float) -> set[tuple[str, str]]:
            return own & set(await other_stores.definitions.unnamed(before=before, limit=100_000))

        assert await unnamed(far) == {("acme", digests["nothing"]), ("other", elsewhere)}
        assert len(await other_stores.definitions.unnamed(before=far, limit=1)) == 1
        assert await unnamed(far - 120) == set()
        assert await stores.executions.remove([("acme", "execution")]) == 1
        assert ("acme", digests["execution"]) in await unnamed(far)
        assert not await stores.definitions.forget("acme", digests["nothing"], before=far - 120), "it was wanted since"
        assert await stores.definitions.forget("acme", digests["nothing"], before=far)
        assert await other_stores.definitions.text("acme", digests["nothing"]) is None

    async def test_what_is_kept_again_is_wanted_again(self, stores: Stores) -> None:
        digest = await stores.definitions.keep("acme", "again")
        between = await stores.executions.now()
        while await stores.executions.now() <= between:
            continue
        await stores.definitions.keep("acme", "again")
        assert ("acme", digest) not in await stores.definitions.unnamed(before=between, limit=100_000)
        assert not await stores.definitions.forget("acme", digest, before=between)

    async def test_what_no_engine_can_keep_is_refused(self, stores: Stores) -> None:
        for tenant, text in (("acme", "half \ud800"), ("", "{}"), ("nul\0", "{}")):
            with pytest.raises(ValidationFailed):
                await stores.definitions.keep(tenant, text)
        assert await stores.definitions.text("acme", "nul\0") is None
        assert not await stores.definitions.forget("acme", "nul\0")
