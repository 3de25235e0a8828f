"""What `AgentRuns` promises: one holder whose token fences every write, a journal without gaps, answers that count once."""

# ruff: noqa: S106 - these tokens say who holds a run, and open nothing

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral.agents.store import (
    ApprovalClosed,
    ApprovalDraft,
    ApprovalNotFound,
    ApprovalQuery,
    Decision,
    EntryDraft,
    RunBusy,
    RunClaim,
    RunDraft,
    RunEnding,
    RunLost,
    RunNotFound,
    RunOver,
    RunQuery,
    Tally,
)
from corral.errors import CursorNotFound, IdempotencyKeyReused, ValidationFailed
from corral.messages import Usage
from corral.testing.contracts.setting import Contract

if TYPE_CHECKING:
    from corral.agents.store import Begun, RunState
    from corral.backends.stores import Stores

TENANT = "acme"
LONG_S = 600.0
PAUSED = RunEnding(state="paused")
DONE = RunEnding(state="done", outcome=b'{"output":"yes"}')
YES = Decision(approve=True, by="ann")
NO = Decision(approve=False, by="bob", note="too dear")


def wrote(*texts: str) -> list[EntryDraft]:
    """Entries, one for each text."""
    return [EntryDraft("answered", b'"%s"' % text.encode()) for text in texts]


def asks(name: str = "a-1", **more: Any) -> ApprovalDraft:
    """A question to a person."""
    return ApprovalDraft(id=name, call_id="call-1", tool="refund", input={"amount": 9}, rule="dear", **more)


async def begun(stores: Stores, run_id: str = "r-1", *, lease_s: float = LONG_S, **more: Any) -> RunClaim:
    """A run that has begun, held under the token `t-` and its id."""
    draft = RunDraft(**{"tenant": TENANT, "id": run_id, "agent": "support", **more})
    token = f"t-{run_id}"
    answer = await stores.agent_runs.begin(draft, token=token, lease_s=lease_s, entries=wrote("asked"))
    assert answer.is_new
    return RunClaim(draft.tenant, run_id, token)


async def paused(stores: Stores, run_id: str = "r-1", *approvals: ApprovalDraft, **more: Any) -> None:
    """A run that waits for people."""
    claim = await begun(stores, run_id, **more)
    await stores.agent_runs.append(claim, wrote("wanted"), first=2, approvals=approvals or [asks()], ending=PAUSED)


async def said(stores: Stores, run_id: str = "r-1", **more: Any) -> list[str]:
    """A run's entries as texts."""
    return [entry.body.decode().strip('"') for entry in await stores.agent_runs.entries(TENANT, run_id, **more)]


async def state_of(stores: Stores, run_id: str = "r-1", tenant: str = TENANT) -> RunState | None:
    """The state of a run."""
    info = await stores.agent_runs.get(tenant, run_id)
    return None if info is None else info.state


