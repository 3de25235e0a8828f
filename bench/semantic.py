"""What answers by meaning cost, and how often they are wrong: 10,000 kept answers, against GPTCache; and a stream with known truth.

    python bench/semantic.py                                     the speed, about a minute
    python bench/semantic.py --pairs pairs.csv --model FOLDER    the quality as well

Both caches get vectors that were made before, so embedding is left out: it costs some milliseconds a question with either.
GPTCache runs in an environment of its own (`--peer`), with SQLite and faiss as its documentation says, and is stopped after half a
minute. `pairs.csv` has the columns text_a, text_b, label; `FOLDER` is one that `onnx:FOLDER` takes.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corral.backends.sqlite.stores import SqliteStores
from corral.cache.counting import CacheCounting
from corral.cache.semantic import guard
from corral.cache.semantic.calibration import lower_bound, upper_bound
from corral.cache.semantic.comparing import Comparison
from corral.cache.semantic.counting import SemanticCounting
from corral.cache.semantic.layer import Semantic
from corral.cache.semantic.onnx import OnnxEmbedder
from corral.messages import CallPolicy, Message, ModelCall, ModelEvent, ModelReply
from corral.observability.metrics import Metrics
from corral.settings.model_sections import SemanticCacheSettings

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-gateways" / "bin" / "python"
WIDTH = 384
ENTRIES = 10_000
LOOKUPS = 2_000
STREAM = 6_000
Vectors = NDArray[np.float32]


class Prepared:
    """Vectors that were made before."""

    fingerprint = "prepared"

    def __init__(self, vectors: dict[str, Vectors]) -> None:
        self._vectors = vectors

    async def start(self) -> None:
        """Nothing to do."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Those of these texts."""
        return np.stack([self._vectors[text] for text in texts])

    async def stop(self) -> None:
        """Nothing to do."""


def question(number: int) -> str:
    """One of many that have little in common."""
    words = ["parcel", "refund", "invoice", "shoe", "garden", "window", "train", "ticket", "battery", "printer"]
    digits = [words[int(digit)] for digit in f"{number:05d}"]
    return f"How do I {' '.join(digits)} the order?"


def asks(text: str) -> ModelCall:
    """A call that asks it."""
    return ModelCall(model="sim/small", messages=[Message(role="user", content=[{"type": "text", "text": text}])])


def says(text: str) -> ModelReply:
    """A reply that says it."""
    return ModelReply(model="small", content=[{"type": "text", "text": text}], cost_usd=0.001)


def percentiles(times: list[float]) -> str:
    """The median and the hundredth slowest, in milliseconds."""
    ranked = sorted(times)
    return f"p50 {ranked[len(ranked) // 2] * 1e3:.2f} ms, p99 {ranked[len(ranked) * 99 // 100] * 1e3:.2f} ms"


async def speed(folder: str) -> tuple[float, float]:
    """Inserts and hits a second."""
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(ENTRIES, WIDTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = {question(number): rows[number] for number in range(ENTRIES)}
    stores = SqliteStores(f"sqlite:///{folder}/bench.db")
    await stores.start()
    layer = layer_on(stores, Prepared(vectors), mode="fixed", similarity_threshold=0.9)
    await layer.start()
    texts = list(vectors)
    begun = time.perf_counter()
    for at in range(0, ENTRIES, 50):
        await asyncio.gather(*(layer.keep(asks(text), says(text)) for text in texts[at : at + 50]))
    await layer.drain()
    inserts = ENTRIES / (time.perf_counter() - begun)
    times, right = [], 0
    for text in random.Random(2).sample(texts, LOOKUPS):
        begun = time.perf_counter()
        found = await layer.find(asks(text))
        times.append(time.perf_counter() - begun)
        right += found is not None and found.text == text
    await layer.stop()
    await stores.stop()
    print(
        f"corral     {inserts:8.0f} inserts/s   {LOOKUPS / sum(times):8.0f} hits/s   {percentiles(times)}   {right}/{LOOKUPS} right"
    )
    return inserts, LOOKUPS / sum(times)


def layer_on(stores: SqliteStores, embedder: Any, *, judge: Any = None, **settings: Any) -> Semantic:
    """The layer as a service has it."""
    metrics = Metrics()
    return Semantic(
        SemanticCacheSettings(entries_max=20_000, **settings),
        store=stores.semantic,
        embedder=embedder,
        counting=SemanticCounting(metrics, CacheCounting(metrics)),
        ttl_s=3600.0,
        judge=judge,
        chance=random.Random(3).random,
    )


def peer(python: Path, seconds: float) -> tuple[float, float] | None:
    """The same of GPTCache, if it is installed."""
    if not python.exists():
        print(f"GPTCache is left out: there is no {python}")
        return None
    script = HERE / "peers" / "gptcache_semantic.py"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, script, str(seconds)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode:
        print(f"GPTCache is left out: {done.stderr.strip().splitlines()[-1:]}")
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"GPTCache   {found['inserts']:8.0f} inserts/s   {found['hits']:8.0f} hits/s   {percentiles(found['times'])}   "
        f"{found['right']}/{len(found['times'])} right of {found['entries']} entries"
    )
    return found["inserts"], found["hits"]


