"""Buckets of the service, as boto3's client of S3 uses them."""

from __future__ import annotations

import asyncio

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from corral.app import App
from corral.errors import BadRequest
from corral.server.buckets import bucket_path, unchunked
from sweeping import sweep

KEYS = [{"key": "key-of-acme", "tenant": "acme"}, {"key": "key-of-other", "tenant": "other"}]


class Client:
    """A client for one tenant; its calls run in threads."""

    def __init__(self, port, key, path=""):
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}{path}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            config=Config(retries={"max_attempts": 0}, read_timeout=20),
        )
        self.client.meta.events.register("before-send", lambda request, **_: request.headers.update({"X-Api-Key": key}))

    def __getattr__(self, name):
        method = getattr(self.client, name)

        async def call(**given):
            return await asyncio.to_thread(lambda: read(method(**given)))

        return call

    async def refused(self, name, **given):
        with pytest.raises(ClientError) as caught:
            await getattr(self, name)(**given)
        return caught.value.response["Error"]["Code"]

    def close(self):
        self.client.close()
        sweep()


def read(answer):
    if "Body" in answer:
        answer["Body"] = answer["Body"].read()
    return answer


@pytest.fixture
async def served(serve):
    app = App()
    app.entrypoint(lambda payload: payload)
    return await serve(app, security={"api_keys": KEYS})


@pytest.fixture
async def client_of(served):
    clients = []

    def make(tenant, path=""):
        clients.append(Client(served.port, f"key-of-{tenant}", path))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("path", ["", "/s3"])
async def test_objects_are_written_read_listed_and_removed(client_of, path):
    s3 = client_of("acme", path)
    await s3.create_bucket(Bucket="items")
    await s3.create_bucket(Bucket="items")
    assert [one["Name"] for one in (await s3.list_buckets())["Buckets"]] == ["items"]
    await s3.head_bucket(Bucket="items")
    assert (await s3.get_bucket_location(Bucket="items"))["LocationConstraint"] is None
    written = await s3.put_object(Bucket="items", Key="a/b c/<1>.csv", Body=b"x,y\n", ContentType="text/csv")
    found = await s3.get_object(Bucket="items", Key="a/b c/<1>.csv")
    assert (found["Body"], found["ContentType"], found["ETag"]) == (b"x,y\n", "text/csv", written["ETag"])
    part = await s3.get_object(Bucket="items", Key="a/b c/<1>.csv", Range="bytes=1-2")
    assert (part["Body"], part["ContentRange"]) == (b",y", "bytes 1-2/4")
    assert (await s3.get_object(Bucket="items", Key="a/b c/<1>.csv", Range="bytes=-1"))["Body"] == b"\n"
    head = await s3.head_object(Bucket="items", Key="a/b c/<1>.csv")
    assert (head["ContentLength"], head["ETag"]) == (4, written["ETag"])
    large = bytes(range(256)) * 12_000
    await s3.put_object(Bucket="items", Key="large", Body=large)
    assert (await s3.get_object(Bucket="items", Key="large"))["Body"] == large
    for number in range(5):
        await s3.put_object(Bucket="items", Key=f"n/{number}&", Body=b"")
    page = await s3.list_objects_v2(Bucket="items", Prefix="n/", MaxKeys=2)
    assert [one["Key"] for one in page["Contents"]] == ["n/0&", "n/1&"]
    rest = await s3.list_objects_v2(Bucket="items", Prefix="n/", ContinuationToken=page["NextContinuationToken"])
    assert [one["Key"] for one in rest["Contents"]] == ["n/2&", "n/3&", "n/4&"]
    assert not rest["IsTruncated"]
    older = await s3.list_objects(Bucket="items", Prefix="a/")
    assert [(one["Key"], one["Size"]) for one in older["Contents"]] == [("a/b c/<1>.csv", 4)]
    assert await s3.refused("delete_bucket", Bucket="items") == "BucketNotEmpty"
    await s3.delete_objects(Bucket="items", Delete={"Objects": [{"Key": f"n/{number}&"} for number in range(5)]})
    await s3.delete_object(Bucket="items", Key="large")
    await s3.delete_object(Bucket="items", Key="a/b c/<1>.csv")
    await s3.delete_bucket(Bucket="items")
    assert await s3.refused("list_objects_v2", Bucket="items") == "NoSuchBucket"


async def test_what_is_refused_has_s3_s_own_codes(client_of):
    s3 = client_of("acme")
    assert await s3.refused("create_bucket", Bucket="Under_Score") == "InvalidBucketName"
    assert await s3.refused("put_object", Bucket="none", Key="k", Body=b"") == "NoSuchBucket"
    await s3.create_bucket(Bucket="items")
    assert await s3.refused("get_object", Bucket="items", Key="none") == "NoSuchKey"
    assert await s3.refused("put_object", Bucket="items", Key="k" * 600, Body=b"") == "InvalidRequest"
    assert await s3.refused("create_multipart_upload", Bucket="items", Key="k") != ""
    assert await s3.refused("list_objects_v2", Bucket="items", Delimiter="/") == "NotImplemented"
    assert await s3.refused("copy_object", Bucket="items", Key="k", CopySource="items/none") == "NotImplemented"
    assert await s3.refused("put_bucket_versioning", Bucket="items", VersioningConfiguration={}) == "NotImplemented"


async def test_isolation(client_of, served):
    acme, other = client_of("acme"), client_of("other")
    await acme.create_bucket(Bucket="items")
    await acme.put_object(Bucket="items", Key="k", Body=b"acme's")
    assert (await other.list_buckets())["Buckets"] == []
    for name in ("get_object", "head_object"):
        assert await other.refused(name, Bucket="items", Key="k") in {"NoSuchBucket", "404"}
    for name in ("list_objects_v2", "delete_bucket"):
        assert await other.refused(name, Bucket="items") == "NoSuchBucket"
    assert await other.refused("put_object", Bucket="items", Key="k", Body=b"") == "NoSuchBucket"
    await other.delete_object(Bucket="items", Key="k")
    await other.delete_objects(Bucket="items", Delete={"Objects": [{"Key": "k"}]})
    await other.create_bucket(Bucket="items")
    assert await other.refused("get_object", Bucket="items", Key="k") == "NoSuchKey"
    assert (await acme.get_object(Bucket="items", Key="k"))["Body"] == b"acme's"
    assert await client_of("nobody").refused("get_object", Bucket="items", Key="k") == "AccessDenied"
    answers = await served.client.get("/s3/items/k")
    assert answers.status_code == 401


def test_a_key_is_one_segment_of_its_address():
    signed = b"AWS4-HMAC-SHA256 Credential=x/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    for path, wanted in (
        (b"/", b"/s3"),
        (b"/s3", b"/s3"),
        (b"/s3/", b"/s3"),
        (b"/b", b"/s3/b"),
        (b"/b/", b"/s3/b"),
        (b"/b/a/c%20d", b"/s3/b/a%2Fc%20d"),
        (b"/s3/b/a/c", b"/s3/b/a%2Fc"),
    ):
        assert bucket_path(path, signed) == wanted
    assert bucket_path(b"/v1/jobs", b"Bearer x") == b"/v1/jobs"
    assert bucket_path(b"/s3/b/a/c", b"") == b"/s3/b/a%2Fc"


def test_chunks_of_a_body_are_put_together():
    body = b"5;chunk-signature=0\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert unchunked(body) == b"hello world"
    for wrong in (b"hello", b"5\r\nhel", b"-1\r\nx\r\n", b""):
        with pytest.raises(BadRequest):
            unchunked(wrong)
