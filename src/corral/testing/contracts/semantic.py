"""What a `SemanticStore` promises: news that skips nothing, answers that stay with their tenant, evidence that is not lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from corral.cache.semantic_store import AnswerDraft, Bin, Label, Listed, Route, SemanticTally
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.backends.stores import Stores

SCOPE, OTHER_SCOPE = b"s" * 16, b"t" * 16
ROUTE = Route(b"r" * 16, "sim/small", "abc")


def an_id(number: int) -> bytes:
    """The id of one answer."""
    return number.to_bytes(16, "big")


def answer(number: int, **more: Any) -> AnswerDraft:
    """The answer to one question."""
    fields: dict[str, Any] = {
        "id": an_id(number),
        "scope": SCOPE,
        "question": f"What is {number}?",
        "vector": bytes([number % 256]) * 16,
        "value": f"answer {number}".encode(),
        "ttl_s": 3600.0,
    }
    return AnswerDraft(**{**fields, **more})


async def put(stores: Stores, *drafts: AnswerDraft, tenant: str = "acme", entries_max: int = 100) -> int:
    """Keep answers."""
    return await stores.semantic.put(tenant, drafts, entries_max=entries_max)


async def listed(stores: Stores, after: int = 0, *, tenant: str = "acme", scope: bytes = SCOPE) -> list[Listed]:
    """All news of a scope."""
    found: list[Listed] = []
    more = True
    while more:
        news = await stores.semantic.news(tenant, scope, after, limit=3)
        found += news.answers
        after, more = news.change, news.more
    return found


async def questions(stores: Stores, **where: Any) -> list[str]:
    """What there are answers to."""
    return sorted(one.question for one in await listed(stores, **where))


class SemanticContract(Contract):
    """Answers and evidence."""

    async def test_an_answer_is_listed_and_taken_by_all(self, stores: Stores, other_stores: Stores) -> None:
        assert await stores.semantic.take("acme", an_id(1)) is None
        assert await put(stores, answer(1, question="Größe 世界?")) == 1
        (one,) = await listed(other_stores)
        assert (one.id, one.question, one.vector, one.wrong) == (an_id(1), "Größe 世界?", b"\1" * 16, 0.0)
        assert 3500 < one.left_s <= 3600
        taken = await other_stores.semantic.take("acme", an_id(1))
        assert taken is not None
        assert (taken.value, taken.question, taken.wrong) == (b"answer 1", "Größe 世界?", 0.0)
        assert 0 <= taken.age_s < 60
        assert await stores.semantic.count("acme") == 1

    async def test_tenants_and_scopes_are_apart(self, stores: Stores) -> None:
        await put(stores, answer(1))
        await put(stores, answer(2, scope=OTHER_SCOPE))
        await put(stores, answer(1, question="Ours?", value=b"ours"), tenant="umbrella")
        assert await questions(stores) == ["What is 1?"]
        assert await questions(stores, scope=OTHER_SCOPE) == ["What is 2?"]
        assert await questions(stores, tenant="umbrella") == ["Ours?"]
        assert await stores.semantic.take("umbrella", an_id(2)) is None
        ours = await stores.semantic.take("umbrella", an_id(1))
        assert ours is not None
        assert ours.value == b"ours"

    async def test_a_new_answer_takes_the_place_of_the_old_one_and_is_news(self, stores: Stores) -> None:
        await put(stores, answer(1), answer(2))
        seen = (await stores.semantic.news("acme", SCOPE, 0)).change
        await stores.semantic.label("acme", ROUTE, [Label(answer=an_id(1), score=0.9, same=False, audited=False)])
        await put(stores, answer(1, value=b"new", vector=b"v" * 16))
        (one,) = await listed(stores, seen)
        assert (one.id, one.vector, one.wrong) == (an_id(1), b"v" * 16, 0.0)
        assert len(await listed(stores)) == 2

    async def test_news_skips_nothing_while_many_write(self, stores: Stores, other_stores: Stores) -> None:
        seen: set[bytes] = set()
        after = 0

        async def write(one: Stores, first: int) -> None:
            for number in range(first, first + 30, 3):
                await put(one, *(answer(n) for n in range(number, number + 3)))

        async def read() -> None:
            nonlocal after
            news = await stores.semantic.news("acme", SCOPE, after, limit=7)
            seen.update(one.id for one in news.answers)
            after = news.change

        writing = asyncio.gather(
            *(write(one, first) for one, first in ((stores, 0), (other_stores, 100), (stores, 200)))
        )
        while not writing.done():
            await read()
        await writing
        for _ in range(20):
            await read()
        assert len(seen) == 90

    async def test_what_was_not_used_for_the_longest_time_makes_room(self, stores: Stores) -> None:
        for number in range(3):
            await put(stores, answer(number))
        tally = SemanticTally(tenant="acme", route=ROUTE, hits=1, saved_usd=0.5, used=(an_id(0),))
        await stores.semantic.tally([tally])
        await put(stores, answer(3), entries_max=3)
        assert await questions(stores) == ["What is 0?", "What is 2?", "What is 3?"]
        await put(stores, answer(9, scope=OTHER_SCOPE), entries_max=1)
        assert len(await questions(stores)) == 3

    async def test_what_is_past_its_time_is_not_there_and_is_swept(self, stores: Stores) -> None:
        await put(stores, answer(1, ttl_s=-1.0), answer(2))
        assert await questions(stores) == ["What is 2?"]
        assert await stores.semantic.take("acme", an_id(1)) is None
        assert await stores.semantic.sweep(labels_max=10) == 1
        assert await stores.semantic.sweep(labels_max=10) == 0

    async def test_a_clearing_takes_all_or_what_has_a_tag(self, stores: Stores, other_stores: Stores) -> None:
        await put(
            stores, answer(1, tags=("faq", "straße")), answer(2, tags=("faq",)), answer(3), answer(4, tags=("other",))
        )
        await put(stores, answer(1, tags=("faq",)), tenant="umbrella")
        assert await other_stores.semantic.drop("acme", tags=["straße", "never"]) == 1
        assert await other_stores.semantic.drop("acme", tags=["faq"]) == 1
        assert await questions(stores) == ["What is 3?", "What is 4?"]
        assert await stores.semantic.drop("acme") == 2
        assert await questions(stores) == []
        assert await questions(stores, tenant="umbrella") == ["What is 1?"]

    async def test_what_was_asked_before_a_clearing_is_not_kept_after_it(self, stores: Stores) -> None:
        before = (await stores.semantic.news("acme", SCOPE, 0)).generation
        await stores.semantic.drop("acme")
        assert await put(stores, answer(1, generation=before), answer(2)) == 1
        now = (await stores.semantic.news("acme", SCOPE, 0)).generation
        assert now > before
        assert await put(stores, answer(3, generation=now)) == 1
        assert await questions(stores) == ["What is 2?", "What is 3?"]

    async def test_evidence_is_counted_by_steps(self, stores: Stores, other_stores: Stores) -> None:
        labels = [
            Label(answer=an_id(1), score=score, same=same, audited=audited)
            for score, same, audited in (
                (0.9, True, False),
                (0.9049, False, True),
                (0.95, True, True),
                (1.0, True, False),
            )
        ]
        await asyncio.gather(
            stores.semantic.label("acme", ROUTE, labels), other_stores.semantic.label("acme", ROUTE, labels[:1])
        )
        known = await stores.semantic.evidence("acme", ROUTE.key)
        assert known.bins == [Bin(200, 1, 0), Bin(190, 1, 0), Bin(180, 3, 1)]
        assert (known.audits, known.audits_wrong, known.since, known.reason) == (2, 1, 0.0, "")
        assert (await stores.semantic.evidence("acme", ROUTE.key, latest=1)).audits == 1
        assert (await stores.semantic.evidence("umbrella", ROUTE.key)).bins == []

    async def test_a_wrong_answer_remembers_where_it_was_wrong_and_is_news(self, stores: Stores) -> None:
        await put(stores, answer(1), answer(2))
        seen = (await stores.semantic.news("acme", SCOPE, 0)).change
        wrong = [
            Label(answer=an_id(1), score=score, same=False, audited=True, question=f"Q {score}?", kept="What is 1?")
            for score in (0.93, 0.91)
        ]
        await stores.semantic.label("acme", ROUTE, wrong)
        await stores.semantic.label("acme", ROUTE, [Label(answer=an_id(2), score=0.99, same=True, audited=False)])
        await stores.semantic.label("acme", ROUTE, [Label(answer=an_id(7), score=0.92, same=False, audited=False)])
        (one,) = await listed(stores, seen)
        assert (one.id, one.wrong) == (an_id(1), 0.93)
        taken = await stores.semantic.take("acme", an_id(1))
        assert taken is not None
        assert taken.wrong == 0.93
        found = await stores.semantic.wrongs("acme")
        assert [(hit.question, hit.kept, hit.score, hit.audited, hit.route) for hit in found] == [
            ("", "", 0.92, False, ROUTE.key),
            ("Q 0.91?", "What is 1?", 0.91, True, ROUTE.key),
            ("Q 0.93?", "What is 1?", 0.93, True, ROUTE.key),
        ]
        assert len(await stores.semantic.wrongs("acme", limit=1)) == 1
        assert await stores.semantic.wrongs("umbrella") == []

    async def test_a_route_begins_anew(self, stores: Stores) -> None:
        label = Label(answer=an_id(1), score=0.9, same=False, audited=True)
        await stores.semantic.label("acme", ROUTE, [label])
        await stores.semantic.restart("acme", ROUTE, "too many were wrong")
        known = await stores.semantic.evidence("acme", ROUTE.key)
        assert (known.bins, known.audits, known.reason) == ([], 0, "too many were wrong")
        assert known.since > 0
        await stores.semantic.label("acme", ROUTE, [label])
        assert (await stores.semantic.evidence("acme", ROUTE.key)).bins == [Bin(180, 1, 1)]
        assert len(await stores.semantic.wrongs("acme")) == 2

    async def test_old_labels_go(self, stores: Stores) -> None:
        label = Label(answer=an_id(1), score=0.9, same=True, audited=False)
        await stores.semantic.label("acme", ROUTE, [label] * 5)
        await stores.semantic.label("acme", Route(b"q" * 16, "m", "e"), [label] * 2)
        assert await stores.semantic.sweep(labels_max=2) == 3
        assert (await stores.semantic.evidence("acme", ROUTE.key)).bins == [Bin(180, 2, 0)]

    async def test_routes_tell_what_they_were_good_for(self, stores: Stores, other_stores: Stores) -> None:
        busy = Route(b"b" * 16, "sim/large", "abc")
        one = SemanticTally(tenant="acme", route=ROUTE, misses=2)
        two = SemanticTally(tenant="acme", route=busy, hits=3, misses=1, saved_usd=0.25)
        await asyncio.gather(stores.semantic.tally([one, two]), other_stores.semantic.tally([two]))
        await stores.semantic.label("acme", busy, [Label(answer=an_id(1), score=0.9, same=True, audited=False)])
        first, second = await stores.semantic.routes("acme")
        assert (first.route, first.hits, first.misses, first.saved_usd) == (busy, 6, 2, 0.5)
        assert first.evidence.bins == [Bin(180, 1, 0)]
        assert (second.route, second.hits, second.misses) == (ROUTE, 0, 2)
        assert await stores.semantic.routes("umbrella") == []

    async def test_ids_that_were_never_kept_find_nothing(self, stores: Stores) -> None:
        assert await stores.semantic.count("a\0b") == 0
        assert await stores.semantic.drop("a\0b") == 0
        assert await stores.semantic.routes("a\0b") == []
        assert await stores.semantic.wrongs("a\0b") == []
