"""How long it takes to append to a session and to load it, with ever more sessions in the store.

python bench/sessions_curve.py                 # 1,000, 10,000 and 100,000 sessions
python bench/sessions_curve.py --up-to 1000000 # takes about ten minutes
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from corral.backends.open import open_stores
from corral.sessions.event import Draft, EventQuery, SessionKey
from corral.sessions.store import SessionStore
from corral.settings.sections import SessionSettings, Settings
from corral.settings.tier_sections import TierSettings
from corral.wiring.tiering import tiered_stores

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_EVENTS = 4
_AT_ONCE = 256
_SAMPLES = 2_000


def said(text: str) -> Draft:
    """Something to append."""
    return Draft(role="user", content=[{"type": "text", "text": text}])


async def fill(sessions: SessionStore, first: int, last: int) -> None:
    """Store sessions of a few events each."""
    drafts = [said("word " * 40) for _ in range(_EVENTS)]
    for start in range(first, last, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, last))
        await asyncio.gather(*(sessions.append(SessionKey("acme", f"s-{n}"), drafts) for n in numbers))


async def measured(sessions: SessionStore, stored: int) -> tuple[float, float, float]:
    """Medians in milliseconds: append, load, load again."""
    times: list[list[float]] = [[], [], []]
    for _ in range(_SAMPLES):
        key = SessionKey("acme", f"s-{random.randrange(stored)}")
        for kind, work in enumerate(
            (
                sessions.append(key, [said("word " * 40)]),
                sessions.events(key, EventQuery(limit=20, branch="main", include_parents=True)),
                sessions.events(key, EventQuery(limit=20, branch="main", include_parents=True)),
            )
        ):
            began = time.perf_counter()
            await work
            times[kind].append(time.perf_counter() - began)
    append, load, again = (sorted(one)[len(one) // 2] * 1000 for one in times)
    return append, load, again


async def main(up_to: int, url: str) -> None:
    """Print the curve."""
    with tempfile.TemporaryDirectory() as folder:
        store = url or f"sqlite:///{folder}/corral.db"
        settings = Settings(sessions=SessionSettings(tiers=TierSettings(archive=str(Path(folder) / "archive"))))
        stores = tiered_stores(settings, open_stores(store))
        await stores.start()
        print(
            f"{'sessions':>10} {'append p50':>12} {'load p50':>10} {'again p50':>10} {'sweep':>8} {'count':>8}   (ms)"
        )
        stored = 0
        for size in (size for size in _SIZES if size <= up_to):
            await fill(stores.sessions, stored, size)
            stored = size
            append, load, again = await measured(stores.sessions, size)
            began = time.perf_counter()
            await stores.sessions.expire()
            swept = time.perf_counter() - began
            began = time.perf_counter()
            await stores.tiers.counts()
            counted = time.perf_counter() - began
            print(
                f"{size:>10,} {append:>12.3f} {load:>10.3f} {again:>10.3f} {swept * 1000:>8.1f} {counted * 1000:>8.1f}",
                flush=True,
            )
        await stores.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--up-to", type=int, default=100_000)
    parser.add_argument("--store", default="", help="postgresql://… to measure there; an empty database of its own")
    given = parser.parse_args()
    asyncio.run(main(given.up_to, given.store))
