"""Jobs over HTTP on a real store, with a worker whose every move the test makes."""

from __future__ import annotations

import asyncio
import json

import msgspec

from corral.backends.open import open_stores
from corral.jobs.desk import JobDesk
from corral.jobs.hub import JobHub
from corral.jobs.job import Ending, JobError, JobEventDraft
from corral.runtime.registry import Agents
from corral.server.asgi import HttpApp
from corral.server.identity import Identity
from corral.server.job_check import AgentCheck
from corral.server.jobs import JobRoutes
from corral.server.routes import Router
from corral.server.websocket import WebSocketEndpoint
from corral.settings.sections import ApiKey, JobSettings, SecuritySettings

TENANTS = ("acme", "other")
UNKNOWN = "01900000-0000-7000-8000-000000000000"
SCHEDULE = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"agent": "main", "input": {"kind": "daily"}}}


def key_of(tenant):
    return {"authorization": f"Bearer key-of-{tenant}"}


class Question(msgspec.Struct):
    prompt: str


class Quiet:
    """A watcher that remembers what was unexpected."""

    def __init__(self):
        self.unexpected_errors = []

    def begin(self, context):
        context.sampled = True

    def request(self, request):
        pass

    def unexpected(self, error):
        self.unexpected_errors.append(error)


class JobScene:
    """An ASGI app with the routes of jobs and nothing else."""

    def __init__(self, url, *, heartbeat_s=15.0, poll_s=1.0, **jobs):
        self.stores = open_stores(url)
        self.watcher = Quiet()
        settings = JobSettings(
            **{"callback_secret": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTE=", "batch_max": 50, **jobs}
        )
        agents = Agents()
        agents.add("main", lambda payload: payload)

        def typed(payload: Question):
            return payload.prompt

        agents.add("typed", typed)
        self.hub = JobHub(self.stores.jobs, self.stores.job_records, poll_s=poll_s)
        self.desk = JobDesk(
            self.stores.jobs, self.stores.job_records, self.hub, settings, check_input=AgentCheck(agents)
        )
        routes = JobRoutes(
            self.desk, self.stores.schedules, self.stores.outbox, settings=settings, heartbeat_s=heartbeat_s
        )
        self.routes = routes.routes()
        identity = Identity(
            SecuritySettings(api_keys=[ApiKey(key=f"key-of-{tenant}", tenant=tenant) for tenant in TENANTS])
        )
        self.http = HttpApp(
            Router(self.routes),
            identity,
            WebSocketEndpoint(routes.sockets(), identity, self.watcher.unexpected),
            body_max_bytes=20_000_000,
            json_depth_max=64,
            watcher=self.watcher,
        )

    async def __call__(self, scope, receive, send):
        await self.http(scope, receive, send)

    async def start(self):
        await self.stores.start()
        await self.hub.start()

    def cancel_running(self):
        self.hub.drain()

    async def stop(self):
        await self.hub.stop()
        await self.stores.stop()
        assert not self.watcher.unexpected_errors

    # -- a worker's moves

    async def claim(self, limit=1):
        claimed = await self.stores.jobs.claim("w", queues=[], limit=limit, lease_s=60)
        return claimed.jobs

    async def first(self):
        """The next job, once there is one."""
        async with asyncio.timeout(10):
            while not (jobs := await self.claim()):
                pass
        return jobs[0]

    async def say(self, job, *pieces, kind="piece"):
        return await self.stores.jobs.emit(
            [JobEventDraft(job.claim, kind, json.dumps(piece).encode()) for piece in pieces]
        )

    async def succeed(self, job, result="done"):
        assert await self.stores.jobs.settle(
            [Ending(claim=job.claim, kind="succeeded", result=json.dumps(result).encode())]
        ) == [True]

    async def fail(self, job, code="agent_error", message="It broke."):
        error = JobError(code=code, message=message, type="ValueError")
        assert await self.stores.jobs.settle([Ending(claim=job.claim, kind="failed", error=error)]) == [True]

    async def wait_for(self, job, name):
        assert await self.stores.jobs.settle([Ending(claim=job.claim, kind="waiting", awaits=f"signal:{name}#1")]) == [
            True
        ]

    async def until_followed(self, count=1):
        """As many followers as that are there."""
        await until(lambda: len(self.hub) == count)


async def until(condition, seconds=10.0):
    """Wait until a condition holds that a task or a thread brings about."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


async def submit(client, **fields):
    """A job that was taken in."""
    answer = await client.post("/v1/jobs", json={"agent": "main", "input": {"prompt": "hi"}, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def assert_problem(answer, status, code, what=""):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert what in problem["detail"]
    return problem
