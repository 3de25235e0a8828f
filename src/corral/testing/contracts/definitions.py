"""What `Definitions` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.errors import ValidationFailed
from corral.testing.contracts.setting import Contract
from corral.workflows.catalog_store import digest_of

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

    async def test_what_no_engine_can_keep_is_refused(self, stores: Stores) -> None:
        for tenant, text in (("acme", "half \ud800"), ("", "{}"), ("nul\0", "{}")):
            with pytest.raises(ValidationFailed):
                await stores.definitions.keep(tenant, text)
        assert await stores.definitions.text("acme", "nul\0") is None
        assert not await stores.definitions.forget("acme", "nul\0")
