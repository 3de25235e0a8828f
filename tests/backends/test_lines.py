from __future__ import annotations

import asyncio

from corral.backends.lines import Lines
from corral.sessions.event import SessionKey

ONE, TWO = SessionKey("t", "1"), SessionKey("t", "2")


async def turn_of_the_loop() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_only_lines_with_a_ticket_of_ours_are_told():
    lines, told = Lines(), []
    lines.watch(told.append)
    lines.joined(ONE, "a")
    lines.moved([ONE, TWO])
    await turn_of_the_loop()
    assert told == [ONE]
    lines.left(ONE, "a")
    lines.left(ONE, "a")
    lines.moved([ONE])
    await turn_of_the_loop()
    assert told == [ONE]


async def test_many_moves_are_told_once():
    lines, told = Lines(), []
    lines.watch(told.append)
    lines.joined(ONE, "a")
    for _ in range(100):
        lines.moved([ONE, ONE])
    await turn_of_the_loop()
    assert told == [ONE]


async def test_waiting_is_counted_by_ticket():
    lines = Lines()
    assert not lines.waiting
    lines.joined(ONE, "a")
    lines.joined(ONE, "b")
    lines.joined(ONE, "b")
    lines.granted(ONE, "a")
    lines.granted(ONE, "a")
    assert lines.waiting
    assert lines.tickets(ONE) == {"a": False, "b": True}
    lines.granted(ONE, "b")
    assert not lines.waiting
    lines.left(ONE, "a")
    lines.left(ONE, "b")
    assert lines.keys() == []


async def test_a_watcher_that_fails_does_not_keep_others_from_hearing():
    lines, told, failures = Lines(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail(key):
        raise ZeroDivisionError

    lines.watch(fail)
    lines.watch(told.append)
    lines.joined(ONE, "a")
    lines.joined(TWO, "a")
    lines.moved([ONE, TWO])
    await turn_of_the_loop()
    assert sorted(told, key=lambda key: key.session_id) == [ONE, TWO]
    assert [type(error) for error in failures] == [ZeroDivisionError] * 2


def test_a_loop_that_is_gone_is_no_reason_to_fail():
    lines = Lines()

    async def watch() -> None:
        lines.watch(lambda _: None)

    asyncio.run(watch())
    lines.joined(ONE, "a")
    lines.moved([ONE])
    assert lines.watched
