"""A semantic cache with an embedder that places texts where the test says, and a model that answers by a script."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
from cache_scene import TurnedClock, answer

from corral.cache.counting import CacheCounting
from corral.cache.semantic.counting import SemanticCounting
from corral.cache.semantic.layer import Semantic
from corral.messages import Caller, CallPolicy, Message, ModelCall, ModelReply, as_parts
from corral.observability.metrics import Metrics
from corral.settings.model_sections import SemanticCacheSettings

WEIGHTS = Path(os.environ.get("CORRAL_TEST_EMBEDDER", "no-embedder"))
PAIRS = Path(__file__).parents[3] / "shared" / "data" / "semantic_dev.csv"
INSTRUCTIONS = "You answer for a shop."


class ScriptedEmbedder:
    """For tests alone: `at(text, angle)` places a text on a circle; others stand at right angles to everything."""

    def __init__(self, fingerprint: str = "scripted") -> None:
        self.fingerprint = fingerprint
        self.angles: dict[str, float] = {}
        self.broken: BaseException | None = None
        self.embedded: list[str] = []
        self.running = 0

    def at(self, text: str, likeness: float) -> str:
        """So alike to what stands at 1.0."""
        self.angles[text] = float(np.arccos(likeness))
        return text

    async def start(self) -> None:
        self.running += 1

    async def embed(self, texts):
        if self.broken is not None:
            raise self.broken
        self.embedded += texts
        rows = np.zeros((len(texts), 64), np.float32)
        for row, text in zip(rows, texts, strict=True):
            angle = self.angles.get(text)
            if angle is None:
                row[2 + hash(text) % 62] = 1.0
            else:
                row[0], row[1] = np.cos(angle), np.sin(angle)
        return rows

    async def stop(self) -> None:
        self.running -= 1


class Shop:
    """Answers questions; `says` maps a question to its answer."""

    def __init__(self) -> None:
        self.says: dict[str, str | ModelReply | BaseException] = {}
        self.asked: list[ModelCall] = []

    async def __call__(self, call: ModelCall):
        self.asked.append(call)
        text = call.messages[-1].text
        said = self.says.get(text, f"An answer to {text}")
        if isinstance(said, BaseException):
            raise said
        yield said if isinstance(said, ModelReply) else answer(said)

    @property
    def questions(self) -> list[str]:
        return [call.messages[-1].text for call in self.asked]


class Scene:
    """The layer, its parts, and short ways to ask."""

    def __init__(self, store, *, clock=None, embedder=None, judge=None, chance=lambda: 1.0, **settings) -> None:
        self.clock = clock or TurnedClock()
        self.embedder = embedder or ScriptedEmbedder()
        self.model = Shop()
        self.metrics = Metrics()
        self.settings = SemanticCacheSettings(**({"mode": "fixed", "similarity_threshold": 0.9} | settings))
        self.layer = Semantic(
            self.settings,
            store=store,
            embedder=self.embedder,
            counting=SemanticCounting(self.metrics, CacheCounting(self.metrics)),
            ttl_s=3600.0,
            judge=judge,
            clock=self.clock,
            chance=chance,
        )

    async def events(self, call: ModelCall):
        return [event async for event in self.layer(call, self.model)]

    async def ask(self, text="", call=None, **more) -> ModelReply:
        reply = (await self.events(call or asks(text, **more)))[-1]
        await self.layer.drain()
        return reply

    def counted(self, line: str) -> bool:
        return line.encode() in self.metrics.render()


def asks(text, *, tenant="acme", before=(), system=INSTRUCTIONS, **more) -> ModelCall:
    policy = {name: more.pop(name) for name in list(more) if name in CallPolicy.__struct_fields__}
    content = more.pop("content", None) or as_parts(text)
    instructions = [Message(role="system", content=as_parts(system))] if system else []
    return ModelCall(
        model=more.pop("model", "sim/small"),
        messages=[*instructions, *before, Message(role="user", content=content)],
        caller=Caller(tenant=tenant),
        policy=CallPolicy(**policy),
        **more,
    )


async def until(true) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0)