class RunContract(Contract):
    """Runs, who holds them, and their journals."""

    async def test_a_run_is_what_it_began_with(self, stores: Stores, other_stores: Stores) -> None:
        await begun(stores, session_id="s", user_id="ann", job_id="j", parent_id="p", attempt=3)
        run = await other_stores.agent_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.agent, run.state, run.session_id, run.user_id) == ("support", "running", "s", "ann")
        assert (run.job_id, run.parent_id, run.attempt, run.entries) == ("j", "p", 3, 1)
        assert (run.tally, run.cancel_requested, run.ended_at, run.outcome) == (Tally(), False, None, None)
        assert run.created_at == run.updated_at > 1e9
        (entry,) = await other_stores.agent_runs.entries(TENANT, "r-1")
        assert (entry.seq, entry.kind, entry.body, entry.at) == (1, "answered", b'"asked"', run.created_at) or (
            entry.at >= run.created_at
        )
        assert await stores.agent_runs.get(TENANT, "r-2") is None

    async def test_beginning_twice_is_beginning_once(self, stores: Stores) -> None:
        await begun(stores)
        draft = RunDraft(tenant=TENANT, id="r-1", agent="other")
        again = await stores.agent_runs.begin(draft, token="t-r-1", lease_s=LONG_S, entries=wrote("more"))
        other = await stores.agent_runs.begin(draft, token="another", lease_s=LONG_S, entries=wrote("more"))
        assert (again.is_new, other.is_new) == (True, False)
        assert again.run.agent == other.run.agent == "support"
        assert await said(stores) == ["asked"]

    async def test_one_key_is_one_run(self, stores: Stores) -> None:
        await begun(stores, idempotency_key="k", fingerprint="f")
        same = RunDraft(tenant=TENANT, id="r-2", agent="support", idempotency_key="k", fingerprint="f")
        answer = await stores.agent_runs.begin(same, token="t", lease_s=LONG_S)
        assert (answer.is_new, answer.run.id) == (False, "r-1")
        other = RunDraft(tenant=TENANT, id="r-3", agent="support", idempotency_key="k", fingerprint="g")
        with pytest.raises(IdempotencyKeyReused):
            await stores.agent_runs.begin(other, token="t", lease_s=LONG_S)
        await begun(stores, "r-4", tenant="umbrella", idempotency_key="k", fingerprint="g")
        assert await state_of(stores, "r-2") is None

    async def test_many_who_begin_with_one_key_get_one_run(self, stores: Stores, other_stores: Stores) -> None:
        async def begin(number: int) -> Begun:
            draft = RunDraft(tenant=TENANT, id=f"r-{number}", agent="support", idempotency_key="k")
            runs = (stores, other_stores)[number % 2].agent_runs
            return await runs.begin(draft, token=f"t-{number}", lease_s=LONG_S)

        answers = await asyncio.gather(*(begin(number) for number in range(10)))
        assert sum(answer.is_new for answer in answers) == 1
        assert len({answer.run.id for answer in answers}) == 1

    async def test_entries_are_numbered_without_gaps(self, stores: Stores) -> None:
        claim = await begun(stores)
        assert not await stores.agent_runs.append(claim, wrote("a", "b"), first=2)
        assert not await stores.agent_runs.append(claim, wrote("c"), first=4)
        assert await said(stores) == ["asked", "a", "b", "c"]
        assert await said(stores, after=1, limit=2) == ["a", "b"]
        for first in (2, 4, 6):
            with pytest.raises(RunLost):
                await stores.agent_runs.append(claim, wrote("x", "y"), first=first)
        assert await said(stores) == ["asked", "a", "b", "c"]

    async def test_an_append_that_is_asked_again_is_written_once(self, stores: Stores) -> None:
        claim = await begun(stores)
        for _ in range(2):
            await stores.agent_runs.append(claim, wrote("a", "b"), first=2)
        for _ in range(2):
            await stores.agent_runs.append(claim, wrote("c"), first=4, ending=DONE)
        assert await said(stores) == ["asked", "a", "b", "c"]
        assert await state_of(stores) == "done"

    async def test_what_a_run_took_is_noted(self, stores: Stores) -> None:
        claim = await begun(stores)
        tally = Tally(steps=2, tool_calls=3, usage=Usage(input=5, output=7), cost_usd=None)
        await stores.agent_runs.append(claim, wrote("a"), first=2, tally=tally)
        await stores.agent_runs.append(claim, wrote("b"), first=3)
        run = await stores.agent_runs.get(TENANT, "r-1")
        assert run is not None
        assert run.tally == tally

    async def test_a_run_has_one_holder(self, stores: Stores, other_stores: Stores) -> None:
        await begun(stores)
        with pytest.raises(RunBusy):
            await other_stores.agent_runs.claim(TENANT, "r-1", token="b", lease_s=LONG_S)
        with pytest.raises(RunNotFound):
            await other_stores.agent_runs.claim(TENANT, "r-2", token="b", lease_s=LONG_S)

    async def test_of_many_who_resume_one_does(self, stores: Stores, other_stores: Stores) -> None:
        await paused(stores)

        async def claim(number: int) -> bool:
            runs = (stores, other_stores)[number % 2].agent_runs
            try:
                await runs.claim(TENANT, "r-1", token=f"b-{number}", lease_s=LONG_S)
            except RunBusy:
                return False
            return True

        assert sum(await asyncio.gather(*(claim(number) for number in range(10)))) == 1
        assert await state_of(stores) == "running"

    async def test_claiming_twice_with_one_token_is_claiming_once(self, stores: Stores) -> None:
        await paused(stores)
        for _ in range(2):
            run = await stores.agent_runs.claim(TENANT, "r-1", token="b", lease_s=LONG_S)
            assert (run.state, run.entries) == ("running", 2)

    async def test_a_run_whose_lease_lapsed_is_interrupted_and_goes_on_elsewhere(
        self, stores: Stores, other_stores: Stores
    ) -> None:
        old = await begun(stores, lease_s=0.0)
        assert await state_of(other_stores) == "interrupted"
        await stores.agent_runs.append(old, wrote("still here"), first=2)
        await other_stores.agent_runs.claim(TENANT, "r-1", token="b", lease_s=LONG_S)
        with pytest.raises(RunLost):
            await stores.agent_runs.append(old, wrote("too late"), first=3)
        with pytest.raises(RunLost):
            await stores.agent_runs.append(old, [], first=3, ending=DONE)
        assert (await stores.agent_runs.renew([old], lease_s=LONG_S)).lost == [old.token]
        await other_stores.agent_runs.append(RunClaim(TENANT, "r-1", "b"), wrote("b"), first=3, ending=DONE)
        assert await said(stores) == ["asked", "still here", "b"]

    async def test_a_later_attempt_takes_over_at_once_and_an_earlier_one_never(self, stores: Stores) -> None:
        first = await begun(stores, job_id="j", attempt=1)
        run = await stores.agent_runs.claim(TENANT, "r-1", token="second", lease_s=LONG_S, attempt=2)
        assert run.attempt == 2
        with pytest.raises(RunLost):
            await stores.agent_runs.append(first, wrote("a"), first=2)
        for attempt in (0, 1, 2):
            with pytest.raises(RunBusy):
                await stores.agent_runs.claim(TENANT, "r-1", token="x", lease_s=LONG_S, attempt=attempt)

    async def test_heartbeats_keep_a_run(self, stores: Stores) -> None:
        claim = await begun(stores, lease_s=0.0)
        other = await begun(stores, "r-2")
        await stores.agent_runs.cancel(TENANT, "r-2")
        nobody = RunClaim(TENANT, "r-3", "gone")
        odd = RunClaim(TENANT, "r\0", "odd")
        renewed = await stores.agent_runs.renew([claim, other, nobody, odd], lease_s=LONG_S)
        assert sorted(renewed.lost) == ["gone", "odd"]
        assert renewed.cancelled == [other.token]
        assert await state_of(stores) == "running"
        assert (await stores.agent_runs.renew([], lease_s=LONG_S)).lost == []

    @pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
    async def test_a_run_that_is_over_stays_so(self, stores: Stores, state: Any) -> None:
        claim = await begun(stores)
        ending = RunEnding(state=state, outcome=b'{"output":1}', error_code="" if state == "done" else "why")
        await stores.agent_runs.append(claim, wrote("a"), first=2, ending=ending)
        run = await stores.agent_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.state, run.outcome, run.error_code) == (state, b'{"output":1}', ending.error_code)
        assert run.ended_at == run.updated_at
        assert not run.resumable
        with pytest.raises(RunOver):
            await stores.agent_runs.claim(TENANT, "r-1", token="b", lease_s=LONG_S, attempt=9)
        with pytest.raises(RunLost):
            await stores.agent_runs.append(claim, wrote("b"), first=3)
        assert await stores.agent_runs.cancel(TENANT, "r-1") == run

    @pytest.mark.parametrize("state", ["interrupted", "paused", "failed"])
    async def test_what_was_let_go_can_be_taken_up(self, stores: Stores, state: Any) -> None:
        claim = await begun(stores)
        ending = RunEnding(state=state, error_code="model_unavailable", resumable=True)
        await stores.agent_runs.append(claim, [], first=2, ending=ending)
        run = await stores.agent_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.state, run.resumable, run.error_code) == (state, True, "model_unavailable")
        run = await stores.agent_runs.claim(TENANT, "r-1", token="b", lease_s=LONG_S)
        assert (run.state, run.ended_at, run.error_code, run.outcome) == ("running", None, "", None)

    async def test_what_cannot_be_kept_is_refused_and_what_cannot_be_there_is_not_found(self, stores: Stores) -> None:
        runs = stores.agent_runs
        ids = {"tenant": TENANT, "id": "r-1", "agent": "support"}
        for wrong in ({"id": ""}, {"id": "x\0"}, {"agent": "y" * 600}, {"session_id": "\ud800"}):
            draft = msgspec.convert({**ids, **wrong}, RunDraft)
            with pytest.raises(ValidationFailed):
                await runs.begin(draft, token="t", lease_s=LONG_S)
        assert await runs.get(TENANT, "x\0") is None
        assert await runs.entries(TENANT, "x\0") == []
        assert (await runs.find(TENANT, RunQuery(agent="x\0"))).items == []
        assert (await runs.approvals(TENANT, ApprovalQuery(id="x\0"))).items == []
        for wrong_id in ("x\0", "\ud800", "nobody"):
            with pytest.raises(RunNotFound):
                await runs.claim(TENANT, wrong_id, token="t", lease_s=LONG_S)
            with pytest.raises(RunNotFound):
                await runs.cancel(TENANT, wrong_id)
            with pytest.raises(ApprovalNotFound):
                await runs.decide(TENANT, wrong_id, YES)
            with pytest.raises(RunLost):
                await runs.append(RunClaim(TENANT, wrong_id, "t"), wrote("a"), first=1)
        with pytest.raises(RunLost):
            await runs.append(RunClaim(TENANT, "r-1", ""), wrote("a"), first=1)


