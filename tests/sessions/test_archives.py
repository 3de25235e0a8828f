from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from corral.errors import ConfigError, StoreUnavailable
from corral.outbound.sigv4 import AwsKeys
from corral.sessions.archive_files import FileArchive
from corral.sessions.archive_s3 import S3Archive
from corral.sessions.archives import archive_of
from corral.sessions.store import Archive
from corral.settings.tier_sections import TierSettings
from listening import Listening, answering, read_request

KEYS = {"access_key": "test", "secret_key": "test"}


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def keys() -> AwsKeys:
    return AwsKeys("test", "test")


async def bucket(s3: str) -> None:
    await S3Archive("s3://cold", keys, region="us-east-1", endpoint=s3)._once("PUT", f"{s3}/cold", b"")


@pytest.fixture(params=["files", "s3"])
async def archive(request, tmp_path, s3):
    if request.param == "files":
        made: Archive = FileArchive(tmp_path / "archive")
    else:
        await bucket(s3)
        made = S3Archive("s3://cold/some/prefix", keys, region="us-east-1", endpoint=s3)
    yield made
    await made.stop()
    await made.stop()


async def test_an_object_is_written_read_replaced_and_deleted(archive):
    assert await archive.get("ab/cd/one.json.gz") is None
    await archive.put("ab/cd/one.json.gz", b"\0\xffbody")
    assert await archive.get("ab/cd/one.json.gz") == b"\0\xffbody"
    await archive.put("ab/cd/one.json.gz", b"")
    assert await archive.get("ab/cd/one.json.gz") == b""
    await archive.delete("ab/cd/one.json.gz")
    await archive.delete("ab/cd/one.json.gz")
    assert await archive.get("ab/cd/one.json.gz") is None


async def test_many_at_once(archive):
    bodies = {f"a/{n}": bytes([n]) * 50_000 for n in range(20)}
    await asyncio.gather(*(archive.put(name, body) for name, body in bodies.items()))
    found = await asyncio.gather(*(archive.get(name) for name in bodies))
    assert found == list(bodies.values())


async def test_a_bucket_that_is_not_there_is_an_error_and_no_missing_object(s3):
    archive = S3Archive("s3://no-such-bucket", keys, region="us-east-1", endpoint=s3)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        await archive.get("one")
    await archive.stop()


async def test_a_server_that_is_not_there_says_which_setting(monkeypatch):
    monkeypatch.setattr("corral.sessions.archive_s3._PAUSE_S", 0.0)
    archive = S3Archive("s3://cold", keys, region="us-east-1", endpoint="http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match=r"sessions\.tiers\.archive"):
        await archive.put("one", b"body")


async def test_a_folder_that_cannot_be_written_says_which_setting(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable, match=r"sessions\.tiers\.archive"):
        await FileArchive(tmp_path / "file").put("a/b", b"body")


async def test_a_write_that_fails_at_the_last_step_leaves_nothing_behind(tmp_path):
    archive = FileArchive(tmp_path)
    await archive.put("a/b", b"body")
    with pytest.raises(StoreUnavailable):
        await archive.put("a", b"body")  # that is a folder
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b"]


async def test_a_server_that_is_busy_is_asked_again(monkeypatch):
    monkeypatch.setattr("corral.sessions.archive_s3._PAUSE_S", 0.0)

    async def busy_once(reader, writer):
        await read_request(reader)
        status = b"503 Slow Down" if server.connections == 1 else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody")
        await writer.drain()

    async with Listening(busy_once) as server:
        archive = S3Archive("s3://cold", keys, region="us-east-1", endpoint=f"http://127.0.0.1:{server.port}")
        assert await archive.get("one") == b"body"
        assert server.connections == 2
        await archive.stop()


async def test_an_object_larger_than_any_of_ours_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr("corral.sessions.archive_s3._PAUSE_S", 0.0)
    monkeypatch.setattr("corral.sessions.archive_s3._OBJECT_MAX", 3)
    async with Listening(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbody")) as server:
        archive = S3Archive("s3://cold", keys, region="us-east-1", endpoint=f"http://127.0.0.1:{server.port}")
        with pytest.raises(StoreUnavailable, match="more than 3 bytes is not ours"):
            await archive.get("one")
        await archive.stop()


@pytest.mark.parametrize("usual", [True, False])
async def test_the_archive_that_the_settings_name_is_asked_with_the_keys_they_name(s3, usual):
    await bucket(s3)
    asked = 0

    async def usual_keys() -> AwsKeys:
        nonlocal asked
        asked += 1
        return await keys()

    settings = TierSettings(archive="s3://cold/kept", endpoint=s3, **({} if usual else KEYS))
    archive = archive_of(settings, "postgresql://host/db", usual_keys=usual_keys, env={})
    await archive.put("one", b"body")
    assert await archive.get("one") == b"body"
    assert asked == (2 if usual else 0)
    await archive.stop()


def test_which_archive_the_settings_name(tmp_path):
    def url(store: str = "postgresql://host/db", env: dict[str, str] | None = None, **settings: str) -> str | None:
        found = archive_of(TierSettings(**settings), store, env=env or {})
        return None if found is None else found.url

    assert url() is None
    assert url(f"sqlite:///{tmp_path}/corral.db") == (tmp_path / "archive").as_uri()
    assert url(f"sqlite:///{tmp_path}/corral.db", archive="none") is None
    assert url(archive=str(tmp_path)) == Path(tmp_path).as_uri()
    assert url(archive=f"file://{tmp_path}") == Path(tmp_path).as_uri()
    assert url(archive="s3://cold/x", **KEYS) == "s3://cold/x"
    assert url(archive="s3://cold", env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}) == "s3://cold"
    for wrong in (
        {"archive": "ftp://cold"},
        {"archive": ""},
        {"archive": "s3://"},
        {"archive": "s3://Cold Things", **KEYS},
        {"archive": "s3://cold"},
        {"archive": "s3://cold", "access_key": "half"},
        {"archive": "s3://cold", "endpoint": "cold.example", **KEYS},
    ):
        with pytest.raises(ConfigError, match=r"sessions\.tiers"):
            url(**wrong)