# -- quality


async def quality(pairs: Path, model: Path) -> None:
    """How often kept answers are wrong on labelled pairs, and on a stream of their texts."""
    with pairs.open() as file:
        rows = list(csv.DictReader(file))
    texts = list({" ".join(row[side].split()): None for row in rows for side in ("text_a", "text_b")})
    embedder = OnnxEmbedder(model)
    await embedder.start()
    begun = time.perf_counter()
    made = await embedder.embed(texts[:4000])
    more = await embedder.embed(texts[4000:]) if len(texts) > 4000 else made[:0]
    vectors = dict(zip(texts, np.concatenate([made, more]), strict=True))
    print(f"\n{len(texts)} texts, {len(texts) / (time.perf_counter() - begun):.0f} embedded a second")
    await embedder.stop()
    on_pairs(rows, vectors)
    await on_stream(rows, vectors)


def on_pairs(rows: list[dict[str, str]], vectors: dict[str, Vectors]) -> None:
    """Hits among duplicates, false hits among others, at several likenesses."""
    sides = [(" ".join(row["text_a"].split()), " ".join(row["text_b"].split())) for row in rows]
    scores = np.array([float(vectors[a] @ vectors[b]) for a, b in sides])
    passes = np.array([not guard.objection(a, b) for a, b in sides])
    same = np.array([row["label"] == "1" for row in rows])
    hard = np.array([row["label"] == "0" and row.get("source") == "own" for row in rows])
    for threshold in (0.84, 0.86, 0.88, 0.9, 0.92, 0.95):
        bare, kept = scores >= threshold, (scores >= threshold) & passes
        print(
            f"from {threshold:.2f}: with the guard {kept[same].mean():.3f} hits, {kept[~same].mean():.4f} false, "
            f"{kept[hard].mean():.4f} of hard ones; without {bare[same].mean():.3f}, {bare[~same].mean():.4f}, {bare[hard].mean():.4f}"
        )


async def on_stream(rows: list[dict[str, str]], vectors: dict[str, Vectors]) -> None:
    """From no evidence to serving: pairs in any order, again and again, each in a scope of its own; the labels are the truth."""
    chance = random.Random(5)
    drawn = [chance.choice(rows) for _ in range(STREAM)]

    async def judge(compared: Comparison) -> bool:
        return compared.answer == compared.kept_answer

    async def model(call: ModelCall) -> AsyncIterator[ModelEvent]:
        yield says(call.policy.cache_tags[0])

    for error_rate in (0.02, 0.05, 0.1):
        with tempfile.TemporaryDirectory() as folder:
            stores = SqliteStores(f"sqlite:///{folder}/bench.db")
            await stores.start()
            layer = layer_on(stores, Prepared(vectors), judge=judge, mode="serve", error_rate=error_rate)
            await layer.start()
            hits = wrong = 0
            for number, row in enumerate(drawn):
                for side, truth in (("text_a", "yes"), ("text_b", "yes" if row["label"] == "1" else "no")):
                    policy = CallPolicy(cache_scope=str(number), cache_tags=(truth,))
                    call = msgspec.structs.replace(asks(row[side]), policy=policy)
                    reply = [event async for event in layer(call, model)][-1]
                    if isinstance(reply, ModelReply) and reply.cached:
                        hits += 1
                        wrong += reply.text != truth
                    await layer.drain()
            await layer.stop()
            await stores.stop()
        print(
            f"{STREAM} pairs one after the other, at most {error_rate:.0%} may be wrong: {hits} served, {wrong} wrong, "
            f"{wrong / max(1, hits):.2%} ({lower_bound(wrong, hits):.2%} to {upper_bound(wrong, hits):.2%})"
        )


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=PEER, help="a Python that has GPTCache")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long GPTCache may insert")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = asyncio.run(speed(folder))
    theirs = peer(given.peer, given.seconds)
    if theirs is not None:
        print(f"ratio      {ours[0] / theirs[0]:8.1f} x           {ours[1] / theirs[1]:8.1f} x")
    if given.pairs and given.model:
        asyncio.run(quality(given.pairs, given.model))


if __name__ == "__main__":
    main()
