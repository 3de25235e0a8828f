"""Keys of the audit: how they are written, where they are kept, and whose signatures are believed."""

from __future__ import annotations

import asyncio
import stat
import threading

import msgspec
import pytest
from audit_scene import KEY, OTHER_KEY

from corral.errors import ConfigError, OutboundRefused
from corral.security import signing
from corral.security.anchoring import Anchoring
from corral.security.signing import AuditKeys, add_key, new_key, read_key
from corral.security.store import Checkpoint
from corral.security.verifying import read_checkpoint, shown_checkpoint

POINT = Checkpoint(tenant="acme", number=7, hash=b"\x01" * 32, at=1000.5)
HMAC_KEY = "hmac-sha256:" + "09" * 32


@pytest.mark.parametrize("key", [KEY, HMAC_KEY])
def test_a_signature_is_of_every_word(key):
    keys = AuditKeys(key=key)
    signed = keys.signed(POINT)
    assert keys.check(signed) is True
    for change in (
        {"tenant": "bolt"},
        {"number": 8},
        {"hash": b"\x02" * 32},
        {"at": 1000.0},
        {"kind": "swept"},
        {"signature": b"x"},
        {"signature": signed.signature[:-1] + b"\0"},
        {"algorithm": "none"},
        {"number": "7"},
    ):
        assert keys.check(msgspec.structs.replace(signed, **change)) is False, change
    assert keys.check(msgspec.structs.replace(signed, key_id="another")) is None


def test_the_public_half_checks_and_does_not_sign():
    public = read_key(KEY).public
    signed = AuditKeys(key=KEY).signed(POINT)
    assert AuditKeys(trusted=[public]).check(signed) is True
    assert AuditKeys(key=OTHER_KEY).check(signed) is None
    with pytest.raises(ConfigError, match="public one"):
        AuditKeys(key=public)
    with pytest.raises(ConfigError, match=r"security\.audit_chain\.key"):
        AuditKeys(trusted=[public]).signed(POINT)
    assert read_key(HMAC_KEY).public == ""


@pytest.mark.parametrize("text", ["", "secret", "ed25519:", "ed25519:zz", "rsa:" + "07" * 32, "ed25519:" + "07" * 31])
def test_what_is_no_key_is_refused_with_how_one_looks(text):
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        read_key(text)


def test_a_file_of_keys_is_made_once_and_for_its_owner_alone(tmp_path):
    file = tmp_path / "deep" / "audit.key"
    rings = [AuditKeys(file=file) for _ in range(8)]
    threads = [threading.Thread(target=ring.read, kwargs={"make": True}) for ring in rings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ring.own.key_id for ring in rings}) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["audit.key"]


def test_a_new_key_signs_and_the_old_one_is_still_believed(tmp_path):
    file = tmp_path / "audit.key"
    before = AuditKeys(file=file)
    before.read(make=True)
    signed = before.signed(POINT)
    added = add_key(file)
    after = AuditKeys(file=file)
    after.read()
    assert after.own.key_id == added.key_id != before.own.key_id
    assert after.check(signed) is True
    assert before.check(after.signed(POINT)) is None
    before.read()  # another process has added one
    assert before.check(after.signed(POINT)) is True


def test_a_file_that_holds_no_keys_says_which(tmp_path):
    (tmp_path / "audit.key").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        AuditKeys(file=tmp_path / "audit.key").read()


def test_without_the_package_a_shared_secret_signs(monkeypatch):
    monkeypatch.setattr(signing, "_can_sign_openly", lambda: False)
    assert new_key().startswith("hmac-sha256:")
    with pytest.raises(ConfigError, match="cryptography"):
        read_key(KEY)


def test_a_checkpoint_comes_back_as_it_was_shown():
    signed = AuditKeys(key=KEY).signed(POINT)
    assert read_checkpoint(shown_checkpoint(signed)) == signed
    for wrong in ({}, {**shown_checkpoint(signed), "hash": "zz"}, {**shown_checkpoint(signed), "hash": "AA"}, []):
        with pytest.raises(ConfigError, match="no checkpoint"):
            read_checkpoint(wrong)


async def test_an_anchor_of_a_file_has_one_line_each(tmp_path):
    file = tmp_path / "far" / "anchor.jsonl"
    anchors = [Anchoring(str(file)) for _ in range(2)]
    for anchor in anchors:
        await anchor.start()
        for number in range(3):
            anchor.add(msgspec.structs.replace(POINT, number=number))
        await anchor.drain()
        await anchor.stop()
        await anchor.stop()
    lines = (await asyncio.to_thread(file.read_text)).splitlines()
    assert [read_checkpoint(msgspec.json.decode(line)).number for line in lines] == [0, 1, 2, 0, 1, 2]


async def test_an_anchor_of_an_address_gets_them_and_is_asked_again(caplog):
    bodies, answers = [], [b"503 No", b"200 OK"]
    arrived = asyncio.Event()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 " + answers.pop(0) + b"\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        if not answers:
            arrived.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    anchor = Anchoring(f"http://127.0.0.1:{port}/anchor", allow=["127.0.0.1"], chance=lambda: 0.0)
    anchor.add(POINT)
    await anchor.start()
    async with asyncio.timeout(20):
        await arrived.wait()
    await anchor.stop()
    server.close()
    await server.wait_closed()
    assert bodies[0] == bodies[1]
    assert read_checkpoint(msgspec.json.decode(bodies[1])) == POINT


async def test_an_anchor_that_never_answers_leaves_it_in_the_log(caplog, tmp_path):
    anchor = Anchoring(str(tmp_path))  # a folder is no file
    await anchor.start()
    anchor.add(POINT)
    await anchor.stop()
    assert "A checkpoint of the audit is in the store alone" in caplog.text
    with pytest.raises(OutboundRefused):
        Anchoring("ftp://somewhere/else")
