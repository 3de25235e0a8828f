from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from pathlib import Path

import pytest
from command_line import json_answer

from corral.backends.open import open_stores
from corral.cli.failure import Exit
from corral.sessions.event import Draft, SessionKey
from corral.settings.sections import SessionSettings, Settings
from corral.settings.tier_sections import TierSettings
from corral.wiring.tiering import tiered_stores


def said(role, text, actor=""):
    return Draft(role=role, content=[{"type": "text", "text": text}], actor=actor)


@pytest.fixture
def filled(project):
    """A store as a server that was stopped has left it."""

    async def fill() -> None:
        stores = open_stores("sqlite:///.corral/corral.db")
        await stores.start()
        try:
            for session, actor in (("one", "ada"), ("two", "grace")):
                key = SessionKey("default", session)
                await stores.sessions.append(key, [said("user", f"Hello {session}", actor), said("assistant", "Hi")])
            drafts = [Draft(role="tool", content=[{"type": "json", "json": {"n": 1}}, {"type": "image", "url": "x"}])]
            await stores.sessions.append(SessionKey("default", "one"), drafts)
            await stores.sessions.write_state(SessionKey("default", "one"), {"k": "v"})
            await stores.sessions.append(SessionKey("acme", "theirs"), [said("user", "Hello")])
        finally:
            await stores.stop()

    asyncio.run(fill())
    return project


def test_list_without_a_server(filled, corral):
    done = corral("sessions", "list")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["SESSION", "USER", "EVENTS", "LAST", "ACTIVE", "BEGUN"]
    assert [line.split()[:3] for line in lines[1:]] == [["one", "ada", "3"], ["two", "grace", "2"]]
    assert done.err == "from sqlite:///.corral/corral.db\n"


def test_list_as_json_with_pages_and_filters(filled, corral):
    page = corral("sessions", "list", "--limit", "1", "--json").json
    assert page["source"] == "sqlite:///.corral/corral.db"
    assert [item["session_id"] for item in page["items"]] == ["one"]
    rest = corral("sessions", "list", "--cursor", page["next_cursor"], "--json").json
    assert [item["session_id"] for item in rest["items"]] == ["two"]
    assert rest["next_cursor"] is None
    assert "--cursor" in corral("sessions", "list", "--limit", "1").err
    found = corral("sessions", "list", "--user", "grace", "--json").json
    assert [item["session_id"] for item in found["items"]] == ["two"]
    theirs = corral("sessions", "list", "--tenant", "acme", "--json").json
    assert [item["session_id"] for item in theirs["items"]] == ["theirs"]


def test_show(filled, corral):
    done = corral("sessions", "show", "one")
    assert done.status == 0
    words = done.out
    assert words.index("Hello one") < words.index("\nHi\n") < words.index('{"n":1}')
    assert '{"type":"image","url":"x"}' in words
    assert 'state  version 1\n{"k":"v"}' in words
    content = corral("sessions", "show", "one", "--json").json
    assert [event["seq"] for event in content["items"]] == [1, 2, 3]
    assert (content["session_id"], content["state"]) == ("one", {"value": {"k": "v"}, "version": 1})
    short = corral("sessions", "show", "one", "--limit", "1")
    assert "Hello one" not in short.out
    assert "--cursor" in short.err
    assert corral("sessions", "show", "one", "--branch", "other", "--json").json["items"] == []


def test_fork_and_delete(filled, corral):
    events = corral("sessions", "show", "one", "--json").json["items"]
    assert corral("sessions", "fork", "one", "copy", "--at", events[1]["id"], "--json").json["events"] == 2
    assert "has 3 events" in corral("sessions", "fork", "one", "whole").out
    assert corral("sessions", "fork", "one", "copy").status == Exit.FAILED
    assert corral("sessions", "fork", "none", "new").status == Exit.NOT_FOUND
    assert corral("sessions", "fork", "one", "").status == Exit.FAILED
    assert corral("sessions", "delete", "copy", "whole", "--yes").out == "Deleted 2 sessions.\n"
    done = corral("sessions", "show", "copy")
    assert (done.status, done.out) == (Exit.NOT_FOUND, "")
    assert corral("sessions", "delete", "--user", "ada", "--yes", "--json").json["deleted_sessions"] == 1
    assert corral("sessions", "show", "one").status == Exit.NOT_FOUND
    assert corral("sessions", "show", "two").status == 0


def test_a_typing_error_deletes_nothing(filled, corral):
    done = corral("sessions", "delete", "one", "tow", "--yes", "--json")
    assert (done.status, done.error["code"]) == (Exit.NOT_FOUND, "session_not_found")
    assert corral("sessions", "show", "one").status == 0


def test_deleting_is_confirmed(filled, corral, monkeypatch):
    done = corral("sessions", "delete", "one")
    assert done.status == Exit.USAGE
    assert "--yes" in done.err
    done = corral("sessions", "delete", "one", "--json")  # another form of output is no consent
    assert (done.status, done.error["code"]) == (Exit.USAGE, "not_confirmed")
    for answer, status in (("n\n", Exit.FAILED), ("", Exit.INTERRUPTED), ("y\n", Exit.OK)):
        stdin = io.StringIO(answer)
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", stdin)
        done = corral("sessions", "delete", "one")
        assert done.status == status
        assert "cannot be undone" in done.err
    assert corral("sessions", "show", "one").status == Exit.NOT_FOUND


