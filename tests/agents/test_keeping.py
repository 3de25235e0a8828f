"""Runs that survive: which are stored, who goes on with them, what people decide about them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing

import msgspec
import pytest
from agent_scene import ScriptedModel, heard, kinds, says, wants

from corral.agents.agent import Agent
from corral.agents.connected import House
from corral.agents.connected import using as using_house
from corral.agents.desk import RunDesk, stoppable
from corral.agents.event import ApprovalAsked, Failed, Finished
from corral.agents.journal import Decided, Opening, ToolDone
from corral.agents.keeping import StoredRuns
from corral.agents.kept import NOBODY, entries_of, signal_name
from corral.agents.store import (
    ApprovalClosed,
    ApprovalNotFound,
    ApprovalQuery,
    Decision,
    RunBusy,
    RunLost,
    RunNotFound,
    RunOver,
    RunQuery,
)
from corral.backends.sqlite.stores import SqliteStores
from corral.clock import SYSTEM_CLOCK
from corral.context import Context, enter_context, leave_context
from corral.errors import JobNotFound, StoreUnavailable, ValidationFailed, WaitTimeout
from corral.messages import Message, as_parts
from corral.settings.agent_sections import AgentSettings
from corral.settings.tool_sections import ToolSettings
from corral.tools.bounded import Bounded
from corral.tools.checked import checked
from corral.tools.connected import using as using_tools
from corral.tools.permitted import Permitted
from corral.tools.policy import Policy
from corral.tools.stack import wrap
from corral.tools.tool import tool
from ready import ready_url

YES = Decision(approve=True, by="ann")
NO = Decision(approve=False, by="bob", note="Too dear.")


class Clock:
    """The store's clock, which a test may turn ahead."""

    ahead_s = 0.0

    def now(self):
        return SYSTEM_CLOCK.now() + self.ahead_s

    def monotonic(self):
        return SYSTEM_CLOCK.monotonic()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def stores(tmp_path, clock):
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


class Scene:
    """A service's keeping, and a refund that a person has to allow."""

    def __init__(self, stores, **settings):
        self.stores = stores
        self.settings = AgentSettings(**settings)
        self.keeping = StoredRuns(stores.agent_runs, self.settings)
        self.signals = []
        self.audit = []
        self.desk = RunDesk(self.keeping, self.signal, audit=self.audit.append)
        self.refunds = []

        @tool(approval=True)
        async def refund(amount: int) -> str:
            """Give money back."""
            self.refunds.append(amount)
            return f"refunded {amount}"

        @tool
        async def look() -> str:
            """Look something up."""
            return "found"

        self.tools = [refund, look]
        self.model = ScriptedModel(wants(("refund", {"amount": 9})), says("Done."))
        self._stack = ExitStack()

    async def signal(self, tenant, job_id, name, value):
        self.signals.append((tenant, job_id, name))
        return True

    def agent(self, *lines, **more):
        if lines:
            self.model = ScriptedModel(*lines)
        return Agent("support", "Be kind.", model=self.model, tools=self.tools, **more)

    def __enter__(self):
        self._stack.enter_context(using_house(House(settings=self.settings, keeping=self.keeping)))
        self._stack.enter_context(using_tools(wrap(Bounded(ToolSettings()), [checked, Permitted(Policy())])))
        return self

    def __exit__(self, *error):
        self._stack.close()

    async def runs(self, **query):
        return (await self.stores.agent_runs.find("default", RunQuery(**query))).items

    async def asked(self):
        return (await self.stores.agent_runs.approvals("default", ApprovalQuery(states=("waiting",)))).items

    async def journal(self, run_id):
        return await entries_of(self.stores.agent_runs, "default", run_id)


@pytest.fixture
async def scene(stores):
    with Scene(stores) as scene:
        yield scene


class FakeJob:
    """What a context knows of a job; waiting ends the attempt, as in a real one."""

    class Left(BaseException):
        pass

    def __init__(self, attempt=1, mark="m"):
        self.id = "job-1"
        self.attempt = attempt
        self.mark = mark
        self.waits = []
        self.late = False

    async def wait_for(self, name, timeout):
        self.waits.append((name, timeout))
        if self.late:
            raise WaitTimeout
        raise self.Left


