"""Requests that AWS's own clients sign with pairs of ours: who calls is known by the signature."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from corral.app import App
from corral.security.issuing import KeyDesk
from corral.security.key_store import Grant

SECRET = "a secret of more than thirty-two characters"
DEFINITION = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})


@pytest.fixture
async def server(serve):
    app = App()
    app.entrypoint(lambda payload, context: {"tenant": context.tenant, "said": payload, "key": context.key_id})
    return await serve(app, security={"secret": SECRET})


@pytest.fixture
def desk(server):
    return KeyDesk(server.service.stores.keys, secret=SECRET)


@pytest.fixture
async def pair(desk):
    return await desk.create("acme", Grant(aws=True, roles=("developer",)))


def client_of(server, name, access_key, secret_key, token=None):
    return boto3.client(
        name,
        endpoint_url=server.url,
        region_name="eu-central-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )


async def called(work, /, **given):
    return await asyncio.to_thread(lambda: work(**given))


def signed(server, method, path, *, pair, body=b"", headers=None, service="states", auth=SigV4Auth):
    """The headers and the URL as botocore signs them."""
    asked = AWSRequest(method, server.url + path, data=body, headers=headers or {})
    credentials = Credentials(pair.access_key, pair.secret_key)
    auth(credentials, service, "eu-central-1").add_auth(asked)
    return asked.url, dict(asked.headers)


async def ask(server, method, path, *, sent=None, **given):
    url, headers = signed(server, method, path, **given)
    async with httpx.AsyncClient() as client:
        return await client.request(
            method, url, headers=headers, content=given.get("body", b"") if sent is None else sent
        )


async def test_clients_of_step_functions(server, pair):
    flows = await called(
        client_of, server=server, name="stepfunctions", access_key=pair.access_key, secret_key=pair.secret_key
    )
    made = await called(
        flows.create_state_machine, name="flow", definition=DEFINITION, roleArn="arn:aws:iam::000000000000:role/r"
    )
    listed = await called(flows.list_state_machines)
    assert [one["stateMachineArn"] for one in listed["stateMachines"]] == [made["stateMachineArn"]]
    for wrong in ((pair.access_key, "x" * 40), ("AKIAAAAAAAAAAAAAAAAA", pair.secret_key)):
        other = await called(client_of, server=server, name="stepfunctions", access_key=wrong[0], secret_key=wrong[1])
        with pytest.raises(ClientError) as refused:
            await called(other.list_state_machines)
        assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"


async def test_clients_of_buckets(server, pair):
    buckets = await called(
        client_of, server=server, name="s3", access_key=pair.access_key, secret_key=pair.secret_key, token="ignored"
    )
    await called(
        buckets.create_bucket, Bucket="notes", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    for key, body in (("plain.txt", b"hello"), ("a folder/ä+b=c&d~'*.txt", b"\0" * 5000), ("empty", b"")):
        await called(buckets.put_object, Bucket="notes", Key=key, Body=body)
        found = await called(buckets.get_object, Bucket="notes", Key=key)
        assert await called(found["Body"].read) == body
    listed = await called(buckets.list_objects_v2, Bucket="notes", Prefix="a folder/", MaxKeys=2)
    assert [one["Key"] for one in listed["Contents"]] == ["a folder/ä+b=c&d~'*.txt"]
    url = await called(
        buckets.generate_presigned_url, ClientMethod="get_object", Params={"Bucket": "notes", "Key": "plain.txt"}
    )
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        assert (answer.status_code, answer.content) == (200, b"hello")
        answer = await client.get(server.url + "/s3/notes/plain.txt")
        assert answer.status_code == 401


async def test_a_signed_url_is_good_for_its_time(server, pair):
    answer = await ask(server, "PUT", "/s3/notes", pair=pair, service="s3", auth=S3SigV4Auth)
    assert answer.status_code == 200, answer.text
    answer = await ask(server, "PUT", "/s3/notes/a", pair=pair, service="s3", auth=S3SigV4Auth, body=b"hello")
    assert answer.status_code == 200, answer.text
    url, _ = signed(server, "GET", "/s3/notes/a", pair=pair, service="s3", auth=S3SigV4QueryAuth)
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).content == b"hello"
        for wrong in (
            url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
            url.replace("/a?", "/b?"),
            url[:-1] + "g",
        ):
            assert (await client.get(wrong)).status_code == 401
        assert (await client.delete(url)).status_code == 401
    url, _ = signed(server, "GET", "/v1/agents?x=%20y&b=2", pair=pair, auth=SigV4QueryAuth)
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 200


async def test_clients_of_agentcore(server, pair):
    control = await called(
        client_of,
        server=server,
        name="bedrock-agentcore-control",
        access_key=pair.access_key,
        secret_key=pair.secret_key,
    )
    await called(control.create_memory, name="notes", eventExpiryDuration=30)
    data = await called(
        client_of, server=server, name="bedrock-agentcore", access_key=pair.access_key, secret_key=pair.secret_key
    )
    arn = "arn:aws:bedrock-agentcore:eu-central-1:000000000000:runtime/main"
    answer = await called(
        data.invoke_agent_runtime, agentRuntimeArn=arn, payload=b'{"n": 1}', runtimeSessionId="s" * 33
    )
    said = json.loads(await called(answer["response"].read))
    assert said == {"tenant": "acme", "said": {"n": 1}, "key": pair.record.id}


async def test_roles_hold_for_signatures(server, desk):
    reader = await desk.create("acme", Grant(aws=True))
    flows = await called(
        client_of, server=server, name="stepfunctions", access_key=reader.access_key, secret_key=reader.secret_key
    )
    await called(flows.list_state_machines)
    with pytest.raises(ClientError) as refused:
        await called(
            flows.create_state_machine, name="flow", definition=DEFINITION, roleArn="arn:aws:iam::000000000000:role/r"
        )
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "`developer`" in refused.value.response["Error"]["Message"]


async def test_what_was_changed_on_its_way_is_refused(server, pair):
    body = b'{"maxResults": 5}'
    headers = {"x-amz-target": "AWSStepFunctions.ListStateMachines", "content-type": "application/x-amz-json-1.0"}
    _, good = signed(server, "POST", "/", pair=pair, body=body, headers=headers)

    async def status(*, method="POST", path="/", sent=body, **changed):
        given = {**good, **{name.replace("_", "-"): text for name, text in changed.items()}}
        async with httpx.AsyncClient() as client:
            return (await client.request(method, server.url + path, headers=given, content=sent)).status_code

    assert await status() == 200
    assert await status() == 200, "the same request again is a client that tries again"
    assert await status(sent=b'{"maxResults": 9}') == 401
    assert await status(path="/?x=1") == 401
    assert await status(**{"x-amz-target": "AWSStepFunctions.ListActivities"}) == 401
    assert await status(**{"X-Amz-Date": "20200101T000000Z"}) == 401
    assert await status(**{"x-amz-more": "not signed"}) == 401
    assert await status(**{"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}) == 401
    assert await status(Authorization=good["Authorization"].replace("host;", "")) == 401
    assert await status(Authorization=good["Authorization"].replace("eu-central-1", "us-east-1")) == 401
    assert await status(Authorization=good["Authorization"][:-1] + "0") in {200, 401}
    for nonsense in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=", "AWS4-HMAC-SHA512 " + "x" * 9000):
        assert await status(Authorization=nonsense) == 401


async def test_a_body_may_be_left_unsigned_if_that_is_signed(server, pair):
    headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-type": "application/json"}
    answer = await ask(
        server, "POST", "/invocations", pair=pair, headers=headers, auth=S3SigV4Auth, body=b"1", sent=b"2"
    )
    assert answer.status_code == 401, "botocore signs the body of a plain connection whatever is asked for"
    monkey = signed(server, "POST", "/invocations", pair=pair, headers=headers, auth=Unsigned, body=b"1")
    async with httpx.AsyncClient() as client:
        answer = await client.post(monkey[0], headers=monkey[1], content=b"2")
    assert (answer.status_code, answer.json()["said"]) == (200, 2)


class Unsigned(SigV4Auth):
    """Signs that the body is not signed."""

    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


async def test_a_signature_of_another_time_is_refused(server, pair, monkeypatch):
    then = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=901)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: then)
    answer = await ask(server, "GET", "/v1/agents", pair=pair)
    assert answer.status_code == 401
    assert "another time" in answer.text


async def test_exchanged_and_revoked_pairs(server, desk, pair):
    clock = server.service.guarding.ring
    turned = await desk.rotate("acme", pair.record.id, grace_s=1000)
    clock._ask_again_at = 0.0
    for one in (pair, turned):
        assert (await ask(server, "GET", "/v1/agents", pair=one)).status_code == 200
    await desk.rotate("acme", pair.record.id, grace_s=0)
    clock._ask_again_at = 0.0
    assert (await ask(server, "GET", "/v1/agents", pair=pair)).status_code == 401
    await desk.revoke("acme", pair.record.id)
    clock._ask_again_at = 0.0
    assert (await ask(server, "GET", "/v1/agents", pair=turned)).status_code == 401


async def test_without_any_key_signatures_are_not_looked_at(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    server = await serve(app)
    flows = await called(client_of, server=server, name="stepfunctions", access_key="x", secret_key="y")
    assert (await called(flows.list_state_machines))["stateMachines"] == []
