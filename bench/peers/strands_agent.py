"""Strands: the loop that all are measured by, with a model in process, as its own tests have it."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import uvloop
from opentelemetry import trace
from strands import Agent, tool
from strands.models import Model
from thrown_spans import provider


class Scripted(Model):
    """Two tools in each of so many turns, then an answer."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    def update_config(self, **model_config: Any) -> None:
        """There is nothing to configure."""

    def get_config(self) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    async def structured_output(self, *_args: Any, **_kwargs: Any) -> AsyncGenerator[Any, None]:
        """Not asked for here."""
        raise NotImplementedError
        yield

    async def stream(self, messages: Any, *_args: Any, **_kwargs: Any) -> AsyncIterable[Any]:
        """The next answer of the script."""
        turn = sum(message["role"] == "assistant" for message in messages)
        yield {"messageStart": {"role": "assistant"}}
        if turn >= self.turns:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "That is all."}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "end_turn"}}
            return
        for name in ("look_up", "note"):
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": f"{name}-{turn}"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps({"number": turn})}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use"}}


@tool
async def look_up(number: int) -> str:
    """Look something up.

    Args:
        number: Which one.
    """
    return f"found {number}"


@tool
async def note(number: int) -> str:
    """Write something down.

    Args:
        number: Which one.
    """
    return f"noted {number}"


async def measure(turns: int, seconds: float) -> dict[str, float]:
    """Runs one after the other, for so long. An agent of Strands keeps its conversation: each run begins anew."""
    agent = Agent(model=Scripted(turns), system_prompt="You help.", tools=[look_up, note], callback_handler=None)

    async def run() -> None:
        agent.messages.clear()
        result = await agent.invoke_async("go")
        assert "That is all." in str(result)

    for _ in range(10):
        await run()
    runs, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        await run()
        runs += 1
    return {
        "runs_per_s": runs / (time.perf_counter() - began),
        "cpu_ms": (time.process_time() - cpu) / runs * 1000,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--traced", action="store_true")
    asked = parser.parse_args()
    if asked.traced:
        trace.set_tracer_provider(provider())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(asked.turns, asked.seconds))))
