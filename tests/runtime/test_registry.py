from __future__ import annotations

import asyncio
import threading

import pytest

from corral.errors import ConfigError, NoEntrypoint, NotFound
from corral.runtime.registry import Agent, Agents, Lazy


def echo(payload):
    return payload


# -- what is built later ----------------------------------------------------------------------------------------------


class Factory:
    """Builds something else each time, after the test says so."""

    def __init__(self, *, fails=0):
        self.go_on = threading.Event()
        self.begun = 0
        self.fails = fails
        self.threads = set()

    def build(self):
        self.begun += 1
        self.threads.add(threading.get_ident())
        assert self.go_on.wait(10)
        if self.begun <= self.fails:
            raise ValueError(f"failed {self.begun}")
        return echo


@pytest.fixture
def factory():
    return Factory()


async def test_a_factory_runs_once_and_off_the_loop_however_many_ask(factory):
    lazy = Lazy(factory.build)
    assert not lazy.built
    asking = [asyncio.create_task(lazy()) for _ in range(200)]
    await asyncio.sleep(0)
    factory.go_on.set()
    assert set(await asyncio.gather(*asking)) == {echo}
    assert await lazy() is echo
    assert lazy.get() is echo
    assert lazy.built
    assert factory.begun == 1
    assert factory.threads.isdisjoint({threading.get_ident()})


async def test_a_factory_that_failed_is_tried_again(factory):
    lazy = Lazy(factory.build)
    factory.fails = 1
    factory.go_on.set()
    with pytest.raises(ValueError, match="failed 1"):
        await lazy()
    assert isinstance(lazy.error, ValueError)
    assert await lazy() is echo
    assert lazy.error is None


async def test_building_goes_on_when_who_asked_gives_up(factory):
    lazy = Lazy(factory.build)
    asking = asyncio.create_task(lazy())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    factory.go_on.set()
    assert await lazy() is echo
    assert factory.begun == 1


async def test_nobody_is_warned_of_a_failure_that_nobody_waited_for(factory, caplog):
    factory.fails = 1
    lazy = Lazy(factory.build)
    asking = asyncio.create_task(lazy())
    await asyncio.sleep(0)
    asking.cancel()
    factory.go_on.set()
    while lazy.error is None:  # noqa: ASYNC110 - a thread brings it about
        await asyncio.sleep(0.001)
    await asyncio.wait([asking])
    assert await lazy() is echo
    assert not caplog.records


async def test_a_coroutine_function_builds_on_the_loop_that_asks():
    begun = []

    async def build():
        begun.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return echo

    lazy = Lazy(build)
    assert await asyncio.gather(lazy(), lazy()) == [echo, echo]
    assert begun == [asyncio.get_running_loop()]


async def test_a_coroutine_function_that_failed_is_tried_again():
    begun = []

    async def build():
        begun.append(1)
        if len(begun) == 1:
            raise ValueError("failed")
        return echo

    lazy = Lazy(build)
    with pytest.raises(ValueError, match="failed"):
        await lazy()
    assert isinstance(lazy.error, ValueError)
    assert await lazy() is echo


async def test_two_loops_end_up_with_the_same_object():
    go_on = threading.Event()

    async def build():
        while not go_on.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.001)
        return object()

    lazy = Lazy(build)
    here = asyncio.create_task(lazy())
    there = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(lazy())))
    await asyncio.sleep(0.01)
    go_on.set()
    assert await here is await there


async def test_a_build_that_is_cancelled_is_begun_again():
    begun = asyncio.Event()
    blocked = [True]

    async def build():
        begun.set()
        if blocked:
            await asyncio.Event().wait()
        return echo

    lazy = Lazy(build)
    asking = asyncio.create_task(lazy())
    await begun.wait()
    blocked.clear()
    lazy._task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await lazy() is echo


def test_synchronous_agents_ask_without_await():
    async def build():
        return echo

    def fail():
        raise ValueError("failed")

    assert Lazy(build).get() is echo
    assert Lazy(lambda: echo).get() is echo
    with pytest.raises(ValueError, match="failed"):
        Lazy(fail).get()


def test_a_lazy_is_named_after_its_factory():
    assert Lazy(echo).name == "echo"
    assert Lazy(echo, "billing").name == "billing"
    assert Lazy(Factory().build).name == "build"
    assert Lazy(type("Callable", (), {"__call__": lambda self: echo})()).name == "lazy"


# -- agents by name ---------------------------------------------------------------------------------------------------


async def test_an_agent_is_ready_at_once_or_when_it_was_built():
    assert (await Agent("a", echo).ready()).fn is echo
    agent = Agent("a", Lazy(lambda: echo))
    assert agent.entrypoint is None
    assert (await agent.ready()).fn is echo
    assert agent.entrypoint is await agent.ready()


async def test_what_a_factory_builds_must_be_something_to_call():
    with pytest.raises(ConfigError, match="not something Corral can call"):
        await Agent("a", Lazy(lambda: 42)).ready()


@pytest.mark.parametrize("name", ["main", "billing-2", "a.b_c", "é"])
def test_names_of_agents(name):
    agents = Agents()
    assert agents.add(name, echo) is agents.find(name)
    assert [agent.name for agent in agents] == [name]
    assert len(agents) == 1


@pytest.mark.parametrize("name", ["", "a/b", "a b", "1st", "x" * 65, "a%"])
def test_names_that_no_address_could_hold_are_refused(name):
    with pytest.raises(ConfigError, match="name is made of"):
        Agents().add(name, echo)


def test_a_name_is_taken_once():
    agents = Agents()
    agents.add("main", echo)
    with pytest.raises(ConfigError, match="two agents named 'main'"):
        agents.add("main", echo)


def test_who_is_not_there_is_not_found_and_who_is_there_is_said():
    agents = Agents()
    with pytest.raises(NotFound, match="there is: none"):
        agents.find("main")
    agents.add("b", echo)
    agents.add("a", echo)
    with pytest.raises(NotFound, match="there is: a, b"):
        agents.find("c")


def test_the_default_is_main_else_the_only_one():
    agents = Agents()
    with pytest.raises(NoEntrypoint):
        agents.default()
    billing = agents.add("billing", echo)
    assert agents.default() is billing
    agents.add("support", echo)
    with pytest.raises(NotFound, match="name one of: billing, support"):
        agents.default()
    main = agents.add("main", echo)
    assert agents.default() is main


async def test_a_single_factory_and_nothing_else_is_the_agent():
    agents = Agents()
    agents.lazies.append(Lazy(lambda: echo))
    assert (await agents.default().ready()).fn is echo
    assert agents.default().name == "main"
