"""AgentCore's control plane of runtimes, versions and endpoints, asked by the real boto3."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import boto3
import pytest
from botocore.exceptions import ClientError

from agentcore_scene import SETUP, Aws
from corral.app import App
from corral.server.agentcore.ids import runtime_id_of

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
async def served(serve):
    app = App()

    @app.entrypoint
    async def main(payload):
        """Say it again."""
        return payload

    @app.entrypoint(name="number.2-b")
    async def second(payload):
        return {"second": payload}

    return await serve(app)


@pytest.fixture
async def aws(served):
    aws = await asyncio.to_thread(Aws, served.port)
    yield aws
    aws.close()


async def test_the_apps_agents_are_runtimes(aws):
    listed = (await aws.list_agent_runtimes())["agentRuntimes"]
    assert [one["agentRuntimeName"] for one in listed] == ["main", "number_2_b"]
    main, second = listed
    assert main["agentRuntimeId"] == runtime_id_of("main")
    assert main["agentRuntimeArn"].endswith(f":runtime/{main['agentRuntimeId']}")
    shown = await aws.get_agent_runtime(agentRuntimeId=main["agentRuntimeId"])
    assert (shown["agentRuntimeVersion"], shown["status"]) == ("1", "READY")
    assert isinstance(shown["createdAt"], datetime)
    assert shown["lifecycleConfiguration"]["idleRuntimeSessionTimeout"] == 900
    (endpoint,) = (await aws.list_agent_runtime_endpoints(agentRuntimeId=main["agentRuntimeId"]))["runtimeEndpoints"]
    assert (endpoint["name"], endpoint["liveVersion"]) == ("DEFAULT", "1")
    answer = await aws.invoke_agent_runtime(agentRuntimeArn=second["agentRuntimeArn"], payload=b"1")
    assert json.loads(await asyncio.to_thread(answer["response"].read)) == {"second": 1}
    code, status, _ = await aws.refused("delete_agent_runtime", agentRuntimeId=main["agentRuntimeId"])
    assert (code, status) == ("ConflictException", 409)
    code, _, message = await aws.refused("create_agent_runtime", agentRuntimeName="main", **SETUP)
    assert code == "ConflictException"
    assert "main" in message


async def test_every_change_is_a_version_that_never_changes(aws):
    made = await aws.create_agent_runtime(agentRuntimeName="support", **SETUP, description="first")
    runtime = {"agentRuntimeId": made["agentRuntimeId"]}
    assert (made["agentRuntimeVersion"], made["status"]) == ("1", "CREATING")
    assert (await aws.refused("create_agent_runtime", agentRuntimeName="support", **SETUP))[0] == "ConflictException"
    variables = {"environmentVariables": {"A": "1"}}
    second = await aws.update_agent_runtime(**runtime, **SETUP, description="second", **variables)
    assert second["agentRuntimeVersion"] == "2"
    shown = await aws.get_agent_runtime(**runtime)
    assert (shown["agentRuntimeVersion"], shown["description"]) == ("2", "second")
    assert shown["environmentVariables"] == {"A": "1"}
    first = await aws.get_agent_runtime(**runtime, agentRuntimeVersion="1")
    assert (first["agentRuntimeVersion"], first["description"]) == ("1", "first")
    assert "environmentVariables" not in first
    assert first["agentRuntimeArtifact"] == SETUP["agentRuntimeArtifact"]
    versions = (await aws.list_agent_runtime_versions(**runtime))["agentRuntimes"]
    assert [one["agentRuntimeVersion"] for one in versions] == ["2", "1"]
    assert (await aws.refused("get_agent_runtime", **runtime, agentRuntimeVersion="7"))[
        0
    ] == "ResourceNotFoundException"
    assert (await aws.delete_agent_runtime(**runtime))["status"] == "DELETING"
    assert (await aws.refused("get_agent_runtime", **runtime))[0] == "ResourceNotFoundException"
    await aws.create_agent_runtime(agentRuntimeName="support", **SETUP)


async def test_endpoints_name_versions_and_default_follows_the_latest(aws):
    runtime = {
        "agentRuntimeId": (await aws.create_agent_runtime(agentRuntimeName="support", **SETUP))["agentRuntimeId"]
    }
    made = await aws.create_agent_runtime_endpoint(**runtime, name="prod", description="For real")
    assert (made["targetVersion"], made["endpointName"]) == ("1", "prod")
    await aws.update_agent_runtime(**runtime, **SETUP)

    async def live(name):
        return (await aws.get_agent_runtime_endpoint(**runtime, endpointName=name))["liveVersion"]

    assert (await live("DEFAULT"), await live("prod")) == ("2", "1")
    forward = await aws.update_agent_runtime_endpoint(**runtime, endpointName="prod", agentRuntimeVersion="2")
    assert (forward["liveVersion"], forward["targetVersion"]) == ("1", "2")
    assert await live("prod") == "2"
    await aws.update_agent_runtime_endpoint(**runtime, endpointName="prod", agentRuntimeVersion="1")
    shown = await aws.get_agent_runtime_endpoint(**runtime, endpointName="prod")
    assert (shown["liveVersion"], shown["description"]) == ("1", "For real")
    first = await aws.list_agent_runtime_endpoints(**runtime, maxResults=1)
    second = await aws.list_agent_runtime_endpoints(**runtime, maxResults=1, nextToken=first["nextToken"])
    assert [one["name"] for one in first["runtimeEndpoints"] + second["runtimeEndpoints"]] == ["DEFAULT", "prod"]
    for name, given in {
        "create_agent_runtime_endpoint": {"name": "prod"},
        "delete_agent_runtime_endpoint": {"endpointName": "DEFAULT"},
    }.items():
        assert (await aws.refused(name, **runtime, **given))[0] == "ConflictException", name
    for given in ({"endpointName": "none"}, {"endpointName": "prod", "agentRuntimeVersion": "9"}):
        refused = await aws.refused("update_agent_runtime_endpoint", **runtime, **given)
        assert refused[0] == "ResourceNotFoundException"
    update = {"endpointName": "DEFAULT", "agentRuntimeVersion": "1"}
    assert (await aws.refused("update_agent_runtime_endpoint", **runtime, **update))[0] == "ValidationException"
    assert (await aws.delete_agent_runtime_endpoint(**runtime, endpointName="prod"))["status"] == "DELETING"
    assert (await aws.refused("get_agent_runtime_endpoint", **runtime, endpointName="prod"))[1] == 404


async def test_there_are_only_so_many_endpoints(aws):
    runtime = {
        "agentRuntimeId": (await aws.create_agent_runtime(agentRuntimeName="support", **SETUP))["agentRuntimeId"]
    }
    for number in range(9):
        await aws.create_agent_runtime_endpoint(**runtime, name=f"e{number}")
    code, status, _ = await aws.refused("create_agent_runtime_endpoint", **runtime, name="one_more")
    assert (code, status) == ("ServiceQuotaExceededException", 402)


async def test_an_agent_of_the_app_has_versions_once_it_is_changed(aws):
    runtime = {"agentRuntimeId": runtime_id_of("main")}
    versions = (await aws.list_agent_runtime_versions(**runtime))["agentRuntimes"]
    assert [one["agentRuntimeVersion"] for one in versions] == ["1"]
    await aws.create_agent_runtime_endpoint(**runtime, name="prod")
    await aws.update_agent_runtime(**runtime, **SETUP)
    listed = (await aws.list_agent_runtimes())["agentRuntimes"]
    assert [(one["agentRuntimeName"], one["agentRuntimeVersion"]) for one in listed] == [
        ("main", "2"),
        ("number_2_b", "1"),
    ]
    assert (await aws.get_agent_runtime_endpoint(**runtime, endpointName="prod"))["liveVersion"] == "1"


async def test_runtimes_are_listed_in_pages(aws):
    for number in range(3):
        await aws.create_agent_runtime(agentRuntimeName=f"runtime{number}", **SETUP)
    for size in (1, 2, 3, 10):
        names, token = [], {}
        while True:
            page = await aws.list_agent_runtimes(maxResults=size, **token)
            assert len(page["agentRuntimes"]) <= size
            names += [one["agentRuntimeName"] for one in page["agentRuntimes"]]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert names == ["main", "number_2_b", "runtime2", "runtime1", "runtime0"]


async def test_a_retried_request_makes_one_runtime(aws):
    given = {"agentRuntimeName": "support", **SETUP, "clientToken": "a-token-of-at-least-33-characters-1"}
    assert await aws.create_agent_runtime(**given) == await aws.create_agent_runtime(**given)


async def test_an_agents_card(aws):
    answer = await aws.get_agent_card(agentRuntimeArn=runtime_id_of("main"))
    card = answer["agentCard"]
    assert (card["name"], card["description"]) == ("main", "Say it again.")
    assert card["url"].endswith("/invocations")
    assert answer["runtimeSessionId"]


async def test_another_tenants_runtime_is_not_there(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    keys = [{"key": "key-of-acme", "tenant": "acme"}, {"key": "key-of-other", "tenant": "other"}]
    server = await serve(app, security={"api_keys": keys})
    mine, theirs = [await asyncio.to_thread(Aws, server.port, f"key-of-{name}") for name in ("acme", "other")]
    runtime = {
        "agentRuntimeId": (await mine.create_agent_runtime(agentRuntimeName="secret", **SETUP))["agentRuntimeId"]
    }
    await mine.create_agent_runtime_endpoint(**runtime, name="prod")
    assert [one["agentRuntimeName"] for one in (await theirs.list_agent_runtimes())["agentRuntimes"]] == ["main"]
    for name, given in {
        "get_agent_runtime": {},
        "update_agent_runtime": SETUP,
        "delete_agent_runtime": {},
        "list_agent_runtime_versions": {},
        "create_agent_runtime_endpoint": {"name": "theirs"},
        "get_agent_runtime_endpoint": {"endpointName": "prod"},
        "update_agent_runtime_endpoint": {"endpointName": "prod"},
        "delete_agent_runtime_endpoint": {"endpointName": "prod"},
        "list_agent_runtime_endpoints": {},
    }.items():
        assert (await theirs.refused(name, **runtime, **given))[0] == "ResourceNotFoundException", name
    assert len((await mine.list_agent_runtime_endpoints(**runtime))["runtimeEndpoints"]) == 2
    for aws in (mine, theirs):
        aws.close()


async def test_operations_that_nobody_answers_are_said_in_the_shape_that_boto3_shows(aws):
    for name, given, asked in (
        ("list_gateways", {}, "GET /gateways/"),
        ("list_browser_sessions", {"browserIdentifier": "b"}, "POST /browsers/b/sessions/list"),
        ("get_workload_access_token", {"workloadName": "abc"}, "POST /identities/GetWorkloadAccessToken"),
    ):
        code, status, message = await aws.refused(name, **given)
        assert (code, status) == ("UnknownOperationException", 404)
        assert message.startswith(f"{asked} is no operation of AgentCore that is answered here. There are: BatchCreate")
        assert "InvokeAgentRuntime" in message


async def test_other_services_of_aws_hear_which_are_answered(served):
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=served.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
    )
    said = [{"role": "user", "content": [{"text": "Hi"}]}]
    with pytest.raises(
        ClientError, match=r"UnknownOperationException.*operation of 'bedrock', and none .* there are bedrock-agentcore"
    ):
        await asyncio.to_thread(client.converse, modelId="x", messages=said)
    client.close()


async def test_who_is_no_client_of_aws_hears_of_an_address_as_before(served):
    answer = await served.client.get("/gateways")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await served.client.post("/ping")).status_code == 405