def in_job(job=None):
    context = Context("r-1", "support")
    if job is not None:
        context.attach_job(job)
    return context


async def within(context, work):
    token = enter_context(context)
    try:
        return await work
    finally:
        leave_context(token)


# -- which runs are stored -------------------------------------------------------------------------------------------------


async def test_a_run_of_a_plain_request_is_stored_once_it_waits_for_a_person(scene):
    result = await scene.agent(says("Hello.")).run("hi")
    assert (result.output, await scene.runs()) == ("Hello.", [])
    result = await scene.agent(wants("look"), wants(("refund", {"amount": 9})), says("Done.")).run("refund me")
    assert (result.reason, result.paused, scene.refunds) == ("paused", True, [])
    (run,) = await scene.runs()
    assert (run.id, run.state, run.agent) == (result.run_id, "paused", "support")
    assert (run.tally.steps, run.tally.tool_calls, run.tally.usage.input) == (2, 1, 20)
    assert [type(entry).__name__ for entry in await scene.journal(run.id)] == [
        "Asked",
        "Answered",
        "ToolDone",
        "Answered",
        "ApprovalWanted",
    ]


async def test_all_runs_are_stored_where_the_settings_say_so(stores):
    with Scene(stores, keep="always") as scene:
        result = await scene.agent(says("Hello.")).run("hi")
        (run,) = await scene.runs()
        assert (run.id, run.state, run.tally.steps) == (result.run_id, "done", 1)
        assert run.tally.cost_usd == pytest.approx(0.001)
        whole = await scene.desk.get("default", run.id)
        assert msgspec.json.decode(whole.outcome)["output"] == "Hello."


# -- people decide ---------------------------------------------------------------------------------------------------------


async def test_a_yes_reaches_the_tool_and_the_run_ends(scene):
    events = await heard(scene.agent().stream("refund me"))
    assert kinds(events)[-2:] == ["ApprovalAsked", "Finished"]
    (asked,) = await scene.asked()
    assert asked.id == next(event.approval for event in events if isinstance(event, ApprovalAsked))
    assert (asked.tool, asked.input, asked.agent) == ("refund", {"amount": 9}, "support")
    await scene.desk.decide("default", asked.id, YES)
    keeper = await scene.desk.take(in_job(), asked.run_id)
    result = await scene.agent(says("Done.")).resume(keeper)
    assert (result.output, result.steps, result.tool_calls) == ("Done.", 2, 1)
    assert scene.refunds == [9]
    run = await scene.desk.get("default", asked.run_id)
    assert (run.state, run.tally.steps) == ("done", 2)
    assert [(entry.decision, entry.subject, entry.actor) for entry in scene.audit] == [("approved", "refund", "ann")]


async def test_a_no_is_told_to_the_model(scene):
    await scene.agent().run("refund me")
    (asked,) = await scene.asked()
    await scene.desk.decide("default", asked.id, NO)
    await scene.agent(says("Sorry.")).resume(await scene.desk.take(in_job(), asked.run_id))
    assert scene.refunds == []
    told = scene.model.last.messages[-1].content[0]
    assert told["is_error"]
    assert "bob" in told["content"][0]["text"]
    assert "Too dear." in told["content"][0]["text"]


async def test_a_person_may_change_the_input(scene):
    await scene.agent().run("refund me")
    (asked,) = await scene.asked()
    await scene.desk.decide("default", asked.id, Decision(approve=True, by="ann", input={"amount": 5}))
    await scene.agent(says("Done.")).resume(await scene.desk.take(in_job(), asked.run_id))
    assert scene.refunds == [5]


async def test_resuming_before_anybody_has_answered_pauses_again(scene):
    await scene.agent().run("refund me")
    (asked,) = await scene.asked()
    result = await scene.agent().resume(await scene.desk.take(in_job(), asked.run_id))
    assert result.paused
    assert (await scene.desk.get("default", asked.run_id)).state == "paused"
    assert len(scene.model.calls) == 1


