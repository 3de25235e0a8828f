"""Corral's side of bench/agents.py: the same loop within a whole service, and thousands of streams at once.

`--how model`: the scripted model in the hands of the agent, as with the others; `--how stack`: as a provider, below all layers
of the gateway; `--streams 5000`: so many runs that stream at the same time, and the memory they take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import uvloop

from corral import Agent, App, Context, tool
from corral.agents.event import Text
from corral.context import enter_context, leave_context
from corral.messages import Delta, ModelCall, ModelEvent, ModelReply, Usage, as_parts
from corral.server.interpreter import settle
from corral.settings.sections import Settings
from corral.wiring.service import Service

_USED = Usage(input=100, output=20)


@tool(read_only=True)
async def look_up(number: int) -> str:
    """Look something up.

    Args:
        number: Which one.
    """
    return f"found {number}"


@tool(read_only=True)
async def note(number: int) -> str:
    """Write something down.

    Args:
        number: Which one.
    """
    return f"noted {number}"


class Scripted:
    """Two tools in each of so many turns, then an answer."""

    name = "bench"

    def __init__(self, turns: int) -> None:
        self.turns = turns

    async def call(self, call: ModelCall) -> AsyncIterator[ModelEvent]:
        """The next answer of the script."""
        turn = sum(message.role == "assistant" for message in call.messages)
        if turn >= self.turns:
            yield ModelReply(content=as_parts("That is all."), usage=_USED, cost_usd=0.0)
            return
        content = [
            {"type": "tool_use", "id": f"{name}-{turn}", "name": name, "input": {"number": turn}}
            for name in ("look_up", "note")
        ]
        yield ModelReply(content=content, stop_reason="tool_use", usage=_USED, cost_usd=0.0)


async def service_in(folder: str, model: Scripted) -> Service:
    """Everything on: traces, metrics, the layers of models and tools, the keeping of runs; the interpreter as workers have it."""
    app = App()
    app.entrypoint(lambda payload: payload)
    settings = msgspec.convert(
        {
            "store": {"url": f"sqlite:///{folder}/bench.db"},
            "models": {
                "providers": {"bench": {"kind": "sim", "models": ["small"], "concurrency": 100_000}},
                "default": "bench/small",
            },
        },
        Settings,
    )
    service = app.build(settings)
    service.modelling.providers["bench"].call = model.call  # type: ignore[method-assign]  # in the provider's place
    await service.start()
    settle()
    return service


async def runs(how: str, turns: int, seconds: float) -> dict[str, float]:
    """Runs one after the other, each as a request of its own, for so long."""
    model = Scripted(turns)
    with tempfile.TemporaryDirectory() as folder:
        service = await service_in(folder, model)
        agent = Agent(
            "bench", "You help.", tools=[look_up, note], model=model.call if how == "model" else "bench/small"
        )

        async def run() -> None:
            context = Context("bench", "bench")
            service.observing.begin(context)
            token = enter_context(context)
            try:
                result = await agent.run("go")
            finally:
                leave_context(token)
                if service.observing.traces is not None:
                    service.observing.traces.let_go(context)  # as at the end of a request
            assert (result.output, result.tool_calls) == ("That is all.", 2 * turns)

        for _ in range(50):
            await run()
        count, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            await run()
            count += 1
        figures = {
            "runs_per_s": count / (time.perf_counter() - began),
            "cpu_ms": (time.process_time() - cpu) / count * 1000,
        }
        await service.stop()
        return figures


async def streams(count: int) -> dict[str, float]:
    """So many runs that have each begun their answer, all at once; then they end."""
    go_on, all_begun = asyncio.Event(), asyncio.Event()
    begun = 0

    async def speak(call: ModelCall) -> AsyncIterator[ModelEvent]:
        del call
        for number in range(20):
            yield Delta("text", f"word {number} ")
            if number == 9:
                await go_on.wait()
        yield ModelReply(content=as_parts("all of it"), usage=_USED, cost_usd=0.0)

    with tempfile.TemporaryDirectory() as folder:
        model = Scripted(0)
        model.call = speak  # type: ignore[method-assign]  # one that takes its time
        service = await service_in(folder, model)
        agent = Agent("bench", "You help.", tools=[look_up, note], model="bench/small")
        before = _resident()

        async def one(number: int) -> int:
            nonlocal begun
            context = Context(f"bench-{number}", "bench")
            service.observing.begin(context)
            enter_context(context)
            heard = 0
            async with aclosing(agent.stream(f"go {number}")) as events:  # type: ignore[type-var]  # a generator
                async for event in events:
                    heard += isinstance(event, Text)
                    if heard == 10 and isinstance(event, Text):
                        begun += 1
                        if begun == count:
                            all_begun.set()
            return heard

        began = time.perf_counter()
        tasks = [asyncio.create_task(one(number)) for number in range(count)]
        await all_begun.wait()
        started_s, held = time.perf_counter() - began, _resident()
        go_on.set()
        assert set(await asyncio.gather(*tasks)) == {20}
        await service.stop()
        return {
            "streams": count,
            "all_begun_s": started_s,
            "rss_before_mb": before,
            "rss_held_mb": held,
            "rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "kb_per_stream": (held - before) * 1024 / count,
        }


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1_048_576


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", choices=("model", "stack"), default="model")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--streams", type=int, default=0)
    asked = parser.parse_args()
    work = streams(asked.streams) if asked.streams else runs(asked.how, asked.turns, asked.seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work)))
