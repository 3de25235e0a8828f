"""Executions of small definitions on a real service: its store, its queue, its worker."""

from __future__ import annotations

import asyncio
import itertools

from corral.workflows.desk import WorkflowDraft

LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:"
INVOKE = "arn:aws:states:::lambda:invoke"
_names = itertools.count(1)


def task(resource, parameters=None, **more):
    """A definition of one Task."""
    given = {} if parameters is None else {"Parameters": parameters}
    return {"StartAt": "Do", "States": {"Do": {"Type": "Task", "Resource": resource, **given, "End": True, **more}}}


async def begun(service, definition, given=None, *, kind=None, name=""):
    """An execution that has begun."""
    desk = service.flowing.desk
    name = name or f"machine-{next(_names)}"
    await desk.save("default", WorkflowDraft(name=name, definition=definition, kind=kind))
    return await desk.begin("default", name, {} if given is None else given)


async def over(service, info):
    """The same when it has ended."""
    async with asyncio.timeout(20):
        return await service.flowing.engine.ended("default", info.id)


async def done(service, definition, given=None, **more):
    """An execution from start to end."""
    return await over(service, await begun(service, definition, given, **more))


async def events(service, info):
    """The types of what happened."""
    page = await service.flowing.engine.history("default", info.id, limit=1000)
    return [event.type for event in page.events]
