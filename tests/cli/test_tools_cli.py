"""What `corral tools` asks and prints."""

from __future__ import annotations

import json

import pytest
from command_line import json_answer

TOOL = {
    "name": "look",
    "description": "Look a ticket up.\n\nAny of them.",
    "parameters": {
        "type": "object",
        "properties": {
            "ticket_id": {"type": "string", "description": "as printed"},
            "n": {"type": "integer", "default": 3},
            "kind": {"enum": ["a", "b"]},
            "to": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None},
            "tags": {"type": "array", "items": {"type": "string"}},
            "any": {},
            "either": {"type": ["string", "null"]},
        },
        "required": ["ticket_id"],
    },
    "returns": None,
    "agents": ["support"],
    "source": "code",
    "read_only": True,
    "idempotent": False,
}
REPLY = {
    "name": "look",
    "content": [{"type": "text", "text": "here"}, {"type": "image", "url": "u"}],
    "value": "here",
    "fault": None,
    "cached": "",
}


def request_of(server):
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0].rpartition(" ")[0], head.decode().lower(), body


def test_tools_are_listed(corral, stub):
    done = corral("tools", "list", "--url", stub(json_answer({"items": [TOOL]})).url)
    head, row = done.out.splitlines()
    assert head.split()[:4] == ["NAME", "AGENTS", "SOURCE", "MARKS"]
    assert row.split() == ["look", "support", "code", "read-only", "Look", "a", "ticket", "up."]
    server = stub(json_answer({"items": [TOOL]}))
    assert corral("tools", "list", "--json", "--agent", "a b", "--url", server.url).json == {"items": [TOOL]}
    assert request_of(server)[0] == "GET /v1/tools?agent=a+b"
    done = corral("tools", "list", "--url", stub(json_answer({"items": []})).url)
    assert (done.status, done.out) == (0, "")
    assert "@app.tool" in done.err


def test_one_is_shown(corral, stub):
    done = corral("tools", "show", "look", "--url", stub(json_answer(TOOL)).url)
    text = done.out
    assert text.startswith("look  (code, read-only)\n\nLook a ticket up.\n\nAny of them.\n\nAgents: support\n")
    for row in (
        ["ticket_id", "string", "yes", "as", "printed"],
        ["n", "integer", "no", "(3)"],
        ["kind", '"a"', "|", '"b"', "no"],
        ["to", "Address", "|", "null", "no", "(null)"],
        ["tags", "list", "of", "string", "no"],
        ["any", "any", "no"],
        ["either", "string", "|", "null", "no"],
    ):
        assert row in [line.split() for line in text.splitlines()]
    assert corral("tools", "show", "look", "--json", "--url", stub(json_answer(TOOL)).url).json == TOOL
    bare = {**TOOL, "description": "", "agents": [], "parameters": {}}
    assert corral("tools", "show", "look", "--url", stub(json_answer(bare)).url).out == "look  (code, read-only)\n"


def test_one_is_called(corral, stub):
    server = stub(json_answer(REPLY))
    flags = ["--arg", "ticket_id=T=1", "--arg", "n:=5", "--json-input", '{"tags": ["x"], "n": 1}', "--user", "ada"]
    done = corral("tools", "call", "look", *flags, "--idempotency-key", "k", "--timeout", "3", "--url", server.url)
    assert done.out == 'here\n{"type":"image","url":"u"}\n'
    line, head, body = request_of(server)
    assert line == "POST /v1/tools/look/call"
    assert json.loads(body) == {"input": {"ticket_id": "T=1", "n": 5, "tags": ["x"]}}
    for header in ("idempotency-key: k", "x-user-id: ada", "x-timeout-s: 3"):
        assert header in head
    assert corral("tools", "call", "look", "--json", "--url", stub(json_answer(REPLY)).url).json == REPLY
    kept = corral("tools", "call", "look", "--url", stub(json_answer({**REPLY, "cached": "kept"})).url)
    assert "kept" in kept.err


@pytest.mark.parametrize(
    ("code", "retryable", "hint"),
    [
        ("denied", False, "audit list"),
        ("approval_required", False, "approvals"),
        ("timeout", True, "again"),
        ("failed", False, ""),
    ],
)
def test_a_fault_is_a_failure(corral, stub, code, retryable, hint):
    reply = {**REPLY, "fault": {"code": code, "message": "It did not work.", "retryable": retryable}}
    done = corral("tools", "call", "look", "--url", stub(json_answer(reply)).url)
    assert done.status == 1
    assert "It did not work." in done.err
    assert hint in done.err
    done = corral("tools", "call", "look", "--json", "--url", stub(json_answer(reply)).url)
    assert (done.status, done.json, done.error["code"]) == (1, reply, code)


@pytest.mark.parametrize("flags", [["--arg", "n"], ["--arg", "=3"], ["--arg", "n:=no"], ["--json-input", "[]"]])
def test_what_is_no_argument_is_said(corral, flags):
    done = corral("tools", "call", "look", *flags, "--url", "http://127.0.0.1:1")
    assert done.status == 2