class RunListContract(Contract):
    """Looking for runs, cancelling them, and forgetting them."""

    async def test_runs_are_listed_newest_first_page_by_page(self, stores: Stores) -> None:
        for number in range(7):
            await begun(stores, f"r-{number}")
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await stores.agent_runs.find(TENANT, RunQuery(limit=3, cursor=cursor))
            found += [run.id for run in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(found, reverse=True) == found or len(set(found)) == 7
        assert set(found) == {f"r-{number}" for number in range(7)}
        with pytest.raises(CursorNotFound):
            await stores.agent_runs.find(TENANT, RunQuery(cursor="no"))

    async def test_runs_are_found_by_what_they_are(self, stores: Stores) -> None:
        await begun(stores, "r-1", session_id="s", user_id="ann")
        await begun(stores, "r-2", agent="sales", job_id="j", lease_s=0.0)
        await paused(stores, "r-3", session_id="s")
        done = await begun(stores, "r-4", session_id="s")
        await stores.agent_runs.append(done, [], first=2, ending=DONE)

        async def found(**query: Any) -> set[str]:
            return {run.id for run in (await stores.agent_runs.find(TENANT, RunQuery(**query))).items}

        assert await found() == {"r-1", "r-2", "r-3", "r-4"}
        assert await found(session_id="s") == {"r-1", "r-3", "r-4"}
        assert await found(session_id="s", states=("done", "paused")) == {"r-3", "r-4"}
        assert await found(session_id="") == {"r-2"}
        assert await found(agent="sales") == {"r-2"}
        assert await found(job_id="j") == {"r-2"}
        assert await found(user_id="ann", states=("running",)) == {"r-1"}
        assert await found(states=("running", "interrupted", "paused")) == {"r-1", "r-2", "r-3"}
        assert await found(states=("interrupted",)) == {"r-2"}
        assert await found(states=("paused", "done")) == {"r-3", "r-4"}
        assert await found(since=0, until=1) == set()
        assert (await stores.agent_runs.find("umbrella", RunQuery())).items == []

    async def test_tenants_share_nothing(self, stores: Stores) -> None:
        await paused(stores)
        await begun(stores, tenant="umbrella")
        runs = stores.agent_runs
        assert len(await runs.entries(TENANT, "r-1")) == 2
        assert len(await runs.entries("umbrella", "r-1")) == 1
        assert (await runs.approvals("umbrella", ApprovalQuery())).items == []
        for query in (ApprovalQuery(id="a-1"), ApprovalQuery(run_id="r-1"), ApprovalQuery(states=("waiting",))):
            assert (await runs.approvals("umbrella", query)).items == []
            assert len((await runs.approvals(TENANT, query)).items) == 1
        with pytest.raises(ApprovalNotFound):
            await runs.decide("umbrella", "a-1", YES)
        await runs.cancel("umbrella", "r-1")
        assert await state_of(stores) == "paused"
        with pytest.raises(RunLost):
            await runs.append(RunClaim("third", "r-1", "t-r-1"), wrote("x"), first=2)

    async def test_cancelling_what_runs_asks_it_to_stop(self, stores: Stores, other_stores: Stores) -> None:
        claim = await begun(stores)
        run = await other_stores.agent_runs.cancel(TENANT, "r-1")
        assert (run.state, run.cancel_requested) == ("running", True)
        assert await stores.agent_runs.append(claim, wrote("a"), first=2)
        assert await stores.agent_runs.append(claim, [], first=3, ending=RunEnding(state="cancelled"))

    @pytest.mark.parametrize("state", ["paused", "interrupted"])
    async def test_what_is_to_be_cancelled_is_not_let_go_to_be_resumed(self, stores: Stores, state: Any) -> None:
        claim = await begun(stores)
        await stores.agent_runs.append(claim, wrote("a"), first=2, approvals=[asks()])
        await stores.agent_runs.cancel(TENANT, "r-1")
        for _ in range(2):
            assert await stores.agent_runs.append(claim, wrote("b"), first=3, ending=RunEnding(state=state))
        run = await stores.agent_runs.get(TENANT, "r-1")
        assert run is not None
        assert (run.state, run.error_code, run.resumable, run.entries) == ("cancelled", "cancelled", False, 3)
        (asked,) = (await stores.agent_runs.approvals(TENANT, ApprovalQuery())).items
        assert asked.state == "withdrawn"

    async def test_cancelling_what_nobody_works_on_ends_it(self, stores: Stores) -> None:
        await paused(stores)
        await begun(stores, "r-2", lease_s=0.0)
        for run_id in ("r-1", "r-2"):
            for _ in range(2):
                run = await stores.agent_runs.cancel(TENANT, run_id)
                assert (run.state, run.error_code, run.resumable) == ("cancelled", "cancelled", False)
        (asked,) = (await stores.agent_runs.approvals(TENANT, ApprovalQuery())).items
        assert asked.state == "withdrawn"
        with pytest.raises(ApprovalClosed, match="withdrawn"):
            await stores.agent_runs.decide(TENANT, "a-1", YES)

    async def test_what_is_old_and_nobodys_is_removed(self, stores: Stores) -> None:
        await paused(stores)
        await begun(stores, "r-2")
        await begun(stores, "r-3", lease_s=0.0)
        runs = stores.agent_runs
        assert await runs.expire(before=1.0) == 0
        gone = 0
        while swept := await runs.expire(before=1e12, limit=1):
            assert swept == 1
            gone += swept
        assert gone == 2
        assert [run.id for run in (await runs.find(TENANT, RunQuery())).items] == ["r-2"]
        assert await said(stores) == []
        assert (await runs.approvals(TENANT, ApprovalQuery(id="a-1"))).items == []


class ApprovalContract(Contract):
    """Asking people."""

    async def test_a_question_shows_what_it_is_about(self, stores: Stores) -> None:
        await paused(stores, "r-1", asks(message="May I?"), session_id="s", user_id="ann", job_id="j")
        (asked,) = (await stores.agent_runs.approvals(TENANT, ApprovalQuery(states=("waiting",)))).items
        assert (asked.id, asked.run_id, asked.agent, asked.session_id) == ("a-1", "r-1", "support", "s")
        assert (asked.user_id, asked.job_id, asked.tool, asked.input) == ("ann", "j", "refund", {"amount": 9})
        assert (asked.message, asked.rule, asked.call_id, asked.state) == ("May I?", "dear", "call-1", "waiting")
        assert (asked.expires_at, asked.decided_at, asked.by) == (None, None, "")

    async def test_open_questions_are_counted(self, stores: Stores) -> None:
        await paused(stores, "r-1", asks("a-1"), asks("a-2", ttl_s=0.001))
        await paused(stores, "r-2", asks("a-3"), tenant="umbrella")
        while await stores.agent_runs.waiting(limit=9) == 3:
            continue
        assert [await stores.agent_runs.waiting(limit=limit) for limit in (1, 9)] == [1, 2]
        await stores.agent_runs.decide(TENANT, "a-1", YES)
        assert await stores.agent_runs.waiting(limit=9) == 1

    async def test_an_answer_counts_once_and_for_all(self, stores: Stores, other_stores: Stores) -> None:
        await paused(stores)
        changed = Decision(approve=True, by="ann", note="less", input={"amount": 5})
        answers = [await runs.agent_runs.decide(TENANT, "a-1", changed) for runs in (stores, other_stores)]
        assert answers[0] == answers[1]
        assert (answers[0].state, answers[0].by, answers[0].note) == ("approved", "ann", "less")
        assert answers[0].changed_input == {"amount": 5}
        assert answers[0].decided_at is not None
        for other in (YES, NO):
            with pytest.raises(ApprovalClosed, match="approved"):
                await other_stores.agent_runs.decide(TENANT, "a-1", other)
        assert (await stores.agent_runs.approvals(TENANT, ApprovalQuery(states=("waiting",)))).items == []
        (asked,) = (await stores.agent_runs.approvals(TENANT, ApprovalQuery(id="a-1"))).items
        assert asked == answers[0]

    async def test_of_many_answers_one_counts(self, stores: Stores, other_stores: Stores) -> None:
        await paused(stores)

        async def decide(number: int) -> bool:
            answer = Decision(approve=number % 2 == 0, by=f"person {number}")
            try:
                await (stores, other_stores)[number % 2].agent_runs.decide(TENANT, "a-1", answer)
            except ApprovalClosed:
                return False
            return True

        assert sum(await asyncio.gather(*(decide(number) for number in range(10)))) == 1

    async def test_a_no_is_an_answer(self, stores: Stores) -> None:
        await paused(stores)
        assert (await stores.agent_runs.decide(TENANT, "a-1", NO)).state == "refused"

    async def test_a_question_may_run_out(self, stores: Stores) -> None:
        await paused(stores, "r-1", asks(ttl_s=0.0), asks("a-2", ttl_s=LONG_S))
        page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(run_id="r-1"))
        assert {asked.id: asked.state for asked in page.items} == {"a-1": "expired", "a-2": "waiting"}
        with pytest.raises(ApprovalClosed, match="expired"):
            await stores.agent_runs.decide(TENANT, "a-1", YES)
        page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(states=("expired",)))
        assert [asked.id for asked in page.items] == ["a-1"]
        page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(states=("waiting",)))
        assert [asked.id for asked in page.items] == ["a-2"]

    async def test_asking_twice_is_asking_once(self, stores: Stores) -> None:
        claim = await begun(stores)
        await stores.agent_runs.append(claim, wrote("a"), first=2, approvals=[asks()])
        await stores.agent_runs.decide(TENANT, "a-1", YES)
        await stores.agent_runs.append(claim, wrote("b"), first=3, approvals=[asks()])
        (asked,) = (await stores.agent_runs.approvals(TENANT, ApprovalQuery())).items
        assert asked.state == "approved"

    async def test_the_end_of_a_run_withdraws_what_is_open(self, stores: Stores) -> None:
        claim = await begun(stores)
        await stores.agent_runs.append(claim, wrote("a"), first=2, approvals=[asks(), asks("a-2")])
        await stores.agent_runs.decide(TENANT, "a-1", YES)
        await stores.agent_runs.append(claim, wrote("b"), first=3, ending=DONE)
        page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(run_id="r-1"))
        assert {asked.id: asked.state for asked in page.items} == {"a-1": "approved", "a-2": "withdrawn"}

    async def test_questions_are_listed_newest_first_page_by_page(self, stores: Stores) -> None:
        for number in range(5):
            await paused(stores, f"r-{number}", asks(f"a-{number}"), agent="odd" if number % 2 else "even")
        for query in ({}, {"states": ("waiting",)}):
            found: list[str] = []
            cursor: str | None = None
            while True:
                page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(limit=2, cursor=cursor, **query))  # type: ignore[arg-type]  # names to values
                found += [asked.id for asked in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert set(found) == {f"a-{number}" for number in range(5)}
            assert len(found) == 5
        page = await stores.agent_runs.approvals(TENANT, ApprovalQuery(agent="odd"))
        assert {asked.id for asked in page.items} == {"a-1", "a-3"}
