"""What `corral audit` asks and prints."""

from __future__ import annotations

import asyncio
import sqlite3

import msgspec
import pytest
from command_line import json_answer

from corral.backends.open import open_stores
from corral.messages import AuditEntry
from corral.security.exporting import export as exported
from corral.security.keeping import Keeper
from corral.security.signing import AuditKeys, read_key
from corral.security.verifying import shown_checkpoint
from corral.settings.audit_sections import AuditChainSettings

ENTRY = {
    "number": 7,
    "id": "e-7",
    "at": 1_728_043_200.0,
    "action": "tool.call",
    "subject": "refund",
    "decision": "denied",
    "rule": "small refunds",
    "reason": "too much",
    "actor": "ada",
    "agent": "support",
    "session_id": "",
    "run_id": "r-1",
    "details": {},
}
FOUND = {"items": [ENTRY], "next_cursor": None}


def line_of(request: bytes) -> str:
    return request.partition(b" HTTP/1.1")[0].decode()


def test_entries_are_listed(corral, stub):
    done = corral("audit", "list", "--url", stub(json_answer(FOUND)).url)
    assert done.status == 0
    head, row = done.out.splitlines()
    assert head.split() == ["NUMBER", "AT", "ACTION", "SUBJECT", "DECISION", "RULE", "ACTOR", "AGENT", "REASON"]
    for word in ("7", "tool.call", "refund", "denied", "small refunds", "ada", "support", "too much"):
        assert word in row
    assert corral("audit", "list", "--json", "--url", stub(json_answer(FOUND)).url).json == FOUND


def test_nothing_yet_says_what_would_be_here(corral, stub):
    done = corral("audit", "list", "--url", stub(json_answer({"items": [], "next_cursor": None})).url)
    assert (done.status, done.out) == (0, "")
    assert "tools" in done.err


def test_flags_are_filters(corral, stub):
    server = stub(json_answer(FOUND))
    flags = ["--decision", "denied", "--tool", "refund", "--run", "r 1", "--since", "1000", "-n", "5"]
    assert corral("audit", "list", *flags, "--url", server.url).status == 0
    (request,) = server.requests
    assert line_of(request) == "GET /v1/audit?decision=denied&subject=refund&run_id=r+1&since=1000.0&limit=5"


# -- that it is what was written ---------------------------------------------------------------------------------------

KEY = "ed25519:" + "05" * 32
PUBLIC = read_key(KEY).public


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with a store in it, its export, and the checkpoints that were kept elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corral.yaml").write_text(
        f"security: {{audit_chain: {{key: '{KEY}'}}}}\nstore: {{url: 'sqlite:///a.db'}}\n"
    )

    async def fill():
        stores = open_stores("sqlite:///a.db")
        await stores.start()
        fields = {"at": 1000.0, "tenant": "default", "action": "tool.call", "subject": "refund", "decision": "denied"}
        await stores.audit.append([AuditEntry(id=f"e-{number}", **fields) for number in range(4)])
        keeper = Keeper(stores.audit, AuditKeys(key=KEY), AuditChainSettings(), keep_s=1e9)
        content = b"".join([piece async for piece in exported(stores.audit, keeper, "default")])
        checkpoints = await stores.audit.checkpoints("default")
        await stores.stop()
        return content, checkpoints

    content, checkpoints = asyncio.run(fill())
    (tmp_path / "audit.jsonl").write_bytes(content)
    (tmp_path / "outside.jsonl").write_bytes(
        b"".join(msgspec.json.encode(shown_checkpoint(one)) + b"\n" for one in checkpoints)
    )
    return tmp_path


def test_an_export_is_checked_without_any_server(corral, kept):
    done = corral("audit", "verify", "audit.jsonl")
    assert (done.status, done.err) == (0, "")
    assert "4 entries up to number 4 are what was written; 1 checkpoint agrees" in done.out
    assert corral("audit", "verify", "audit.jsonl", "--json").json["ok"] is True
    (kept / "corral.yaml").unlink()
    done = corral("audit", "verify", "audit.jsonl")
    assert done.status == 1
    assert "not believed here" in done.err
    assert corral("audit", "verify", "audit.jsonl", "--key", PUBLIC, "--checkpoints", "outside.jsonl").status == 0


def test_one_that_was_changed_ends_with_status_1_and_the_entry(corral, kept):
    file = kept / "audit.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"id":"e-2"', b'"id":"e-9"'))
    done = corral("audit", "verify", "audit.jsonl")
    assert done.status == 1
    assert "is broken at entry 3" in done.err
    assert "Next:" in done.err
    done = corral("audit", "verify", "audit.jsonl", "--json")
    assert (done.status, done.json["number"], done.error["code"]) == (1, 3, "audit_broken")


