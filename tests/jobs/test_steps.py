from __future__ import annotations

import asyncio
import threading
import time

import msgspec
import pytest
from working_scene import TENANT, Interposed, draft, until

from corral.context import Context
from corral.errors import CorralError, StepNotKept, WaitTimeout
from corral.jobs.job import JobQuery
from corral.jobs.running import Outcome, RunningJob


class Crash(Exception):
    pass


class Effects:
    """What steps did, in order."""

    def __init__(self):
        self.done = []

    async def do(self, what, result=None):
        self.done.append(what)
        return result

    def do_here(self, what):
        self.done.append((what, threading.current_thread() is threading.main_thread()))
        return what


def agent(fn):
    """A handler out of an agent that takes a context."""

    async def run(job):
        context = Context(job.id)
        job.attach_to(context)
        return Outcome(msgspec.json.encode(await fn(context)))

    return run


@pytest.fixture
def effects():
    return Effects()


async def test_a_finished_step_is_not_done_again(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        order = await context.step("reserve", effects.do, "reserve", {"id": 7})
        if context.attempt < 3:
            await context.step("check", effects.do, "check")
            raise Crash
        await context.step("check", effects.do, "check")
        return await context.step("charge", effects.do, "charge", [order["id"], (1, 2)])

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(3) == ["retry", "retry", "succeeded"]
    assert effects.done == ["reserve", "check", "charge"]
    assert bytes((await look(job_id)).result) == b"[7,[1,2]]"


async def test_the_same_name_again_is_the_next_occurrence(make_worker, enqueue, look, seen, effects, stores):
    @agent
    async def run(context):
        values = [await context.step("page", effects.do, number, number) for number in range(3)]
        if context.attempt == 1:
            raise Crash
        return values

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await seen.count(2)
    assert effects.done == [0, 1, 2]
    assert bytes((await look(job_id)).result) == b"[0,1,2]"
    assert [step.key for step in await stores.jobs.steps(job_id)] == ["page#1", "page#2", "page#3"]


async def test_steps_side_by_side(make_worker, enqueue, look, seen, effects):
    slow = asyncio.Event()

    async def wait_first(number):
        await slow.wait()
        return await effects.do(number, number)

    @agent
    async def run(context):
        async def branch(number):
            first = await context.step(f"first-{number}", effects.do, number, number)
            return [first, await context.step(f"second-{number}", effects.do, number + 10, number + 10)]

        called = asyncio.gather(context.step("a", wait_first, 100), context.step("a", effects.do, 101, 101))
        slow.set()
        values = await asyncio.gather(*[branch(number) for number in range(3)])
        if context.attempt == 1:
            raise Crash
        return [await called, values]

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert sorted(effects.done) == [0, 1, 2, 10, 11, 12, 100, 101]
    assert bytes((await look(job_id)).result) == b"[[100,101],[[0,10],[1,11],[2,12]]]"


async def test_a_plain_function_runs_in_a_thread(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        value = await context.step("plain", effects.do_here, "x")
        return [value, await context.step("lambda", lambda: effects.do("y", "y"))]

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await seen.count(1)
    assert effects.done == [("x", False), "y"]
    assert bytes((await look(job_id)).result) == b'["x","y"]'


async def test_a_thread_that_was_left_is_let_finish_and_kept(make_worker, enqueue, look, seen, effects):
    go_on = threading.Event()
    began = threading.Event()

    def slow():
        began.set()
        go_on.wait()
        effects.done.append("paid")
        return "paid"

    @agent
    async def run(context):
        return await context.step("charge", slow)

    worker = await make_worker(run)
    (job_id,) = await enqueue(draft())
    await until(began.is_set)
    stopping = asyncio.create_task(worker.stop())
    await until(lambda: [job for job in worker._held.values() if job.stop_reason])
    go_on.set()
    await stopping
    assert seen.endings == ["released"]
    await make_worker(run)
    assert await seen.count(2) == ["released", "succeeded"]
    assert effects.done == ["paid"]
    assert bytes((await look(job_id)).result) == b'"paid"'


async def test_another_order_of_steps_is_explained(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        for name in ("reserve", "charge") if context.attempt == 1 else ("notify", "reserve"):
            await context.step(name, effects.do, name)
        raise Crash

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "failed"]
    assert effects.done == ["reserve", "charge"]
    error = (await look(job_id)).error
    assert error.code == "determinism_fault"
    assert "Step 1 of this run is 'notify#1', but the journal has 'reserve#1' there" in error.message
    assert not error.retryable


async def test_a_fault_cannot_be_swallowed(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        try:
            await context.step("a" if context.attempt == 1 else "b", effects.do, "x")
        except CorralError:
            return "all is well"
        raise Crash

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "failed"]
    assert (await look(job_id)).error.code == "determinism_fault"


async def test_steps_that_nobody_asks_for_any_more_are_told(make_worker, enqueue, seen, effects, caplog):
    @agent
    async def run(context):
        await context.step("a", effects.do, "a")
        if context.attempt == 1:
            await context.step("b", effects.do, "b")
            raise Crash

    await make_worker(run)
    await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert "without asking for 'b#1', which its journal has" in caplog.text


async def test_a_failed_step_is_done_again_in_the_next_attempt(make_worker, enqueue, seen, effects):
    async def charge(attempt):
        effects.done.append(attempt)
        if attempt == 1:
            raise ConnectionError("the bank is away")

    @agent
    async def run(context):
        await context.step("charge", charge, context.attempt)

    await make_worker(run)
    await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert effects.done == [1, 2]


async def test_a_failure_that_the_agent_went_on_from_stays(make_worker, enqueue, look, seen, effects):
    async def charge():
        effects.done.append("charge")
        if len(effects.done) == 1:
            raise ConnectionError("the bank is away")

    @agent
    async def run(context):
        try:
            await context.step("charge", charge)
        except ConnectionError as error:
            await context.step("note", effects.do, str(error))
        if context.attempt == 1:
            raise Crash
        return "ok"

    await make_worker(run)
    await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert effects.done == ["charge", "the bank is away"]


async def test_a_failure_for_good_stays(make_worker, enqueue, look, seen, effects):
    async def charge():
        effects.done.append("charge")
        raise StepNotKept("for good")

    @agent
    async def run(context):
        try:
            await context.step("charge", charge)
        except StepNotKept:
            raise Crash from None

    await make_worker(run)
    await enqueue(draft(max_attempts=2))
    assert await seen.count(2) == ["retry", "failed"]
    assert effects.done == ["charge"]


async def test_a_step_that_made_its_job_fail_is_done_again_when_a_person_asks(
    make_worker, enqueue, seen, effects, stores
):
    async def charge():
        effects.done.append("charge")
        if len(effects.done) == 1:
            raise StepNotKept("for good")

    @agent
    async def run(context):
        await context.step("charge", charge)

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert await stores.job_records.redrive(TENANT, JobQuery(), job_id=job_id) == [job_id]
    assert await seen.count(2) == ["failed", "succeeded"]
    assert effects.done == ["charge", "charge"]


async def test_who_was_stopped_for_longer_than_its_lease_asks_before_it_begins_a_step(
    make_worker, enqueue, seen, effects, stores
):
    class Gone(Interposed):
        lost: tuple = ()

        async def renew(self, claims, **lease):
            renewed = await self._store.renew(claims, **lease)
            self.calls["renew"].append(claims)
            return msgspec.structs.replace(renewed, lost=list(self.lost))

    store = Gone(stores.jobs)

    @agent
    async def run(context):
        job = context._job
        job.renewed_at -= 3600
        await context.step("ours", effects.do, "ours")
        await context.step("ours still", effects.do, "ours still")
        assert len(store.calls["renew"]) == 1
        job.renewed_at -= 3600
        store.lost = (job.claim.token,)
        await context.step("not ours", effects.do, "not ours")

    await make_worker(run, store=store)
    await enqueue(draft())
    assert await seen.count(1) == ["lost"]
    assert effects.done == ["ours", "ours still"]


@pytest.mark.parametrize("claims_stay", [True, False])
async def test_who_has_a_claim_that_a_crash_may_have_undone_asks_once_before_its_first_step(
    claims_stay, make_worker, enqueue, seen, effects, stores
):
    class Undoing(Interposed):
        is_undone = False

        async def renew(self, claims, **lease):
            self.calls["renew"].append(claims)
            renewed = await self._store.renew(claims, **lease)
            return msgspec.structs.replace(renewed, lost=[one.token for one in claims]) if self.is_undone else renewed

    store = Undoing(stores.jobs)
    store.claims_stay = claims_stay

    @agent
    async def run(context):
        await context.step("first", effects.do, "first")
        await context.step("second", effects.do, "second")

    await make_worker(run, store=store, lease_s=60)
    await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]
    assert len(store.calls["renew"]) == (0 if claims_stay else 1)
    store.is_undone = True
    await enqueue(draft())
    assert await seen.count(2) == ["succeeded", "succeeded" if claims_stay else "lost"]
    assert effects.done == ["first", "second"] * (2 if claims_stay else 1)


async def test_who_was_stopped_until_the_answer_was_old_asks_again(
    make_worker, enqueue, seen, effects, stores, monkeypatch
):
    class Late(Interposed):
        ahead_s = 0.0

        async def renew(self, claims, **lease):
            self.calls["renew"].append(claims)
            renewed = await self._store.renew(claims, **lease)
            self.ahead_s += 3600 if len(self.calls["renew"]) < 3 else 0
            return renewed

    store = Late(stores.jobs)
    store.claims_stay = False
    monkeypatch.setattr(RunningJob, "now", lambda _: time.monotonic() + store.ahead_s)

    @agent
    async def run(context):
        await context.step("first", effects.do, "first")

    await make_worker(run, store=store, lease_s=60)
    await enqueue(draft())
    assert await seen.count(1) == ["succeeded"]
    assert len(store.calls["renew"]) == 3
    assert effects.done == ["first"]


async def test_a_step_that_the_store_refuses_is_not_paid_twice(make_worker, enqueue, look, seen, effects, stores):
    store = Interposed(stores.jobs)

    async def refuse():
        raise ValueError("not this")

    @agent
    async def run(context):
        await context.step("charge", effects.do, "charge")

    store.before["journal"] = refuse
    await make_worker(run, store=store)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert effects.done == ["charge"]
    assert (
        await look(job_id)
    ).error.message == "Step 'charge#1' is done, but the store does not take its result: not this"


async def test_a_large_value_is_kept_apart(make_worker, enqueue, look, seen, effects, stores):
    @agent
    async def run(context):
        text = await context.step("read", effects.do, "read", "x" * 5000)
        if context.attempt == 1:
            raise Crash
        return len(text)

    await make_worker(run, inline_max_bytes=1000)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    (step,) = await stores.jobs.steps(job_id)
    assert step.is_reference
    assert len(await stores.blobs.get(TENANT, step.value.decode())) == 5002
    assert bytes((await look(job_id)).result) == b"5000"


async def test_a_result_that_cannot_be_kept_fails_for_good(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        await context.step("open", effects.do, "open", object())

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert (await look(job_id)).error.code == "step_not_kept"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\n", "wait:x", "signal:x"])
async def test_a_name_must_be_one(make_worker, enqueue, look, seen, effects, name):
    @agent
    async def run(context):
        await context.step(name, effects.do, "x")

    await make_worker(run)
    await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert not effects.done


# -- signals ---------------------------------------------------------------------------------------------------------


async def test_a_job_waits_without_a_worker(make_worker, enqueue, look, seen, effects, stores):
    @agent
    async def run(context):
        await context.step("ask", effects.do, "ask")
        answer = await context.wait_for("approval")
        return await context.step("charge", effects.do, "charge", answer)

    worker = await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["waiting"]
    assert worker.running == 0
    job = await look(job_id)
    assert (job.status, job.failures) == ("waiting", 0)
    assert await stores.jobs.signal(TENANT, job_id, "approval", b'{"approved":true}')
    assert await seen.count(2) == ["waiting", "succeeded"]
    assert effects.done == ["ask", "charge"]
    assert bytes((await look(job_id)).result) == b'{"approved":true}'


async def test_a_signal_that_comes_first_is_not_lost(make_worker, enqueue, look, seen, stores):
    @agent
    async def run(context):
        return [await context.wait_for("go"), await context.wait_for("go")]

    (job_id,) = await enqueue(draft())
    await stores.jobs.signal(TENANT, job_id, "go", b"1")
    await stores.jobs.signal(TENANT, job_id, "go", b"2")
    await make_worker(run)
    assert await seen.count(1) == ["succeeded"]
    assert bytes((await look(job_id)).result) == b"[1,2]"


async def test_a_signal_while_the_run_is_about_to_wait_wakes_it_at_once(make_worker, enqueue, look, seen, stores):
    @agent
    async def run(context):
        await stores.jobs.signal(TENANT, context.job_id, "go", b"1") if context.attempt == 1 else None
        return await context.wait_for("go")

    await make_worker(run)
    await enqueue(draft())
    assert await seen.count(2) == ["waiting", "succeeded"]


async def test_a_wait_has_an_end_that_stays(make_worker, enqueue, look, seen, stores):
    @agent
    async def run(context):
        try:
            await context.wait_for("approval", timeout=0.1)
        except WaitTimeout as error:
            await stores.jobs.signal(TENANT, context.job_id, "approval", b'"too late"')
            if context.attempt == 2:
                raise Crash from None
            return str(error)
        return "approved"

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(3) == ["waiting", "retry", "succeeded"]
    assert bytes((await look(job_id)).result) == b"\"No signal 'approval' came within 0.1 s.\""


async def test_an_agent_cannot_swallow_a_wait(make_worker, enqueue, look, seen, stores):
    @agent
    async def run(context):
        try:
            return await context.wait_for("go")
        except BaseException:  # noqa: BLE001 - the careless agent is the point
            return "swallowed"

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["waiting"]
    await stores.jobs.signal(TENANT, job_id, "go", b"1")
    await seen.count(2)
    assert bytes((await look(job_id)).result) == b"1"


async def test_a_job_waits_only_once_its_other_steps_are_done(make_worker, enqueue, look, seen, effects, stores):
    go_on = asyncio.Event()
    asked = asyncio.Event()

    async def slow():
        asked.set()
        await go_on.wait()
        return await effects.do("slow", "slow")

    @agent
    async def run(context):
        return await asyncio.gather(context.step("slow", slow), context.wait_for("go"))

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    await asked.wait()
    assert not seen.endings
    go_on.set()
    assert await seen.count(1) == ["waiting"]
    await stores.jobs.signal(TENANT, job_id, "go", b"1")
    await seen.count(2)
    assert effects.done == ["slow"]
    assert bytes((await look(job_id)).result) == b'["slow",1]'


# -- threads and other loops -----------------------------------------------------------------------------------------


async def test_a_synchronous_agent_has_steps_too(make_worker, enqueue, look, seen, effects, stores):
    def work(context):
        value = context.run_step("here", effects.do_here, "x")
        if context.attempt == 1:
            raise Crash
        return [value, context.run_wait_for("go")]

    @agent
    async def run(context):
        return await asyncio.to_thread(work, context)

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "waiting"]
    await stores.jobs.signal(TENANT, job_id, "go", b"1")
    await seen.count(3)
    assert effects.done == [("x", False)]
    assert bytes((await look(job_id)).result) == b'["x",1]'


async def test_a_blocking_step_on_the_loop_is_refused(make_worker, enqueue, look, seen, effects):
    @agent
    async def run(context):
        context.run_step("here", effects.do_here, "x")

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(1) == ["failed"]
    assert "await context.step" in (await look(job_id)).error.message


async def test_an_agent_on_a_loop_of_its_own(make_worker, enqueue, look, seen, effects):
    async def work(context):
        value = await context.step("a", effects.do, "a", "a")
        await context.progress(0.5)
        if context.attempt == 1:
            raise Crash
        return [value, await context.step("b", effects.do_here, "b")]

    @agent
    async def run(context):
        return await asyncio.to_thread(lambda: asyncio.run(work(context)))

    await make_worker(run)
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert effects.done == ["a", ("b", False)]
    assert bytes((await look(job_id)).result) == b'["a","b"]'


# -- outside of a job ------------------------------------------------------------------------------------------------


async def test_outside_of_a_job_a_step_simply_calls(effects):
    context = Context("r1")
    assert await context.step("a", effects.do, "a", (1, 2)) == (1, 2)
    assert await context.step("b", effects.do_here, "b") == "b"
    assert context.run_step("c", effects.do_here, "c") == "c"
    assert effects.done == ["a", ("b", False), ("c", True)]
    await context.progress(0.5, "reading")
    assert (context.job_id, context.attempt) == (None, 1)
    with pytest.raises(CorralError, match="Only a job can wait for 'approval'"):
        await context.wait_for("approval")
    with pytest.raises(CorralError, match="Only a job can wait for 'approval'"):
        context.run_wait_for("approval")