async def test_of_several_questions_those_that_are_answered_go_on(scene):
    two = wants(("refund", {"amount": 1}), ("refund", {"amount": 2}))
    await scene.agent(two).run("refund me twice")
    first, second = sorted(await scene.asked(), key=lambda asked: asked.input["amount"])
    await scene.desk.decide("default", second.id, YES)
    result = await scene.agent().resume(await scene.desk.take(in_job(), first.run_id))
    assert (result.paused, scene.refunds) == (True, [2])
    await scene.desk.decide("default", first.id, YES)
    result = await scene.agent(says("Done.")).resume(await scene.desk.take(in_job(), first.run_id))
    assert (result.output, scene.refunds) == ("Done.", [2, 1])


async def test_nobody_answering_in_time_is_a_no(stores, clock):
    with Scene(stores, approval_ttl_s=3600) as scene:
        result = await scene.agent().run("refund me")
        clock.ahead_s = 3601
        page = await stores.agent_runs.approvals("default", ApprovalQuery(run_id=result.run_id))
        (asked,) = page.items
        with pytest.raises(ApprovalClosed, match="expired"):
            await scene.desk.decide("default", asked.id, YES)
        await scene.agent(says("Nobody was there.")).resume(await scene.desk.take(in_job(), result.run_id))
        (decided,) = [entry for entry in await scene.journal(result.run_id) if isinstance(entry, Decided)]
        assert (decided.decision, decided.note, scene.refunds) == ("refuse", NOBODY, [])


async def test_a_run_is_resumed_once_at_a_time(scene):
    result = await scene.agent().run("refund me")
    keeper = await scene.desk.take(in_job(), result.run_id)
    with pytest.raises(RunBusy):
        await scene.desk.take(in_job(), result.run_id)
    await keeper.close()
    await keeper.close()
    await (await scene.desk.take(in_job(), result.run_id)).close()
    with pytest.raises(RunNotFound):
        await scene.desk.take(in_job(), "no such run")
    other = in_job()
    other.tenant = "umbrella"
    with pytest.raises(RunNotFound):
        await scene.desk.take(other, result.run_id)


# -- in a job --------------------------------------------------------------------------------------------------------------


async def test_the_next_attempt_of_a_job_goes_on_where_the_last_one_died(scene):
    agent = scene.agent(wants("look"), says("never read"))
    context = in_job(FakeJob(1))
    token = enter_context(context)
    async with aclosing(agent.stream("look it up")) as events:
        async for event in events:
            if type(event).__name__ == "ToolFinished":
                break
    leave_context(token)
    (run,) = await scene.runs()
    assert (run.state, run.entries, run.job_id, run.attempt) == ("interrupted", 3, "job-1", 1)
    agent = scene.agent(says("It is found."))
    result = await within(in_job(FakeJob(2)), agent.run("look it up"))
    assert (result.output, result.run_id, result.steps) == ("It is found.", run.id, 2)
    assert len(scene.model.calls) == 1
    (run,) = await scene.runs()
    assert (run.state, run.attempt) == ("done", 2)
    again = await within(in_job(FakeJob(3)), scene.agent(says("never asked")).run("look it up"))
    assert (again.output, scene.model.calls) == ("It is found.", [])


async def test_the_same_agent_twice_in_a_job_has_two_runs_and_another_input_other_ones(scene):
    context = in_job(FakeJob(1))
    for text in ("one", "two"):
        await within(context, scene.agent(says(text)).run("go"))
    context = in_job(FakeJob(2))
    outputs = [(await within(context, scene.agent(says("new")).run("go"))).output for _ in range(3)]
    assert outputs == ["one", "two", "new"]
    result = await within(in_job(FakeJob(3, mark="other")), scene.agent(says("fresh")).run("go"))
    assert result.output == "fresh"
    assert len(await scene.runs(job_id="job-1")) == 4


async def test_a_stalled_attempt_writes_nothing_once_the_next_one_has_begun(scene):
    agent = scene.agent(wants("look"), says("late"))
    token = enter_context(in_job(FakeJob(1)))
    events = agent.stream("look it up")
    await anext(events)
    leave_context(token)
    await within(in_job(FakeJob(2)), scene.agent(wants("look"), says("in time")).run("look it up"))
    left = await heard(events)
    assert isinstance(left[-1], Failed)
    assert left[-1].code == RunLost.code
    (run,) = await scene.runs()
    assert msgspec.json.decode((await scene.desk.get("default", run.id)).outcome)["output"] == "in time"