def test_a_store_is_checked_where_it_lies(corral, kept):
    store = ("--store", "sqlite:///a.db")
    assert corral("audit", "verify", *store, "--checkpoints", "outside.jsonl").status == 0
    connection = sqlite3.connect("a.db")
    for table in ("audit", "audit_heads", "audit_checkpoints"):
        connection.execute(f"DELETE FROM {table}")
    connection.commit()
    connection.close()
    assert corral("audit", "verify", *store).status == 0  # nothing there says that there was anything
    done = corral("audit", "verify", *store, "--checkpoints", "outside.jsonl")
    assert done.status == 1
    assert "is broken at entry 1" in done.err


def test_what_cannot_be_read_says_so(corral, kept):
    assert "cannot be read" in corral("audit", "verify", "nowhere.jsonl").err
    assert "cannot be read" in corral("audit", "verify", "audit.jsonl", "--checkpoints", "nowhere.jsonl").err
    assert "does not begin as" in corral("audit", "verify", "corral.yaml").err
    assert "no checkpoint" in corral("audit", "verify", "audit.jsonl", "--checkpoints", "audit.jsonl").err
    assert "does not hold checkpoints" in corral("audit", "verify", "audit.jsonl", "--checkpoints", "corral.yaml").err
    assert "its own keys" in corral("audit", "verify", "--key", PUBLIC).err


def test_a_server_checks_its_own(corral, stub):
    verdict = {"tenant": "acme", "ok": True, "entries": 3, "last": 9, "swept": 6, "unsealed": 0, "checkpoints": 0}
    good = {**verdict, "number": None, "fault": "", "untrusted": []}
    server = stub(json_answer(good))
    done = corral("audit", "verify", "--newest", "3", "--url", server.url)
    assert done.status == 0
    assert "nothing was signed yet. Entries up to 6 were swept" in done.out
    assert line_of(server.requests[0]) == "GET /v1/audit/verify?newest=3"
    bad = {**good, "ok": False, "number": 8, "fault": "it is missing"}
    assert "broken at entry 8: it is missing" in corral("audit", "verify", "--url", stub(json_answer(bad)).url).err


def test_an_export_is_written_once(corral, kept, stub):
    content = (kept / "audit.jsonl").read_bytes()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n" + content
    assert corral("audit", "export", "--out", "mine.jsonl", "--url", stub(answer).url).status == 0
    assert (kept / "mine.jsonl").read_bytes() == content
    assert corral("audit", "verify", "mine.jsonl").status == 0
    assert "cannot be written" in corral("audit", "export", "--out", "no/where.jsonl", "--url", stub(answer).url).err
    assert "already" in corral("audit", "export", "--out", "mine.jsonl", "--url", stub(answer).url).err
    assert corral("audit", "export", "--out", "2.jsonl", "--json", "--url", stub(answer).url).json["lines"] == 6
    assert corral("audit", "export", "--url", stub(answer).url).out.encode() == content


def test_checkpoints_are_printed_to_be_kept_elsewhere(corral, kept, stub):
    lines = (kept / "outside.jsonl").read_bytes()
    items = [msgspec.json.decode(line) for line in lines.splitlines()]
    pages = [{"items": items, "next_after": 4, "keys": []}, {"items": [], "next_after": None, "keys": []}]
    server = stub(*map(json_answer, pages))
    assert corral("audit", "checkpoints", "--url", server.url).out.encode() == lines
    assert line_of(server.requests[1]) == "GET /v1/audit/checkpoints?after=4&limit=1000"
    assert corral("audit", "checkpoints", "--json", "--url", stub(json_answer(pages[1])).url).json == {"items": []}


def test_keys_are_shown_made_and_changed(corral, kept):
    assert corral("audit", "key").out.strip() == PUBLIC
    assert corral("audit", "key", "--json").json["items"][0]["public"] == PUBLIC
    assert read_key(corral("audit", "key", "--new").out.strip()).sign is not None
    assert "audit_chain.key" in corral("audit", "key", "--rotate").err
    (kept / "corral.yaml").write_text("store: {url: 'sqlite:///deep/a.db'}\n")
    assert "No key yet" in corral("audit", "key").err
    assert corral("audit", "key", "--rotate").status == 0
    assert len(corral("audit", "key", "--rotate").out.splitlines()) == 2
    assert (kept / "deep/audit.key").is_file()
