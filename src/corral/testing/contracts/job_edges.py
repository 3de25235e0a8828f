"""What a `JobStore` promises at its edges: odd input, many at once, full queues, times, and who goes before whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import IdempotencyKeyReused, JobStateConflict, QueueFull, ValidationFailed
from corral.jobs.job import Backoff, Callback
from corral.testing.contracts.job_setting import (
    ALL,
    LEASE_S,
    TENANT,
    claim,
    draft,
    end,
    enqueue,
    info,
    names,
    status,
)
from corral.testing.contracts.job_tokens import reaped
from corral.testing.contracts.setting import Contract, eventually

if TYPE_CHECKING:
    from corral.backends.stores import Stores

_AWKWARD = {
    "unicode": '{"text": "Grüße, 世界 🌍 \\u0000"}'.encode(),
    "spaces": b'{ "b" : 1 , "a":1.50, "b": 2 }',
    "numbers": b"[1e400, 123456789012345678901234567890]",
    "quotes": b'"\'; DROP TABLE jobs; -- $1 :x ? % \\\\"',
    "huge": b'"' + b"0123456789abcdef" * 100_000 + b'"',
}


class JobDraftContract(Contract):
    """What comes out is what went in."""

    @pytest.mark.parametrize("text", _AWKWARD.values(), ids=_AWKWARD.keys())
    async def test_an_input_is_kept_byte_for_byte(self, stores: Stores, text: bytes) -> None:
        (job_id,) = await enqueue(stores, draft("a", input=text))
        (job,) = await claim(stores)
        assert job.input == text
        assert await end(stores, job, result=text)
        found = await info(stores, job_id)
        assert (bytes(found.input), bytes(found.result or b"")) == (text, text)

    async def test_people_see_what_was_asked_for(self, stores: Stores, other_stores: Stores) -> None:
        wanted = draft(
            "a", session_id="s'1", user_id="ädä", queue="gpu", priority=0, version="v2", tags=("x", "y\"'%"),
            max_attempts=9, batch_id="b", deadline_s=900.0, delay_s=90.0, backoff=Backoff(3.0, 1.5, 60.0, 0.25),
            callback=Callback("https://example.com/?a=b&c", {"x-a": "ü"}), timeout_s=7.5,
        )  # fmt: skip
        ((enqueued,), found) = (await stores.jobs.enqueue([wanted]), await info(other_stores, wanted.id))
        assert (enqueued.state, found.status) == ("scheduled", "scheduled")
        for field in ("id", "tenant", "agent", "version", "queue", "priority", "session_id", "user_id", "tags",
                      "batch_id", "max_attempts", "callback"):  # fmt: skip
            assert getattr(found, field) == getattr(wanted, field), field
        assert found.run_at == pytest.approx(found.created_at + 90.0)
        assert found.deadline_at == pytest.approx(found.created_at + 900.0)
        assert (found.attempt, found.failures, found.last_seq, found.awaits) == (0, 0, 0, "")
        assert not found.cancel_requested
        empty = (found.started_at, found.finished_at, found.progress, found.error, found.result)
        assert empty == (None, None, None, None, None)

    async def test_nothing_to_enqueue_is_nothing(self, stores: Stores) -> None:
        assert await stores.jobs.enqueue([]) == []
        assert (await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)).next_due_s is None

    @pytest.mark.parametrize(
        "odd",
        [{"tenant": "a\0"}, {"agent": "\ud800"}, {"queue": ""}, {"priority": 11}, {"priority": -1}, {"weight": 0.0},
         {"weight": float("nan")}, {"max_attempts": 0}, {"concurrency_key": "k", "concurrency_limit": 0},
         {"delay_s": float("nan")}, {"run_at": float("inf")}, {"tags": ("\0",)}, {"concurrency_key": ""}, {"session_id": ""}],
    )  # fmt: skip
    async def test_what_no_engine_could_keep_is_refused(self, stores: Stores, odd: dict[str, Any]) -> None:
        fine = draft("fine")
        with pytest.raises(ValidationFailed):
            await enqueue(stores, fine, draft(**odd))
        assert await stores.job_records.get(TENANT, fine.id) is None

    async def test_an_id_of_another_tenant_is_refused(self, stores: Stores) -> None:
        (mine,) = await enqueue(stores, draft("a"))
        with pytest.raises(JobStateConflict):
            await enqueue(stores, draft("fine", tenant="other"), draft("b", id=mine, tenant="other"))
        assert (await stores.job_records.find("other", ALL)).items == []

    async def test_two_jobs_of_one_id_are_asked_different_things(self, stores: Stores, other_stores: Stores) -> None:
        """An engine may refuse an id that another tenant gave a job which has ended; where it does not, they share nothing."""
        mine, theirs, later = (b'"%s"' % (letter * 50_000) for letter in (b"m", b"t", b"l"))
        (job_id,) = await enqueue(stores, draft("a", input=mine))
        (job,) = await claim(stores)
        assert await end(stores, job, "failed")
        try:
            await enqueue(other_stores, draft("b", id=job_id, tenant="other", input=theirs))
        except JobStateConflict:
            assert await stores.job_records.get("other", job_id) is None
        else:
            assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id) == []  # it would be there twice
            (job,) = await claim(stores)
            assert (job.tenant, job.input) == ("other", theirs)
            assert await end(stores, job, "failed")
            assert bytes((await info(stores, job_id, "other")).input) == theirs
        assert bytes((await info(stores, job_id)).input) == mine
        assert await stores.job_records.redrive(TENANT, ALL, job_id=job_id, new_input=later) == [job_id]
        assert [(job.tenant, job.input) for job in await claim(other_stores)] == [(TENANT, later)]
        other = await stores.job_records.get("other", job_id)
        assert other is None or bytes(other.input) == theirs

    async def test_repeating_tells_how_far_the_job_is(self, stores: Stores) -> None:
        once = draft("a", idempotency_key="k", fingerprint="f")
        await enqueue(stores, once)
        (job,) = await claim(stores)
        for state, kind in (("running", "released"), ("queued", None)):
            (again,) = await stores.jobs.enqueue([draft("b", idempotency_key="k", fingerprint="f")])
            assert (again.id, again.is_new, again.state) == (once.id, False, state)
            if kind:
                assert await end(stores, job, "released")
        (job,) = await claim(stores)
        assert await end(stores, job)
        for again_ in (once, draft("c", idempotency_key="k", fingerprint="f")):
            (again,) = await stores.jobs.enqueue([again_])
            assert (again.id, again.is_new, again.state) == (once.id, False, "succeeded")
        assert await claim(stores) == []

    async def test_a_reused_key_takes_its_neighbours_along(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", idempotency_key="k", fingerprint="f"))
        fine = draft("fine")
        with pytest.raises(IdempotencyKeyReused):
            await enqueue(stores, fine, draft("b", idempotency_key="k", fingerprint="else"))
        with pytest.raises(IdempotencyKeyReused):
            await enqueue(stores, *(draft("c", idempotency_key="new", fingerprint=print_) for print_ in "fg"))
        assert await names(stores) == ["a"]
        await enqueue(stores, draft("d", idempotency_key="new", fingerprint="h"))

    async def test_one_key_from_many_sides_is_one_job(self, stores: Stores, other_stores: Stores) -> None:
        both = (stores, other_stores)
        sent = [
            both[n % 2].jobs.enqueue([draft("a", idempotency_key=f"k{n % 3}", fingerprint="f"), draft("b")])
            for n in range(24)
        ]
        answers = await asyncio.gather(*sent)
        assert sum(answer[0].is_new for answer in answers) == 3
        assert len({answer[0].id for answer in answers}) == 3
        assert sorted(await names(stores)) == ["a"] * 3 + ["b"] * 24


class DepthContract(Contract):
    """Full queues."""

    async def test_every_open_job_counts_and_no_other(self, stores: Stores) -> None:
        await enqueue(stores, draft("waits"), draft("runs"), draft("ends"))
        waits, _, ends = await claim(stores)
        assert await end(stores, waits, "waiting")
        assert await end(stores, ends)
        await enqueue(stores, draft("later", delay_s=900.0), draft("ready"), draft("elsewhere", queue="q"))
        assert await stores.job_records.depth("default", limit=100) == 4
        assert await stores.job_records.depth("default", limit=3) == 3
        assert await stores.job_records.depth("none", limit=3) == 0
        (found,) = [one for one in await stores.job_records.queues() if one.queue == "default"]
        assert (found.queued, found.scheduled, found.running, found.waiting) == (1, 1, 1, 1)

    async def test_more_than_would_ever_fit_is_refused_whole(self, stores: Stores) -> None:
        with pytest.raises(QueueFull):
            await stores.jobs.enqueue([draft("other", queue="q"), *(draft("a") for _ in range(4))], depth_max=3)
        assert await claim(stores) == []
        assert len(await stores.jobs.enqueue([draft("a") for _ in range(3)], depth_max=3)) == 3

    async def test_what_is_known_already_needs_no_place(self, stores: Stores) -> None:
        known = draft("a", idempotency_key="k", fingerprint="f")
        await stores.jobs.enqueue([known], depth_max=1)
        again = [known, draft("b", idempotency_key="k", fingerprint="f")]
        for one in again:
            (found,) = await stores.jobs.enqueue([one], depth_max=1)
            assert (found.id, found.is_new) == (known.id, False)
        assert [one.is_new for one in await stores.jobs.enqueue(again, depth_max=1)] == [False, False]

    async def test_a_place_is_free_again_when_a_job_has_ended(self, stores: Stores) -> None:
        await stores.jobs.enqueue([draft("a")], depth_max=1)
        (job,) = await claim(stores)
        assert await end(stores, job)

        async def fits() -> bool:
            try:
                await stores.jobs.enqueue([draft("b")], depth_max=1)
            except QueueFull:
                return False
            return True

        await eventually(fits)
        assert await names(stores) == ["b"]


class TimesContract(Contract):
    """Not before its time."""

    @pytest.mark.parametrize("more", [{"delay_s": -5.0}, {"run_at": 1.0}, {"run_at": 1.0, "delay_s": 900.0}])
    async def test_a_time_that_has_passed_is_now(self, stores: Stores, more: dict[str, float]) -> None:
        ((enqueued,), got) = (await stores.jobs.enqueue([draft("a", **more)]), await names(stores))
        assert (enqueued.state, got) == ("queued", ["a"])

    async def test_the_time_goes_before_the_delay(self, stores: Stores) -> None:
        (other,) = await enqueue(stores, draft("a", delay_s=900.0))
        at = (await info(stores, other)).created_at + 500.0
        (job_id,) = await enqueue(stores, draft("b", delay_s=1.0, run_at=at))
        assert (await info(stores, job_id)).run_at == pytest.approx(at, abs=0.01)

    async def test_the_next_time_is_the_nearest(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"), draft("b", delay_s=500.0), draft("c", delay_s=900.0))
        first = await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)
        assert first.next_due_s is not None
        assert 400 < first.next_due_s <= 500
        (job,) = first.jobs
        assert await end(stores, job, "waiting", wait_until=job.claimed_at + 300.0)
        second = await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)
        assert second.jobs == []
        assert second.next_due_s is not None
        assert 200 < second.next_due_s <= 300

    async def test_a_wait_without_an_end_is_never_due(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, "waiting")
        assert (await stores.jobs.claim("w", queues=(), limit=9, lease_s=LEASE_S)).next_due_s is None

    async def test_a_wait_whose_time_has_passed_is_over(self, stores: Stores) -> None:
        await enqueue(stores, draft("a"))
        (job,) = await claim(stores)
        assert await end(stores, job, "waiting", wait_until=job.claimed_at - 5.0)
        assert await names(stores) == ["a"]

    async def test_what_got_due_joins_behind_its_elders_and_before_the_less_urgent(self, stores: Stores) -> None:
        (due,) = await enqueue(stores, draft("due", delay_s=0.02))
        await enqueue(stores, draft("low", priority=1), draft("elder"))

        async def came() -> bool:
            await stores.jobs.reap()
            return await status(stores, due) == "queued"

        await eventually(came)
        assert await names(stores) == ["elder", "due", "low"]

    async def test_past_its_deadline_a_job_is_not_run(self, stores: Stores) -> None:
        (job_id,) = await enqueue(stores, draft("a", deadline_s=0.005))

        async def over() -> bool:
            await stores.jobs.reap()
            return await status(stores, job_id) == "failed"

        await eventually(over)
        found = await info(stores, job_id)
        assert found.error is not None
        assert (found.error.code, found.finished_at is not None) == ("deadline_exceeded", True)
        assert await claim(stores) == []


class TurnsOfTenantsContract(Contract):
    """Fair shares, looked at closely."""

    @pytest.mark.parametrize("limit", [1, 7, 100])
    async def test_turns_do_not_depend_on_how_many_are_claimed_at_once(self, stores: Stores, limit: int) -> None:
        await enqueue(stores, *(draft("a") for _ in range(12)), *(draft("b", tenant="b") for _ in range(12)))
        got: list[str] = []
        while more := await names(stores, limit):
            got += more
        assert len(got) == 24
        assert all(abs(got[:at].count("a") - got[:at].count("b")) <= 2 for at in range(24))

    async def test_each_key_is_first_come_first_served(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(f"{'ab'[n % 3 % 2]}{n:02}", fairness_key="ab"[n % 3 % 2]) for n in range(24)))
        got = await names(stores)
        for key in "ab":
            assert [name for name in got if name[0] == key] == sorted(name for name in got if name[0] == key)

    async def test_fairness_does_not_go_before_priority(self, stores: Stores) -> None:
        await enqueue(stores, *(draft("a") for _ in range(5)), draft("b", tenant="b", priority=4))
        assert await names(stores) == ["a"] * 5 + ["b"]

    async def test_the_urgent_of_one_queue_go_before_the_rest_of_another(self, stores: Stores) -> None:
        await enqueue(stores, draft("a1", queue="a", priority=1), draft("b1", queue="b", priority=9),
                      draft("a2", queue="a", priority=8), draft("b2", queue="b", priority=2))  # fmt: skip
        assert await names(stores, queues=["b", "a", "b"]) == ["b1", "a2", "b2", "a1"]

    async def test_an_agent_nobody_has_here_is_in_nobodys_way(self, stores: Stores) -> None:
        await enqueue(stores, *(draft("a", agent="absent", priority=9) for _ in range(60)), draft("b"))
        assert await names(stores, 1, exclude=["absent", "more"]) == ["b"]
        assert await names(stores, 1, exclude=["absent"]) == []
        assert len(await claim(stores)) == 60

    @pytest.mark.parametrize("key", [None, "k"])
    @pytest.mark.parametrize("how", ["released", "waiting", "lost"])
    async def test_what_had_its_turn_goes_before_a_backlog(self, stores: Stores, how: str, key: str | None) -> None:
        await enqueue(stores, draft("first", concurrency_key=key), *(draft("backlog") for _ in range(20)))
        (job,) = await claim(stores, 1, lease_s=0.0 if how == "lost" else LEASE_S)
        await enqueue(stores, *(draft("later", concurrency_key=key) for _ in range(3)))
        if how == "released":
            assert await end(stores, job, "released")
        elif how == "waiting":
            assert await end(stores, job, "waiting", awaits="signal:x#1")
            assert await names(stores, 1) != ["first"]
            assert await stores.jobs.signal(TENANT, job.id, "x", b"1")
        else:
            await reaped(stores, job.id)
        assert "first" in await names(stores, 2) or key  # whoever got the key meanwhile has it
        if key and how != "waiting":
            assert await status(stores, job.id) == "running"

    async def test_what_failed_lines_up_again(self, stores: Stores) -> None:
        await enqueue(stores, draft("first"), *(draft("backlog") for _ in range(5)))
        (job,) = await claim(stores, 1)
        assert await end(stores, job, "retry", delay_s=0.0)
        assert await names(stores) == ["backlog"] * 5 + ["first"]

    async def test_a_session_keeps_its_order_when_a_job_is_handed_back(self, stores: Stores) -> None:
        await enqueue(stores, *(draft(name, session_id="s") for name in "abc"))
        (job,) = await claim(stores)
        assert await end(stores, job, "released")
        assert await names(stores) == ["a"]

    async def test_ageing_never_passes_the_most_urgent(self, stores: Stores) -> None:
        await enqueue(stores, draft("top", priority=10), draft("low", priority=9))
        for _ in range(3):
            await asyncio.sleep(0.002)  # ageing counts time that passed
            await stores.jobs.reap(ageing_s=0.001)
        assert (await stores.jobs.reap(ageing_s=0.001)).aged == 0
        assert await names(stores) == ["top", "low"]

    async def test_who_has_just_come_does_not_rise(self, stores: Stores) -> None:
        await enqueue(stores, draft("a", priority=0), draft("b", priority=1, delay_s=900.0))
        assert (await stores.jobs.reap(ageing_s=900.0)).aged == 0
