"""Places for so many calls at a time: never more are taken than there are, and none is lost."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tool_scene import box_of, called

from corral import tool
from corral.messages import ToolReply
from corral.tools.connected import connected, using
from corral.tools.slots import Slots
from corral.tools.toolbox import Toolbox


class Crowd:
    """Who waits for a place, and how many have one."""

    def __init__(self, count):
        self.count = count
        self.slots = Slots(count)
        self.waiting = []
        self.held = 0

    async def settle(self):
        for _ in range(4):
            await asyncio.sleep(0)
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            self.held += not task.cancelled() and task.result()
        assert self.held <= self.count

    async def move(self, move):
        if move == "take":
            self.waiting.append(asyncio.create_task(self.slots.take(60)))
        elif move == "cancel" and self.waiting:
            self.waiting[0].cancel()  # maybe in the moment in which it gets its place
        elif move == "give" and self.held:
            self.slots.give()
            self.held -= 1
        else:
            await self.settle()

    async def leave(self):
        await self.settle()
        for task in self.waiting:
            task.cancel()
        await self.settle()
        for _ in range(self.held):
            self.slots.give()


@given(st.integers(1, 3), st.lists(st.sampled_from(["take", "cancel", "give", "run"]), max_size=40))
def test_whoever_leaves_when_no_place_is_lost(count, moves):
    async def play():
        crowd = Crowd(count)
        for move in moves:
            await crowd.move(move)
        await crowd.leave()
        assert [await crowd.slots.take(0) for _ in range(count + 1)] == [True] * count + [False]

    asyncio.run(play())


async def test_a_loop_that_has_ended_waits_for_nothing():
    slots = Slots(1)
    assert await slots.take(1)
    gone = asyncio.new_event_loop()
    slots._waiting.append(gone.create_future())
    gone.close()
    slots.give()
    assert await slots.take(1)


async def test_layers_of_ones_own_for_a_block():
    async def run(use):
        return ToolReply(name=use.tool.name, value="from the test")

    @tool
    async def work() -> str:
        return "real"

    box = Toolbox([work])
    before = connected()
    with using(run):
        assert (await box.use("work")).value == "from the test"
        assert (await box_of(work).use("work")).value == "real"
    assert connected() is before
    assert (await box.call(called("work"))).value == "real"
    assert box.find("work") is work
    assert box.find("other") is None