async def test_a_job_waits_for_people_and_goes_on_by_itself(scene):
    job = FakeJob(1)
    with pytest.raises(FakeJob.Left):
        await within(in_job(job), scene.agent().run("refund me"))
    (run,) = await scene.runs()
    assert (run.state, job.waits) == ("paused", [(signal_name(run.id), None)])
    (asked,) = await scene.asked()
    for _ in range(2):
        await scene.desk.decide("default", asked.id, YES)
    assert scene.signals == [("default", "job-1", signal_name(run.id))] * 2
    result = await within(in_job(FakeJob(2)), scene.agent(says("Done.")).run("refund me"))
    assert (result.output, scene.refunds) == ("Done.", [9])


async def test_a_job_whose_question_ran_out_goes_on_with_a_no(stores):
    with Scene(stores, approval_ttl_s=0.001) as scene:
        job = FakeJob(1)
        job.late = True
        agent = scene.agent(wants(("refund", {"amount": 9})), says("Nobody was there."))
        result = await within(in_job(job), agent.run("refund me"))
        assert (result.output, scene.refunds) == ("Nobody was there.", [])


# -- cancelling ------------------------------------------------------------------------------------------------------------


async def test_a_paused_run_is_cancelled_at_once_and_its_job_hears_of_it(scene):
    with pytest.raises(FakeJob.Left):
        await within(in_job(FakeJob(1)), scene.agent().run("refund me"))
    (run,) = await scene.runs()
    assert (await scene.desk.cancel("default", run.id)).state == "cancelled"
    assert scene.signals == [("default", "job-1", signal_name(run.id))]
    events = await within(in_job(FakeJob(2)), heard(scene.agent().stream("refund me")))
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, scene.refunds, len(scene.model.calls)) == ("cancelled", [], 1)
    with pytest.raises(RunOver):
        await scene.desk.take(in_job(), run.id)


async def test_a_running_run_stops_in_the_middle_of_an_answer(scene):
    agent = scene.agent(says("one two three"))
    scene.model.hold = asyncio.Event()
    context = in_job()
    keeper = await scene.desk.begin("support", context, session="", asked="")
    seen = []
    scene.keeping.prepare(keeper)
    async for event in stoppable("support", keeper, agent.stream("count")):
        seen.append(event)
        if len(seen) == 1:
            run = await scene.desk.cancel("default", keeper.run_id)
            assert (run.state, run.cancel_requested) == ("running", True)
    assert isinstance(seen[-1], Failed)
    assert (seen[-1].code, scene.model.open) == ("cancelled", 0)
    run = await scene.desk.get("default", keeper.run_id)
    assert (run.state, run.error_code) == ("cancelled", "cancelled")


async def test_another_process_cancels_by_way_of_the_heartbeat(stores):
    with Scene(stores, cancel_s=0.01) as scene:
        await scene.keeping.start()
        await scene.keeping.start()
        agent = scene.agent(says("one two three"))
        scene.model.hold = asyncio.Event()
        keeper = await scene.desk.begin("support", in_job(), session="", asked="")
        elsewhere = StoredRuns(stores.agent_runs, scene.settings)
        seen = []
        scene.keeping.prepare(keeper)
        async for event in stoppable("support", keeper, agent.stream("count")):
            seen.append(event)
            if len(seen) == 1:
                await RunDesk(elsewhere, scene.signal).cancel("default", keeper.run_id)
        assert isinstance(seen[-1], Failed)
        await scene.keeping.drain()
        await scene.keeping.stop()
        await scene.keeping.stop()


async def test_without_anybody_who_stops_it_a_run_is_cancelled_before_its_next_entry(scene):
    agent = scene.agent(wants("look"), says("never"))
    keeper = await scene.desk.begin("support", in_job(), session="", asked="")
    scene.keeping.prepare(keeper)
    seen = []
    async for event in agent.stream("go"):
        seen.append(event)
        if len(seen) == 1:
            await scene.desk.cancel("default", keeper.run_id)
    assert isinstance(seen[-1], Failed)
    assert (seen[-1].code, len(scene.model.calls)) == ("cancelled", 1)
    assert (await scene.desk.get("default", keeper.run_id)).state == "cancelled"


