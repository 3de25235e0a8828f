from __future__ import annotations

import asyncio

import httpx
import pytest
from job_scene import JobScene, key_of
from stepfunctions_scene import StepFunctions, flows

from agentcore_scene import Aws
from corral.app import App
from ready import ready_url
from serving import Served


@pytest.fixture
async def make_jobs(tmp_path):
    """Scenes on stores of their own: `await make_jobs(depth_max=2)`."""
    made = []

    async def make(**options):
        scene = JobScene(ready_url(tmp_path), **options)
        made.append(scene)
        await scene.start()
        return scene

    yield make
    for scene in made:
        await scene.stop()


@pytest.fixture
async def jobs(make_jobs):
    return await make_jobs()


@pytest.fixture
async def client_of(jobs):
    """A client with a tenant's key."""
    clients = []

    def make(tenant):
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(jobs), base_url="http://corral", headers=key_of(tenant), timeout=20
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(client_of):
    return client_of("acme")


@pytest.fixture
async def serve_jobs(tmp_path):
    """Scenes on real sockets of this loop: `server = await serve_jobs(heartbeat_s=0.05)`."""
    servers = []

    async def make(**options):
        server = Served(JobScene(ready_url(tmp_path), **options))
        servers.append(server)
        await server.start()
        server.client.headers.update(key_of("acme"))
        return server

    yield make
    for server in servers:
        await server.stop()


# -- AgentCore's memory API ---------------------------------------------------------------------------------------------

KEYS = [{"key": "key-of-acme", "tenant": "acme"}, {"key": "key-of-other", "tenant": "other"}]


@pytest.fixture
async def agentcore(serve):
    """A server with two tenants, and an agent that says it again."""
    app = App()
    app.entrypoint(lambda payload: payload)
    return await serve(app, security={"api_keys": KEYS})


@pytest.fixture
async def aws_of(agentcore):
    made = []

    async def make(tenant: str = "acme") -> Aws:
        made.append(await asyncio.to_thread(Aws, agentcore.port, f"key-of-{tenant}"))
        return made[-1]

    yield make
    for aws in made:
        aws.close()


@pytest.fixture
async def aws(aws_of):
    return await aws_of()


# -- Step Functions -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def step_functions(serve):
    """A server with two tenants, and functions for tasks."""
    return await serve(flows(), security={"api_keys": KEYS}, workflows={"activity_wait_s": 5.0})


@pytest.fixture
async def sfn_of(step_functions):
    made = []

    async def make(tenant: str = "acme") -> StepFunctions:
        made.append(await asyncio.to_thread(StepFunctions, step_functions.port, f"key-of-{tenant}"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
async def sfn(sfn_of):
    return await sfn_of()
