"""A place to run distributed Maps in: a real store, a real engine, children that run, and objects in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

from corral.clock import SYSTEM_CLOCK, new_id
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.distributed.desk import MapRunDesk
from corral.workflows.distributed.faults import ObjectFailed
from corral.workflows.distributed.objects import ObjectInfo, Shelves
from corral.workflows.distributed.place import Place
from corral.workflows.distributed.runner import MapRunner
from corral.workflows.engine import Engine
from corral.workflows.execution import StartRequest
from corral.workflows.failing import StateFailed
from corral.workflows.machine.happening import TaskSucceeded

ARN = "arn:aws:states:us-east-1:000000000000:stateMachine:machine"
GET = "arn:aws:states:::s3:getObject"
PUT = "arn:aws:states:::s3:putObject"
PASS = {"StartAt": "One", "States": {"One": {"Type": "Pass", "End": True}}}
SOME_FAIL = {
    "StartAt": "Which",
    "States": {
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$", "NumericLessThan": 0, "Next": "Bad"}],
            "Default": "Good",
        },
        "Bad": {"Type": "Fail", "Error": "Negative", "Cause": "less than nothing"},
        "Good": {"Type": "Pass", "End": True},
    },
}


class Kept:
    """Objects in memory."""

    def __init__(self):
        self.objects = {}

    async def read(self, bucket, key, *, version="", owner=""):
        if (bucket, key) not in self.objects:
            raise ObjectFailed(f"The specified key does not exist: {key}")
        body = self.objects[bucket, key]
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    async def list(self, bucket, prefix, *, start_after=""):
        for name, key in sorted(self.objects):
            if name == bucket and key.startswith(prefix):
                yield ObjectInfo(key=key, size=len(self.objects[name, key]))

    async def write(self, bucket, key, body, *, content_type):
        if bucket == "closed":
            raise ObjectFailed("Access Denied")
        self.objects[bucket, key] = body

    def json(self, bucket, key):
        return json.loads(self.objects[bucket, key])


class Scene:
    """One worker of a service, or several on one store."""

    def __init__(self, stores, **settings):
        self.stores = stores
        self.settings = WorkflowSettings(**{"sweep_s": 0.2, **settings})
        self.kept = Kept()
        self.definitions = {}
        self.place = Place(
            stores.map_runs,
            stores.blobs,
            shelves_of=lambda _tenant: Shelves({"s3": self.kept}),
            settings=self.settings,
            clock=SYSTEM_CLOCK,
            new_token=new_id,
        )
        self.runner = MapRunner(self.place)
        self.desk = MapRunDesk(self.place)
        self.calls = []
        self.broken = ("fail",)
        self.engine = Engine(
            stores.executions,
            stores.blobs,
            definitions=self.definition,
            map_runs=self.runner,
            call_task=self.call,
            settings=self.settings,
        )
        self.runner.attach(self.engine)

    async def definition(self, tenant, digest):
        return self.definitions[digest]

    async def call(self, order, facts):
        self.calls.append(order.payload)
        if order.payload in self.broken:
            raise StateFailed("Bad", "said so")
        return TaskSucceeded(token=order.token, output=order.payload)

    def request(self, definition, given=None, **more):
        text = json.dumps(definition)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.definitions[digest] = text
        return StartRequest(
            tenant="acme", machine_arn=ARN, machine_name="machine", digest=digest, input=given or {}, **more
        )

    async def start(self, definition, given=None, **more):
        return await self.engine.start(self.request(definition, given, **more))

    async def run(self, definition, given=None, **more):
        async with asyncio.timeout(30):
            begun = await self.start(definition, given, **more)
            return await self.engine.ended("acme", begun.id)

    async def events(self, info):
        page = await self.engine.history("acme", info.id, limit=1000)
        return [event.type for event in page.events]

    async def map_run(self, info):
        async with asyncio.timeout(20):
            while True:
                (run,) = await self.stores.map_runs.of_execution("acme", info.id)
                if run.phase == "over":
                    return await self.desk.describe("acme", run.arn)
                await asyncio.sleep(0.01)


def mapped(processor=PASS, kind="STANDARD", language=None, **state):
    """A machine of one distributed Map."""
    config = {"Mode": "DISTRIBUTED", "ExecutionType": kind}
    machine = {
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "Label": "each",
                "ItemProcessor": {"ProcessorConfig": config, **processor},
                "End": True,
            }
            | state
        },
    }
    return machine if language is None else {"QueryLanguage": language, **machine}


@asynccontextmanager
async def scene_on(stores, **settings):
    """A worker that runs."""
    scene = Scene(stores, **settings)
    await scene.engine.carrier.start()
    await scene.runner.start()
    try:
        yield scene
    finally:
        await scene.runner.stop()
        await scene.engine.carrier.stop()
        await scene.engine.express.stop()
        scene.engine.following.close()
