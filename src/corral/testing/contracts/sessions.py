"""What a `SessionStore` promises about events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import CursorNotFound, EventNotFound, SessionExists, SessionNotFound, TurnLost, ValidationFailed
from corral.sessions.event import Draft, EventQuery, SessionKey, SessionQuery, event_id
from corral.testing.contracts.setting import KEY, Contract, listed, said, texts

if TYPE_CHECKING:
    from corral.backends.stores import Stores

_AWKWARD = {
    "unicode": "Grüße, 世界 🌍 \u202e\ufeff",
    "nul": "before\0after",
    "quotes": "'; DROP TABLE events; -- \" \\ %s $1 :x ?",
    "controls": "\x01\x02\x1b[31m\r\n\t\x7f",
    "empty": "",
    "huge": "0123456789abcdef" * 150_000,
}


class AppendContract(Contract):
    """Appending, and reading back what was said."""

    async def test_appended_events_come_back_in_order_with_rising_places(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said("one"), said("two", "assistant"), said("three")])
        written += await stores.sessions.append(KEY, [said("four")])
        assert [event.seq for event in written] == [1, 2, 3, 4]
        assert await listed(stores) == written

    async def test_event_ids_are_unique_and_sort_by_time(self, stores: Stores) -> None:
        for number in range(5):
            await stores.sessions.append(KEY, [said(f"{number}"), said(f"{number}b")])
        events = await listed(stores)
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert all(event.id == event_id(event.created_at, event.seq) for event in events)

    async def test_appending_makes_the_session(self, stores: Stores) -> None:
        assert await stores.sessions.get(KEY) is None
        await stores.sessions.append(KEY, [said("hello", actor="ada"), said("hi", "assistant")])
        info = await stores.sessions.get(KEY)
        assert info is not None
        assert (info.session_id, info.actor, info.events) == ("s-1", "ada", 2)
        assert info.created_at <= info.updated_at

    async def test_nothing_to_append_changes_nothing(self, stores: Stores) -> None:
        assert await stores.sessions.append(KEY, []) == []
        assert await stores.sessions.get(KEY) is None

    async def test_all_drafts_are_appended_or_none(self, stores: Stores) -> None:
        with pytest.raises(ValidationFailed):
            await stores.sessions.append(KEY, [said("fine"), said("broken", metadata={"a": object()})])
        with pytest.raises(EventNotFound):
            await stores.sessions.append(KEY, [said("fine"), said("broken", branch="b", branch_root="no#1")])
        assert await texts(stores) == []
        assert await stores.sessions.get(KEY) is None

    async def test_a_failed_append_does_not_take_others_with_it(self, stores: Stores) -> None:
        broken = said("broken", branch="b", branch_root="no#1")
        results = await asyncio.gather(
            *(
                stores.sessions.append(SessionKey("acme", f"s-{number}"), [broken if number % 3 == 1 else said("ok")])
                for number in range(30)
            ),
            return_exceptions=True,
        )
        assert [isinstance(result, EventNotFound) for result in results] == [number % 3 == 1 for number in range(30)]
        for number in range(30):
            expected = [] if number % 3 == 1 else ["ok"]
            assert await texts(stores, SessionKey("acme", f"s-{number}")) == expected

    async def test_two_hundred_appends_from_two_processes_lose_nothing(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        async def speak(store: Stores, name: str) -> None:
            for number in range(25):
                await store.sessions.append(KEY, [said(f"{name} {number}"), said(f"{name} {number} again")])

        await asyncio.gather(
            *(speak(store, f"{one}{n}") for n in range(4) for one, store in (("a", stores), ("b", other_stores)))
        )
        events = await listed(stores)
        assert [event.seq for event in events] == list(range(1, 401))
        for name in ("a0", "b3"):
            own = [event.text for event in events if event.text.startswith(f"{name} ")]
            assert own == [f"{name} {number}{again}" for number in range(25) for again in ("", " again")]
        # The drafts of one call stand side by side.
        assert all(
            second.text == f"{first.text} again" for first, second in zip(events[::2], events[1::2], strict=True)
        )

    @pytest.mark.parametrize("kind", sorted(_AWKWARD))
    async def test_awkward_text_survives(self, stores: Stores, kind: str) -> None:
        text = _AWKWARD[kind]
        await stores.sessions.append(KEY, [said(text, metadata={"note": text, text[:100]: 1})])
        (event,) = await listed(stores)
        assert event.text == text
        assert event.metadata == {"note": text, text[:100]: 1}

    async def test_any_json_survives(self, stores: Stores) -> None:
        value = {"a": [1, 2.5, None, True, {"b": {}}], "big": 2**53 - 1, "deep": [[[[[]]]]], "neg": -1e-9}
        await stores.sessions.append(KEY, [said("x", metadata=value)])
        (event,) = await listed(stores)
        assert event.metadata == value

    @pytest.mark.parametrize("value", [object(), {1, 2, object()}, "half a pair \ud800"], ids=["object", "set", "half"])
    async def test_what_json_cannot_say_is_refused(self, stores: Stores, value: Any) -> None:
        with pytest.raises(ValidationFailed):
            await stores.sessions.append(KEY, [said("x", metadata={"value": value})])
        with pytest.raises(ValidationFailed):
            await stores.sessions.write_state(KEY, value)

    @pytest.mark.parametrize(
        "wrong",
        [
            Draft(role="alien", content=[]),  # type: ignore[arg-type]  # that is what is wrong
            Draft(role="user", content="text"),  # type: ignore[arg-type]  # that is what is wrong
            Draft(role="user", content=["text"]),  # type: ignore[list-item]  # that is what is wrong
            Draft(role="user", content=[], metadata=["x"]),  # type: ignore[arg-type]  # that is what is wrong
        ],
        ids=["role", "text", "part", "metadata"],
    )
    async def test_what_could_not_be_read_again_is_refused(self, stores: Stores, wrong: Draft) -> None:
        with pytest.raises(ValidationFailed):
            await stores.sessions.append(KEY, [said("x"), wrong])
        assert await texts(stores) == []

    @pytest.mark.parametrize("bad", ["", "nul\0", "half \ud800", "x" * 513, "é" * 300])
    async def test_ids_that_cannot_be_kept_are_refused(self, stores: Stores, bad: str) -> None:
        for key in (SessionKey(bad, "s"), SessionKey("t", bad)):
            with pytest.raises(ValidationFailed):
                await stores.sessions.append(key, [said("x")])
            with pytest.raises(ValidationFailed):
                await stores.sessions.create(key, metadata={}, ttl_s=None)
            with pytest.raises(ValidationFailed):
                await stores.sessions.write_state(key, 1)
            with pytest.raises(ValidationFailed):
                await stores.turns.join(key, "turn", policy="enqueue", lease_s=10, waiting_max=10)
        await stores.sessions.append(KEY, [said("x")])
        with pytest.raises(ValidationFailed):
            await stores.sessions.fork(KEY, bad)
        with pytest.raises(ValidationFailed):
            await stores.turns.join(KEY, bad, policy="enqueue", lease_s=10, waiting_max=10)
        if bad:
            with pytest.raises(ValidationFailed):
                await stores.sessions.append(KEY, [said("x", actor=bad)])

    @pytest.mark.parametrize("odd", ["nul\0", "half \ud800", "x" * 5000])
    async def test_looking_for_an_id_that_cannot_be_is_harmless(self, stores: Stores, odd: str) -> None:
        for key in (SessionKey("acme", odd), SessionKey(odd, "s-1")):
            assert (await stores.sessions.events(key, EventQuery())).items == []
            assert await stores.sessions.get(key) is None
            assert (await stores.sessions.read_state(key)).version == 0
            assert not await stores.sessions.delete_event(key, odd)
            assert await stores.sessions.delete(key.tenant, session_id=key.session_id) == 0
        await stores.sessions.append(KEY, [said("x")])
        for query in (EventQuery(actor=odd), EventQuery(branch=odd)):
            assert (await stores.sessions.events(KEY, query)).items == []
        assert (await stores.sessions.sessions("acme", SessionQuery(actor=odd))).items == []
        assert (await stores.sessions.sessions(odd, SessionQuery())).items == []
        assert (await stores.sessions.actors(odd)).items == []
        assert await stores.sessions.delete("acme", actor=odd) == 0
        assert not await stores.sessions.delete_event(KEY, odd)
        with pytest.raises(EventNotFound):
            await stores.sessions.fork(KEY, "copy", at_event=odd)
        with pytest.raises(SessionNotFound):
            await stores.sessions.fork(SessionKey("acme", odd), "copy")
        with pytest.raises(TurnLost):
            await stores.sessions.append(KEY, [said("x")], turn=odd)
        assert await texts(stores) == ["x"]

    async def test_any_loop_may_call(self, stores: Stores) -> None:
        async def elsewhere() -> int:
            written = await asyncio.gather(*(stores.sessions.append(KEY, [said("there")]) for _ in range(20)))
            return len(written)

        there = [asyncio.to_thread(asyncio.run, elsewhere()) for _ in range(2)]
        here = [stores.sessions.append(KEY, [said("here")]) for _ in range(20)]
        await asyncio.gather(*there, *here)
        assert [event.seq for event in await listed(stores)] == list(range(1, 61))

    async def test_an_append_whose_caller_is_cancelled_is_whole_or_absent(self, stores: Stores) -> None:
        task = asyncio.create_task(stores.sessions.append(KEY, [said("a"), said("b")]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stores.sessions.append(KEY, [said("after")])
        assert await texts(stores) in (["a", "b", "after"], ["after"], ["after", "a", "b"])


class EventListContract(Contract):
    """Listing events: pages, filters, branches."""

    async def test_pages_run_newest_first_and_end(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said(str(number)) for number in range(7)])
        pages, cursor = [], None
        while True:
            page = await stores.sessions.events(KEY, EventQuery(limit=3, cursor=cursor))
            pages.append([event.text for event in page.items])
            if (cursor := page.next_cursor) is None:
                break
        assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]

    async def test_a_page_that_ends_exactly_has_no_next(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("a"), said("b")])
        assert (await stores.sessions.events(KEY, EventQuery(limit=2))).next_cursor is None

    async def test_paging_goes_on_where_it_was_while_events_are_added_and_deleted(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said(str(number)) for number in range(6)])
        first = await stores.sessions.events(KEY, EventQuery(limit=2))
        await stores.sessions.append(KEY, [said("new")])
        await stores.sessions.delete_event(KEY, written[4].id)  # the very event the page ended with
        second = await stores.sessions.events(KEY, EventQuery(limit=10, cursor=first.next_cursor))
        assert [event.text for event in second.items] == ["3", "2", "1", "0"]

    async def test_a_filter_and_a_cursor_work_together(self, stores: Stores) -> None:
        roles = ("user", "assistant")
        await stores.sessions.append(KEY, [said(str(n), roles[n % 2]) for n in range(10)])  # type: ignore[arg-type]  # both are roles
        query = EventQuery(limit=2, roles=("user",))
        first = await stores.sessions.events(KEY, query)
        second = await stores.sessions.events(KEY, EventQuery(limit=2, roles=("user",), cursor=first.next_cursor))
        assert [event.text for event in first.items + second.items] == ["8", "6", "4", "2"]

    @pytest.mark.parametrize("cursor", ["", "nonsense", "!!", "e30", "MTA\0", "é", "x" * 10_000])
    async def test_a_cursor_that_is_not_ours_is_not_found(self, stores: Stores, cursor: str) -> None:
        await stores.sessions.append(KEY, [said("x")])
        with pytest.raises(CursorNotFound):
            await stores.sessions.events(KEY, EventQuery(cursor=cursor))
        with pytest.raises(CursorNotFound):
            await stores.sessions.sessions("acme", SessionQuery(cursor=cursor))
        with pytest.raises(CursorNotFound):
            await stores.sessions.actors("acme", cursor=cursor)

    async def test_a_page_has_at_least_one_item(self, stores: Stores) -> None:
        for call in (
            stores.sessions.events(KEY, EventQuery(limit=0)),
            stores.sessions.sessions("acme", SessionQuery(limit=-1)),
            stores.sessions.actors("acme", limit=0),
        ):
            with pytest.raises(ValidationFailed):
                await call

    async def test_filters_narrow_by_actor_role_and_time(self, stores: Stores) -> None:
        (first,) = await stores.sessions.append(KEY, [said("a", actor="ada")])
        await stores.sessions.append(KEY, [said("b", "assistant"), said("c", "tool"), said("d", actor="bob")])
        assert await texts(stores, actor="ada") == ["a"]
        assert await texts(stores, roles=("assistant", "tool")) == ["b", "c"]
        assert await texts(stores, since=first.created_at) == ["a", "b", "c", "d"]
        assert await texts(stores, since=first.created_at + 3600) == []
        assert await texts(stores, actor="ada", roles=("tool",)) == []

    async def test_metadata_filters_compare_strings(self, stores: Stores) -> None:
        await stores.sessions.append(
            KEY,
            [
                said("plain", metadata={"k": "v", "n": 5, "t": True, "z": None}),
                said("other", metadata={"k": "w", "n": "5"}),
                said("nested", metadata={"k": {"v": 1}, "l": ["v"]}),
                said("awkward", metadata={'quo"te.$[0]': "it's", "nul\0": "\0", "back": "\\0"}),
                said("none"),
            ],
        )
        assert await texts(stores, metadata={"k": "v"}) == ["plain"]
        assert await texts(stores, metadata={"k": "v", "n": "5"}) == ["plain"]
        assert await texts(stores, metadata={"n": "5"}) == ["plain", "other"]
        assert await texts(stores, metadata={"t": "true"}) == ["plain"]
        assert await texts(stores, metadata={"z": "null"}) == ["plain"]
        assert await texts(stores, metadata={"l": "v"}) == []
        assert await texts(stores, metadata={'quo"te.$[0]': "it's"}) == ["awkward"]
        assert await texts(stores, metadata={"nul\0": "\0"}) == ["awkward"]
        assert await texts(stores, metadata={"back": "\0"}) == []
        assert await texts(stores, metadata={"missing": ""}) == []
        assert await texts(stores, metadata={}) == ["plain", "other", "nested", "awkward", "none"]

    async def test_metadata_filters_ask_what_is_there_and_what_is_not(self, stores: Stores) -> None:
        await stores.sessions.append(
            KEY, [said("a", metadata={"k": "v", "n": 5}), said("b", metadata={"k": "w", "o": {}}), said("c")]
        )
        assert await texts(stores, has=("k",)) == ["a", "b"]
        assert await texts(stores, has=("k", "n")) == ["a"]
        assert await texts(stores, has=("o",)) == []
        assert await texts(stores, lacks=("n",)) == ["b", "c"]
        assert await texts(stores, lacks=("n", "k")) == ["c"]
        assert await texts(stores, has=("k",), lacks=("n",)) == ["b"]

    async def test_one_event_is_found_by_its_id(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said("a", actor="ada"), said("b"), said("c")])
        assert [await texts(stores, event_id=event.id) for event in written] == [["a"], ["b"], ["c"]]
        assert await texts(stores, event_id=written[0].id, actor="bob") == []
        assert await texts(stores, event_id=written[2].id, actor="ada") == []
        for wrong in ("", "x", "#", "0#1", f"0{written[0].id}", "0#" + "f" * 5000, "0#-1", written[0].id + "0"):
            assert await texts(stores, event_id=wrong) == []

    async def test_a_branch_lists_its_own_events_and_on_request_its_past(self, stores: Stores) -> None:
        trunk = await stores.sessions.append(KEY, [said("1"), said("2"), said("3")])
        await stores.sessions.append(KEY, [said("2x", branch="x", branch_root=trunk[1].id)])
        await stores.sessions.append(KEY, [said("4"), said("3x", branch="x")])
        await stores.sessions.append(KEY, [said("3xy", branch="y", branch_root=(await listed(stores))[-1].id)])
        await stores.sessions.append(KEY, [said("4x", branch="x"), said("4xy", branch="y")])
        assert await texts(stores, branch="x") == ["2x", "3x", "4x"]
        assert await texts(stores, branch="main") == ["1", "2", "3", "4"]
        assert await texts(stores, branch="x", include_parents=True) == ["1", "2", "2x", "3x", "4x"]
        assert await texts(stores, branch="y", include_parents=True) == ["1", "2", "2x", "3x", "3xy", "4xy"]
        assert await texts(stores, branch="main", include_parents=True) == ["1", "2", "3", "4"]
        assert await texts(stores, branch="unknown", include_parents=True) == []

    async def test_a_branch_without_a_root_leaves_at_the_latest_event(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("1"), said("2")])
        await stores.sessions.append(KEY, [said("a", branch="x"), said("3"), said("b", branch="x")])
        assert await texts(stores, branch="x", include_parents=True) == ["1", "2", "a", "b"]

    async def test_a_session_may_begin_with_a_branch(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("a", branch="x"), said("b")])
        assert await texts(stores, branch="x", include_parents=True) == ["a"]
        assert await texts(stores, branch="main", include_parents=True) == ["b"]

    async def test_one_event_can_be_deleted(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said("a"), said("b")])
        assert await stores.sessions.delete_event(KEY, written[1].id)
        assert not await stores.sessions.delete_event(KEY, written[1].id)
        assert not await stores.sessions.delete_event(KEY, f"{int(written[0].created_at * 1000) - 1:016d}#00000001")
        (again,) = await stores.sessions.append(KEY, [said("c")])
        assert again.seq == 3
        assert await texts(stores) == ["a", "c"]


class ForkContract(Contract):
    """Copying a session."""

    async def test_a_fork_copies_events_and_state_and_goes_its_own_way(self, stores: Stores) -> None:
        await stores.sessions.create(KEY, actor="ada", metadata={"topic": "tea"}, ttl_s=None)
        written = await stores.sessions.append(KEY, [said("1", actor="ada"), said("2", "assistant"), said("3")])
        await stores.sessions.write_state(KEY, {"cups": 2})
        info = await stores.sessions.fork(KEY, "copy")
        copy = SessionKey("acme", "copy")
        assert (info.session_id, info.actor, info.events, info.metadata) == ("copy", "ada", 3, {"topic": "tea"})
        assert await stores.sessions.get(copy) == info
        copied = await listed(stores, copy)
        assert [(e.id, e.seq, e.text, e.created_at) for e in copied] == [
            (e.id, e.seq, e.text, e.created_at) for e in written
        ]
        assert (await stores.sessions.read_state(copy)).value == {"cups": 2}
        await stores.sessions.append(copy, [said("4 there")])
        await stores.sessions.append(KEY, [said("4 here")])
        await stores.sessions.write_state(copy, {"cups": 3})
        assert await texts(stores) == ["1", "2", "3", "4 here"]
        assert await texts(stores, copy) == ["1", "2", "3", "4 there"]
        assert (await stores.sessions.read_state(KEY)).value == {"cups": 2}
        of_ada = await stores.sessions.sessions("acme", SessionQuery(actor="ada"))
        assert sorted(found.session_id for found in of_ada.items) == ["copy", "s-1"]

    async def test_a_fork_at_an_event_ends_there(self, stores: Stores) -> None:
        written = await stores.sessions.append(KEY, [said(str(number)) for number in range(5)])
        info = await stores.sessions.fork(KEY, "copy", at_event=written[2].id)
        copy = SessionKey("acme", "copy")
        assert info.events == 3
        (more,) = await stores.sessions.append(copy, [said("more")])
        assert more.seq == 4
        assert await texts(stores, copy) == ["0", "1", "2", "more"]

    async def test_a_fork_keeps_its_branches(self, stores: Stores) -> None:
        trunk = await stores.sessions.append(KEY, [said("1"), said("2")])
        await stores.sessions.append(KEY, [said("1x", branch="x", branch_root=trunk[0].id), said("3")])
        await stores.sessions.fork(KEY, "copy")
        copy = SessionKey("acme", "copy")
        await stores.sessions.append(copy, [said("2x", branch="x")])
        assert await texts(stores, copy, branch="x", include_parents=True) == ["1", "1x", "2x"]

    async def test_deleting_the_source_leaves_the_copy(self, stores: Stores) -> None:
        await stores.sessions.append(KEY, [said("1", actor="ada")])
        await stores.sessions.fork(KEY, "copy")
        assert await stores.sessions.delete("acme", session_id="s-1") == 1
        assert await texts(stores, SessionKey("acme", "copy")) == ["1"]

    async def test_a_fork_says_what_is_missing_or_in_the_way(self, stores: Stores) -> None:
        with pytest.raises(SessionNotFound):
            await stores.sessions.fork(KEY, "copy")
        await stores.sessions.append(KEY, [said("1")])
        with pytest.raises(EventNotFound):
            await stores.sessions.fork(KEY, "copy", at_event=event_id(1.0, 1))
        await stores.sessions.append(SessionKey("acme", "copy"), [said("mine")])
        with pytest.raises(SessionExists):
            await stores.sessions.fork(KEY, "copy")
        with pytest.raises(SessionExists):
            await stores.sessions.fork(KEY, "s-1")
        assert await texts(stores, SessionKey("acme", "copy")) == ["mine"]