@pytest.mark.parametrize("arguments", [(), ("one", "--user", "ada")])
def test_what_to_delete_is_said_once(filled, corral, arguments):
    assert corral("sessions", "delete", *arguments).status == Exit.USAGE


def test_no_store_and_no_server(here, corral, monkeypatch):
    monkeypatch.setattr("corral.cli.session_source.DEFAULT_URL", "http://127.0.0.1:1")
    done = corral("sessions", "list")
    assert (done.status, done.out) == (Exit.NOT_FOUND, "")
    assert "--store" in done.err
    assert list(here.iterdir()) == []  # looking makes nothing


def test_a_server_that_was_killed_does_not_stand_in_the_way(filled, corral):
    """Its file is still there, and its process id is now somebody else's."""
    run = Path(".corral/run")
    run.mkdir(parents=True)
    server = {"pid": os.getpid(), "host": "127.0.0.1", "port": 1, "target": "agents.py", "state": "serving"}
    more = {"workers": [1], "started_at": 0.0, "version": "0", "directory": "/"}
    (run / "1.json").write_text(json.dumps(server | more))
    assert corral("sessions", "list", "--json").json["source"] == "sqlite:///.corral/corral.db"


def test_an_empty_store(project, corral):
    corral("db", "migrate")
    done = corral("sessions", "list")
    assert (done.status, done.out) == (0, "")
    assert "corral invoke --session" in done.err


def test_a_server_at_the_usual_address(here, corral, stub, monkeypatch):
    server = stub(json_answer({"status": "ok"}), json_answer({"items": [], "next_cursor": None}))
    monkeypatch.setattr("corral.cli.session_source.DEFAULT_URL", server.url)
    assert corral("sessions", "list", "--json").json == {"source": server.url, "items": [], "next_cursor": None}


def test_a_named_server_and_its_key(filled, corral, stub):
    server = stub(json_answer({"items": [], "next_cursor": None}))
    arguments = ["--user", "a b", "--limit", "5", "--url", server.url, "--api-key", "k", "--json"]
    assert corral("sessions", "list", *arguments).json["source"] == server.url
    assert server.requests[0].startswith(b"GET /v1/sessions?limit=5&actor=a+b HTTP/1.1\r\n")
    assert b"Authorization: Bearer k\r\n" in server.requests[0]


def test_a_named_store(filled, corral, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    page = corral("sessions", "list", "--store", f"sqlite:///{filled}/.corral/corral.db", "--json").json
    assert len(page["items"]) == 2


def test_a_store_that_cannot_be_reached(here, corral):
    done = corral("sessions", "list", "--store", "postgresql://nobody@127.0.0.1:1/none", "--json")
    assert (done.status, done.out) == (Exit.NOT_FOUND, "")
    assert done.error["code"] == "store_unavailable"


def test_through_a_running_server(shared_server, corral, monkeypatch):
    monkeypatch.chdir(shared_server.folder)
    name = "odd id/with %"
    assert corral("invoke", "--session", name, "--user", "ada", "My name is Ada").status == 0
    listed = corral("sessions", "list", "--json").json
    assert listed["source"] == shared_server.url
    assert name in [item["session_id"] for item in listed["items"]]
    shown = corral("sessions", "show", name, "--json").json
    assert [event["role"] for event in shown["items"]] == ["user", "assistant"]
    assert shown["state"]["value"]["name"] == "Ada"
    event = shown["items"][0]["id"]
    assert corral("sessions", "fork", name, "copied", "--at", event, "--json").json["events"] == 1
    assert corral("sessions", "delete", "copied", "--yes").status == 0
    assert corral("sessions", "delete", "--user", "ada", "--yes", "--json").json["deleted_sessions"] == 1
    gone = corral("sessions", "show", name, "--json")
    assert (gone.status, gone.error["code"]) == (Exit.NOT_FOUND, "session_not_found")
    assert json.loads(gone.err)["http_status"] == 404


def test_tiers_say_how_much_is_where(filled, corral):
    lines = corral("sessions", "tiers").out.splitlines()
    assert lines[0].split() == ["TIER", "SESSIONS", "EVENTS", "SIZE"]
    assert lines[1].split()[:3] == ["warm", "2", "5"]
    assert lines[2].split() == ["cold", "0", "0", "0", "B"]
    assert corral("sessions", "tiers", "--json").json["sessions"] == 2


def test_what_lies_in_the_archive_is_read_and_forgotten_without_a_server(filled, corral):
    async def archive() -> int:
        stores = tiered_stores(
            Settings(sessions=SessionSettings(tiers=TierSettings(warm_s=1e-6))),
            open_stores("sqlite:///.corral/corral.db"),
        )
        await stores.start()
        try:
            return await stores.sessions.expire()
        finally:
            await stores.stop()

    assert asyncio.run(archive()) == 3
    assert corral("sessions", "tiers", "--json").json["cold_events"] == 5
    assert "Hello one" in corral("sessions", "show", "one").out
    assert corral("sessions", "tiers", "--json").json["cold_events"] == 2
    assert corral("sessions", "delete", "--user", "grace", "--yes").status == 0
    assert corral("sessions", "tiers", "--json").json["cold_events"] == 0
