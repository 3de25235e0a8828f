"""LangGraph with a checkpointer that is durable after each step (`durability="sync"`): steps a second of 16 runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    """What the graph counts."""

    left: int


async def tick(state: State) -> State:
    """The trivial step."""
    return {"left": state["left"] - 1}


def graph() -> StateGraph[State]:
    """A loop of empty steps."""
    builder = StateGraph(State)
    builder.add_node("tick", tick)
    builder.add_edge(START, "tick")
    builder.add_conditional_edges("tick", lambda state: "tick" if state["left"] > 0 else END)
    return builder


async def measure(url: str, runs: int, steps: int) -> dict[str, float]:
    """Runs of `steps` steps at once."""
    if url.startswith("postgres"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver as Saver
        from psycopg_pool import AsyncConnectionPool

        async with AsyncConnectionPool(url, max_size=10, kwargs={"autocommit": True, "prepare_threshold": 0}) as pool:
            saver = Saver(pool)
            await saver.setup()
            return await timed(saver, runs, steps)
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(url.removeprefix("sqlite:///")) as saver:
        return await timed(saver, runs, steps)


async def timed(saver: object, runs: int, steps: int) -> dict[str, float]:
    """The figure."""
    compiled = graph().compile(checkpointer=saver)
    started = time.perf_counter()
    await asyncio.gather(
        *(
            compiled.ainvoke(
                {"left": steps},
                {"configurable": {"thread_id": f"{started}-{n}"}, "recursion_limit": steps + 10},
                durability="sync",
            )
            for n in range(runs)
        )
    )
    return {"steps_per_s": runs * steps / (time.perf_counter() - started)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.store, 16, options.steps))), flush=True)


if __name__ == "__main__":
    main()
