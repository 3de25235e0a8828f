"""What `corral audit` asks and prints."""

from __future__ import annotations

from command_line import json_answer

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
