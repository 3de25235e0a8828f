"""Many questions at once: bounded, in order, and one that fails does not sink the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")

Progress = Callable[[int, int], object]
"""Told after each answer how many of how many are there."""


async def answered_all(
    questions: Sequence[A], ask: Callable[[A], Awaitable[B]], *, at_once: int, progress: Progress | None = None
) -> list[B | Exception]:
    """The answer to each question or the error it ended in, in the order of the questions.

    At most `at_once` are asked at a time. Cancelled, it cancels what is under way and waits for its end.
    """
    if at_once < 1:
        raise ValueError(f"At least one question is asked at a time, not {at_once}.")
    answers: list[B | Exception | None] = [None] * len(questions)
    waiting = iter(range(len(questions)))
    done = 0

    async def worker() -> None:
        nonlocal done
        for index in waiting:  # shared: each takes the next one
            try:
                answers[index] = await ask(questions[index])
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                answers[index] = error
            done += 1
            if progress is not None:
                progress(done, len(questions))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(questions))):
            group.create_task(worker())
    return cast("list[B | Exception]", answers)
