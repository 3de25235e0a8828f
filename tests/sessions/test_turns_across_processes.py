from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from session_scene import KEY, is_free

from corral.sessions.event import EventQuery

LEASE_S = 1.0


@pytest.fixture
async def spawn(url, stores):
    children = []

    async def run(*args, lease_s=LEASE_S):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("turn_process.py")),
            url,
            str(lease_s),
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        children.append(child)
        return child

    yield run
    for child in children:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        child._transport.close()


async def heard(child, word):
    async with asyncio.timeout(30):
        assert (await child.stdout.readline()).decode().strip() == word


async def texts(stores):
    said, cursor = [], None
    while True:
        page = await stores.sessions.events(KEY, EventQuery(limit=1000, cursor=cursor))
        said += [event.text for event in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return said[::-1]


async def test_two_processes_with_200_requests_keep_each_turn_whole_and_each_process_in_order(spawn, stores):
    children = [await spawn("crowd", name, "100", lease_s=10) for name in ("a", "b")]
    for child in children:
        await heard(child, "ready")
    for child in children:
        child.stdin.write(b"\n")
    for child in children:
        await heard(child, "done")
        assert await child.wait() == 0
    said = await texts(stores)
    assert len(said) == 400
    begins, ends = said[0::2], said[1::2]
    assert [text.replace("-begins", "") for text in begins] == [text.replace("-ends", "") for text in ends]
    for name in ("a", "b"):
        assert [text for text in ends if text[0] == name] == [f"{name}-{number}-ends" for number in range(100)]
    assert await is_free(stores.turns)


async def test_a_process_that_is_killed_frees_its_turn_within_its_lease(spawn, make_turns):
    turns = await make_turns(lease_s=LEASE_S, chance=lambda: 0.0)
    child = await spawn("hold")
    await heard(child, "held")
    waiter = asyncio.create_task(turns.take(KEY))
    await asyncio.sleep(0)
    child.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    turn = await waiter
    assert time.monotonic() - killed_at < LEASE_S + 1
    await turn.leave()


async def test_a_process_that_was_stopped_for_too_long_can_change_nothing(spawn, make_turns, stores):
    turns = await make_turns(lease_s=LEASE_S)
    child = await spawn("hold")
    await heard(child, "held")
    child.send_signal(signal.SIGSTOP)
    turn = await turns.take(KEY)
    child.send_signal(signal.SIGCONT)
    await heard(child, "refused")
    await heard(child, "lost")
    await turn.leave()
    assert await child.wait() == 0
    assert await texts(stores) == []