async def test_the_heartbeat_tells_who_lost_a_run(stores):
    with Scene(stores, cancel_s=0.01, lease_s=60) as scene:
        await scene.keeping.start()
        keeper = await scene.desk.begin("support", in_job(), session="", asked="")
        agent = scene.agent(wants("look"), says("never"))
        scene.keeping.prepare(keeper)
        events = agent.stream("go")
        await anext(events)
        await stores.agent_runs.claim("default", keeper.run_id, token="other", lease_s=60, attempt=1)
        while keeper.claim.token in scene.keeping._runs:  # noqa: ASYNC110 - the heartbeat brings it about, and sets no event
            await asyncio.sleep(0.005)
        left = await heard(events)
        assert left[-1].code == RunLost.code
        await scene.keeping.stop()


# -- the API's runs ----------------------------------------------------------------------------------------------------------


async def test_one_key_is_one_run_that_is_told_again(scene):
    async def ask(asked="f"):
        context = in_job()
        context.idempotency_key = "k"
        keeper = await scene.desk.begin("support", context, session="", asked=asked)
        scene.keeping.prepare(keeper)
        return await scene.agent(says("Hello.")).run("hi")

    first, second = await ask(), await ask()
    assert (first.run_id, first.output) == (second.run_id, second.output)
    assert scene.model.calls == []
    assert len(await scene.runs()) == 1


async def test_a_run_whose_reader_left_can_be_resumed(scene):
    keeper = await scene.desk.begin("support", in_job(), session="", asked="")
    scene.keeping.prepare(keeper)
    events = scene.agent(wants("look"), says("found")).stream("go")
    await anext(events)
    await events.aclose()
    assert (await scene.desk.get("default", keeper.run_id)).state == "interrupted"
    keeper = await scene.desk.take(in_job(), keeper.run_id)
    events = await heard(scene.agent(says("found")).carry_on(keeper))
    assert isinstance(events[-1], Finished)
    assert [type(entry) for entry in await scene.journal(keeper.run_id)].count(ToolDone) == 1


# -- forks -------------------------------------------------------------------------------------------------------------------


def says_user(text):
    return [Message(role="user", content=as_parts(text))]


async def finished(scene):
    """A run of two steps that is over."""
    keeper = await scene.desk.begin("support", in_job(), session="", asked="")
    scene.keeping.prepare(keeper)
    await scene.agent(wants("look"), says("It is red.")).run("Which colour?")
    return keeper.run_id


async def test_a_fork_goes_on_from_any_step_and_leaves_the_first_run_as_it_is(scene):
    run_id = await finished(scene)
    before = await scene.journal(run_id)
    fork = await scene.desk.fork("default", run_id, step=1)
    assert (fork.state, fork.parent_id, fork.tally.steps, fork.tally.tool_calls) == ("interrupted", run_id, 1, 1)
    result = await scene.agent(says("It is blue.")).resume(await scene.desk.take(in_job(), fork.id))
    assert (result.output, result.steps) == ("It is blue.", 2)
    assert [message.role for message in scene.model.last.messages] == ["system", "user", "assistant", "tool"]
    assert await scene.journal(run_id) == before


async def test_a_fork_may_ask_for_something_else(scene):
    run_id = await finished(scene)
    fork = await scene.desk.fork("default", run_id, step=0, messages=says_user("Which size?"))
    await scene.agent(says("Large.")).resume(await scene.desk.take(in_job(), fork.id))
    assert [message.text for message in scene.model.last.messages] == ["Be kind.", "Which size?"]
    fork = await scene.desk.fork("default", run_id, messages=says_user("And the size?"), session="s-2")
    assert fork.session_id == "s-2"
    asked = (await scene.journal(fork.id))[0]
    assert (asked.session, asked.session_at, asked.parent) == ("s-2", "", run_id)
    fork = await scene.desk.fork("default", run_id, messages=says_user("And the size?"))
    await scene.agent(says("Large.")).resume(await scene.desk.take(in_job(), fork.id))
    assert [message.text for message in scene.model.last.messages][-2:] == ["It is red.", "And the size?"]


