"""A process of its own that takes turns: run by the tests with a store's URL, a lease, and what to do."""

from __future__ import annotations

import asyncio
import signal
import sys

from corral.backends.open import open_stores
from corral.errors import TurnLost
from corral.sessions.event import Draft, SessionKey
from corral.sessions.turns import Turns
from corral.settings.sections import SessionSettings

KEY = SessionKey("acme", "s1")


def say(text):
    print(text, flush=True)  # noqa: T201 - the parent reads it


def says(text):
    return [Draft(role="user", content=[{"type": "text", "text": text}])]


async def hold(stores, turns):
    """Hold the turn for good; when continued after a stop, write what one still can."""
    continued = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, continued.set)
    turn = await turns.take(KEY)
    lost = asyncio.Event()
    turn.on_lost(lost.set)
    say("held")
    await continued.wait()
    try:
        await stores.sessions.append(KEY, says("from the dead"), turn=turn.token)
        say("appended")
    except TurnLost:
        say("refused")
    await lost.wait()
    say("lost")


async def crowd(stores, turns, name, count):
    """Take `count` turns at once and append in each, once told to."""
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)

    async def request(number):
        turn = await turns.take(KEY)
        await stores.sessions.append(KEY, says(f"{name}-{number}-begins"), turn=turn.token)
        await turn.leave(says(f"{name}-{number}-ends"))

    await asyncio.gather(*(request(number) for number in range(count)))
    say("done")


async def main(url, lease_s, what, *args):
    stores = open_stores(url)
    await stores.start()
    turns = Turns(stores.turns, lambda: open_stores(url), SessionSettings(lease_s=float(lease_s)))
    await turns.start()
    if what == "hold":
        await hold(stores, turns)
    else:
        await crowd(stores, turns, args[0], int(args[1]))
    await turns.stop()
    await stores.stop()


asyncio.run(main(*sys.argv[1:]))
