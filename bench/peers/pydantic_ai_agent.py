"""pydantic-ai: the loop that all are measured by, with its function model."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import uvloop
from pydantic_ai import Agent, InstrumentationSettings
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from thrown_spans import provider


def scripted(turns: int) -> FunctionModel:
    """Two tools in each of so many turns, then an answer."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        del info
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn >= turns:
            return ModelResponse(parts=[TextPart("That is all.")])
        calls = [ToolCallPart(name, {"number": turn}, tool_call_id=f"{name}-{turn}") for name in ("look_up", "note")]
        return ModelResponse(parts=calls)

    return FunctionModel(answer)


async def look_up(number: int) -> str:
    """Look something up."""
    return f"found {number}"


async def note(number: int) -> str:
    """Write something down."""
    return f"noted {number}"


async def measure(turns: int, seconds: float) -> dict[str, float]:
    """Runs one after the other, for so long."""
    agent = Agent(scripted(turns), instructions="You help.", tools=[look_up, note])
    for _ in range(10):
        await agent.run("go")
    runs, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        result = await agent.run("go")
        assert result.output == "That is all."
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
        Agent.instrument_all(InstrumentationSettings(tracer_provider=provider()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(asked.turns, asked.seconds))))