async def test_a_yes_for_one_run_is_none_for_its_fork(scene):
    paused = await scene.agent().run("refund me")
    (asked,) = await scene.asked()
    await scene.desk.decide("default", asked.id, YES)
    fork = await scene.desk.fork("default", paused.run_id)
    result = await scene.agent().resume(await scene.desk.take(in_job(), fork.id))
    assert (result.paused, scene.refunds) == (True, [])
    (again,) = await scene.asked()
    assert (again.run_id, again.id != asked.id) == (fork.id, True)


async def test_there_is_no_fork_of_what_is_not_there(scene):
    run_id = await finished(scene)
    with pytest.raises(ValidationFailed, match="2 steps"):
        await scene.desk.fork("default", run_id, step=3)
    with pytest.raises(RunNotFound):
        await scene.desk.fork("default", "nobody")
    with pytest.raises(RunNotFound):
        await scene.desk.fork("umbrella", run_id)


# -- when things go wrong ------------------------------------------------------------------------------------------------------


class Away:
    """A store that answers no more once it is told so."""

    def __init__(self, store):
        self.store = store
        self.away = False
        self.asked = asyncio.Event()

    def __getattr__(self, name):
        if self.away:
            self.asked.set()
            raise StoreUnavailable
        return getattr(self.store, name)


async def test_a_store_that_is_away_ends_the_go_and_not_the_run(scene, caplog):
    scene.keeping.store = away = Away(scene.stores.agent_runs)
    scene.keeping._held = msgspec.structs.replace(scene.keeping._held, store=away)
    keeper = await scene.desk.begin("support", in_job(), session="", asked="")
    scene.keeping.prepare(keeper)
    events = scene.agent(wants("look"), says("found")).stream("go")
    await anext(events)
    away.away = True
    left = await heard(events)
    assert isinstance(left[-1], Failed)
    assert (left[-1].code, left[-1].retryable) == ("store_unavailable", True)
    assert "could not be let go" in caplog.text
    assert scene.keeping._runs == {}
    away.away = False
    assert (await scene.desk.get("default", keeper.run_id)).state == "running"  # until its lease is over


async def test_heartbeats_go_on_when_the_store_is_back(stores, caplog):
    with Scene(stores, cancel_s=0.01) as scene:
        scene.keeping.store = away = Away(stores.agent_runs)
        await scene.keeping.start()
        keeper = await scene.desk.begin("support", in_job(), session="", asked="")
        scene.keeping.prepare(keeper)
        agent = scene.agent(says("one two three"))
        scene.model.hold = asyncio.Event()
        events = stoppable("support", keeper, agent.stream("count"))
        await anext(events)
        away.away = True
        await asyncio.wait_for(away.asked.wait(), 20)
        away.away = False
        await stores.agent_runs.cancel("default", keeper.run_id)
        left = await heard(events)
        assert left[-1].code == "cancelled"
        assert "could not be renewed" in caplog.text
        await scene.keeping.stop()


async def test_a_run_is_opened_by_its_id_as_well(scene):
    paused = await scene.agent().run("refund me")
    keeper = await scene.keeping.open(Opening(agent="support", context=None, run_id=paused.run_id))
    assert [type(entry).__name__ for entry in keeper.entries] == ["Asked", "Answered", "ApprovalWanted"]
    await keeper.close()


async def test_what_has_not_begun_cannot_be_forked(scene):
    context = in_job()
    context.idempotency_key = "k"
    keeper = await scene.desk.begin("support", context, session="", asked="")
    with pytest.raises(ValidationFailed, match="not begun"):
        await scene.desk.fork("default", keeper.run_id)
    with pytest.raises(ApprovalNotFound):
        await scene.desk.approval("default", "nobody")
    with pytest.raises(RunNotFound):
        await scene.desk.entries("default", "nobody", after=0, limit=1)


async def test_a_job_that_is_gone_needs_no_waking(scene):
    async def gone(*_):
        raise JobNotFound

    with pytest.raises(FakeJob.Left):
        await within(in_job(FakeJob(1)), scene.agent().run("refund me"))
    (asked,) = await scene.asked()
    assert (await RunDesk(scene.keeping, gone).decide("default", asked.id, YES)).state == "approved"
