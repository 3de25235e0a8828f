"""Where items are read from and results are written to: S3, a folder of files, buckets of our own."""

from __future__ import annotations

import asyncio
import os
import sys

import boto3
import pytest
from moto.server import ThreadedMotoServer

from corral.backends.open import open_stores
from corral.clock import SYSTEM_CLOCK, new_id
from corral.errors import PayloadTooLarge
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.distributed import buckets as buckets_module
from corral.workflows.distributed import file_objects, s3_objects
from corral.workflows.distributed.buckets import BucketNotEmpty, Buckets, ObjectNotFound
from corral.workflows.distributed.faults import ObjectFailed
from corral.workflows.distributed.file_objects import FileObjects
from corral.workflows.distributed.s3_objects import S3Objects
from corral.workflows.distributed.storage import Storage
from ready import ready_url

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def s3_endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket="items")
    client.close()
    yield endpoint
    server.stop()


@pytest.fixture
def buckets(tmp_path):
    return tmp_path, ready_url(tmp_path)


@pytest.fixture
async def own(buckets):
    _folder, url = buckets
    stores = open_stores(url)
    await stores.start()
    made = Buckets(stores.buckets, stores.blobs, object_max=3_000_000, clock=SYSTEM_CLOCK, new_name=new_id)
    await made.create("acme", "items")
    yield made
    await stores.stop()


@pytest.fixture(params=["s3", "files", "buckets"])
async def objects(request, tmp_path, s3_endpoint, own):
    if request.param == "buckets":
        yield own.of("acme")
    elif request.param == "files":
        await asyncio.to_thread((tmp_path / "flows" / "items").mkdir, parents=True)
        yield FileObjects(tmp_path / "flows")
    else:
        made = S3Objects(endpoint=s3_endpoint, access_key="x", secret_key="y")
        yield made
        made.close()


async def whole(objects, bucket, key):
    return b"".join([piece async for piece in objects.read(bucket, key)])


async def test_what_was_written_is_read_and_listed(objects, monkeypatch):
    for module, name in ((s3_objects, "PIECE"), (file_objects, "PIECE"), (buckets_module, "PIECE")):
        monkeypatch.setattr(module, name, 1000)
    monkeypatch.setattr(file_objects, "_PAGE", 2)
    monkeypatch.setattr(buckets_module, "_PAGE", 2)
    body = os.urandom(4500)
    for key in ("a/1", "a/2", "a/3", "b", "ä ö/+.txt"):
        await objects.write("items", key, body + key.encode(), content_type="text/plain")
    await objects.write("items", "b", b"", content_type="text/plain")
    assert await whole(objects, "items", "a/2") == body + b"a/2"
    assert await whole(objects, "items", "ä ö/+.txt") == body + "ä ö/+.txt".encode()
    assert await whole(objects, "items", "b") == b""
    found = [one async for one in objects.list("items", "a/", start_after="a/1")]
    assert [(one.key, one.size) for one in found] == [("a/2", 4503), ("a/3", 4503)]
    assert all(one.modified_at > 0 for one in found)
    assert [one.key async for one in objects.list("items", "")] == ["a/1", "a/2", "a/3", "b", "ä ö/+.txt"]
    assert [one async for one in objects.list("items", "nothing")] == []


async def test_what_is_not_there_is_said(objects):
    with pytest.raises(ObjectFailed, match=r"key does not exist|No such file"):
        await whole(objects, "items", "nothing")
    for attempt in (whole(objects, "nowhere", "k"), listed(objects, "nowhere")):
        with pytest.raises(ObjectFailed):
            await attempt


async def listed(objects, bucket):
    return [one async for one in objects.list(bucket, "")]


async def test_s3_that_is_away_is_said():
    objects = S3Objects(endpoint="http://127.0.0.1:9", access_key="x", secret_key="y")
    with pytest.raises(ObjectFailed, match="S3 could not be asked"):
        await objects.write("items", "k", b"", content_type="text/plain")
    objects.close()
    objects.close()


async def test_without_its_client_s3_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    objects = S3Objects()
    with pytest.raises(ObjectFailed, match=r"corral\[aws\]"):
        await objects.write("items", "k", b"", content_type="text/plain")
    objects.close()


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("..", "secret"),
        ("items", "../../secret"),
        ("items/../..", "secret"),
        ("", "secret"),
        ("items", "/etc/passwd"),
        ("/etc", "passwd"),
        ("items", "link"),
        ("items", "away/secret"),
        ("items", "a\0b"),
    ],
)
async def test_nothing_outside_of_the_folder_is_reached(tmp_path, bucket, key):
    def prepare():
        (tmp_path / "flows" / "items").mkdir(parents=True)
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "flows" / "items" / "link").symlink_to(tmp_path / "secret")
        (tmp_path / "flows" / "items" / "away").symlink_to(tmp_path)

    await asyncio.to_thread(prepare)
    objects = FileObjects(tmp_path / "flows")
    with pytest.raises(ObjectFailed, match=r"outside of|is no place"):
        await whole(objects, bucket, key)
    with pytest.raises(ObjectFailed, match=r"outside of|is no place"):
        await objects.write(bucket, key, b"x", content_type="text/plain")
    assert [one async for one in objects.list("items", "")] == []
    with pytest.raises(ObjectFailed, match="no versions"):
        async for _ in objects.read("items", "k", version="2"):
            pass
    await objects.write(".", "top", b"1", content_type="text/plain")
    assert await whole(objects, ".", "top") == b"1"


async def test_own_buckets_are_bounded_and_each_tenant_s(own):
    with pytest.raises(PayloadTooLarge):
        await own.put("acme", "items", "k", b"x" * 3_000_001, content_type="a/b")
    with pytest.raises(ObjectFailed, match="may have 3000000 bytes"):
        await own.of("acme").write("items", "k", b"x" * 3_000_001, content_type="a/b")
    await own.put("acme", "items", "k", b"1", content_type="a/b")
    one = await own.get("acme", "items", "k")
    with pytest.raises(ObjectFailed, match="bucket does not exist"):
        await whole(own.of("other"), "items", "k")
    await own.put("acme", "items", "k", b"2", content_type="a/b")
    with pytest.raises(ObjectNotFound):
        assert [piece async for piece in own.body("acme", one)], "it was written anew, and is read from the start"
    with pytest.raises(BucketNotEmpty):
        await own.drop("acme", "items")
    await own.delete("acme", "items", "k")
    await own.delete("acme", "items", "k")
    await own.drop("acme", "items")


async def test_settings_say_where_objects_are(own, tmp_path):
    plain = Storage(WorkflowSettings(), own)
    objects, action = plain.of("acme").of("arn:aws:states:::s3:listObjectsV2")
    assert (type(objects).__name__, action) == ("TenantObjects", "listObjectsV2")
    with pytest.raises(ObjectFailed, match="files_folder"):
        plain.of("acme").of("corral:files:getObject")
    with pytest.raises(ObjectFailed, match="Nothing here keeps"):
        plain.of("acme").of("arn:aws:states:::gcs:getObject")
    plain.close()
    for settings in (WorkflowSettings(s3_endpoint="http://127.0.0.1:9"), WorkflowSettings(buckets=False)):
        outside = Storage(settings, own)
        objects, _ = outside.of("acme").of("arn:aws:states:::s3:getObject")
        assert isinstance(objects, S3Objects)
        outside.close()
    files = Storage(WorkflowSettings(files_folder=str(tmp_path)), own)
    assert isinstance(files.of("acme").of("corral:files:putObject")[0], FileObjects)
    files.close()
