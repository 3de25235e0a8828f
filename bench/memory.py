"""What memory costs on this machine: how long a search takes in large namespaces, and how long a turn takes to be kept.

    python bench/memory.py [--chunks 100000] [--store sqlite:///…|postgresql://…]

Prints milliseconds of the clock and of the processor; beside other work only the latter mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

from corral.backends.open import open_stores
from corral.memory.drafting import chunk_of, log_draft
from corral.memory.searching import Searcher
from corral.memory.store import ItemDraft, Namespace, Selection, View
from corral.settings.memory_sections import MemorySettings

WORDS = 60_000
CHUNKS_IN_DOCUMENT = 100
VIEW = View(tenant="acme", user_id="ada")
DOCUMENTS = Namespace(name="documents")
TALK = Namespace(name="talk", scope="user", owner="ada")

chance = random.Random(1)
_WEIGHTS = list(itertools.accumulate(1 / (rank + 20) for rank in range(WORDS)))


def text(words: int) -> str:
    """Words as often as in natural text, the commonest ones left out, as a search leaves them out."""
    return " ".join(f"w{bisect.bisect(_WEIGHTS, chance.random() * _WEIGHTS[-1])}" for _ in range(words))


async def measured(what: str, times: int, work: Callable[[], Awaitable[object]]) -> None:
    """Print what one takes."""
    clock, processor = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        clock.append((time.perf_counter() - wall) * 1000)
        processor.append((time.process_time() - cpu) * 1000)
    p95 = sorted(clock)[int(times * 0.95)]
    print(
        f"{what:32} p50 {statistics.median(clock):7.2f} ms   p95 {p95:7.2f} ms   "
        f"processor p50 {statistics.median(processor):6.2f} ms"
    )


async def main(url: str, chunks: int) -> None:
    """Fill a store step by step, and measure on the way."""
    stores = open_stores(url)
    await stores.start()
    memory, searcher = stores.memory, Searcher(stores.memory, MemorySettings())
    documents = sum(one.items for one in await memory.namespaces(VIEW, Selection(name=DOCUMENTS.name)))
    for size in [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= chunks]:
        begun = time.process_time()
        for number in range(documents, size // CHUNKS_IN_DOCUMENT):
            parts = tuple(chunk_of(text(chance.randint(40, 120))) for _ in range(CHUNKS_IN_DOCUMENT))
            draft = ItemDraft(id=f"d-{number}", kind="document", namespace=DOCUMENTS, chunks=parts)
            await memory.put(VIEW, [draft])
        made = size - documents * CHUNKS_IN_DOCUMENT
        if made > 0:
            print(
                f"{size:,} chunks; making one takes {(time.process_time() - begun) * 1000 / made:.2f} ms of the processor"
            )
        documents = max(documents, size // CHUNKS_IN_DOCUMENT)
        await measured("search, 3 to 7 words", 200, lambda: searcher.search(VIEW, text(chance.randint(3, 7)), k=10))
        await measured(
            "append one turn",
            200,
            lambda: memory.append(VIEW, log_draft([("ada", text(15))], id="log", namespace=TALK)),
        )
    await stores.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--store", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(arguments.store or f"sqlite:///{folder}/memory.db", arguments.chunks))
