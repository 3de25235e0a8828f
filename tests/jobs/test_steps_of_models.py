from __future__ import annotations

import asyncio

import msgspec
from working_scene import draft

from corral.context import Context, enter_context, leave_context
from corral.jobs.running import Outcome
from corral.messages import Delta, ModelReply, as_parts, closing
from corral.models.llm import LLM, Models, using


class Crash(Exception):
    pass


class Paid:
    """A model that costs something each time."""

    def __init__(self):
        self.asked = []

    async def __call__(self, call):
        self.asked.append(call.messages[-1].text)
        text = f"answer {len(self.asked)}"
        if call.stream:
            yield Delta("text", text)
        yield ModelReply(content=as_parts(text), cost_usd=1.0)


def agent(fn, model):
    """A handler out of an agent that asks models."""

    async def run(job):
        context = Context(job.id)
        job.attach_to(context)
        token = enter_context(context)
        try:
            with using(Models(model)):
                return Outcome(msgspec.json.encode(await fn(context)))
        finally:
            leave_context(token)

    return run


async def test_answers_survive_the_attempt_that_asked_for_them(make_worker, enqueue, look, seen):
    model, llm = Paid(), LLM(system="Be brief.")

    async def ask(context):
        first = await llm("first?")
        async with closing(llm.stream("second?")) as events:
            second = [event async for event in events]
        side = await asyncio.gather(llm("a?"), llm("b?"))
        if context.attempt < 3:
            raise Crash
        return [first.text, first.cost_usd, second[0].text, second[-1].text, *(reply.text for reply in side)]

    await make_worker(agent(ask, model))
    (job_id,) = await enqueue(draft())
    assert await seen.count(3) == ["retry", "retry", "succeeded"]
    assert model.asked == ["first?", "second?", "a?", "b?"]
    result = msgspec.json.decode((await look(job_id)).result)
    assert result == ["answer 1", 1.0, "answer 2", "answer 2", "answer 3", "answer 4"]


async def test_in_threads_as_well_and_only_what_is_to_be_kept(make_worker, enqueue, look, seen):
    model, llm = Paid(), LLM()

    async def ask(context):
        kept = await asyncio.to_thread(llm.run, "kept?", durable="kept")
        anew = await llm("anew?", durable=False)
        if context.attempt == 1:
            raise Crash
        return [kept.text, anew.text]

    await make_worker(agent(ask, model))
    (job_id,) = await enqueue(draft())
    assert await seen.count(2) == ["retry", "succeeded"]
    assert model.asked == ["kept?", "anew?", "anew?"]
    assert msgspec.json.decode((await look(job_id)).result) == ["answer 1", "answer 3"]
