"""What `corral limits` asks and prints."""

from __future__ import annotations

import json

from command_line import json_answer

LIMIT = {
    "name": "free_tier.tokens_per_day",
    "unit": "tokens",
    "limit": 50_000,
    "window_s": 86_400,
    "by": ["user"],
    "remaining": 1_234.5,
    "reset_s": 7_300.2,
}
FOUND = {"items": [LIMIT]}


def line_of(request: bytes) -> str:
    return request.partition(b" HTTP/1.1")[0].decode()


def body_of(request: bytes):
    return json.loads(request.partition(b"\r\n\r\n")[2])


def test_ones_own_limits(corral, stub):
    server = stub(json_answer(FOUND))
    done = corral("limits", "show", "--url", server.url)
    assert done.status == 0
    assert line_of(server.requests[0]) == "GET /v1/limits"
    head, row = done.out.splitlines()
    assert head.split("  ")[0] == "LIMIT"
    for word in ("free_tier.tokens_per_day", "50000 tokens", "1d", "1234", "3h", "user"):
        assert word in row
    assert corral("limits", "show", "--json", "--url", stub(json_answer(FOUND)).url).json == FOUND


def test_those_of_somebody_else(corral, stub):
    server = stub(json_answer({"items": []}))
    done = corral("limits", "show", "--user", "ada", "--tier", "free", "--url", server.url)
    assert line_of(server.requests[0]) == "GET /v1/limits/of?user=ada&tier=free"
    assert "limits.rates" in done.err


def test_beginning_anew(corral, stub):
    server = stub(json_answer({"reset": ["free_tier.tokens_per_day"]}))
    done = corral("limits", "reset", "--user", "ada", "--yes", "--url", server.url)
    assert done.status == 0
    assert line_of(server.requests[0]) == "POST /v1/limits/reset"
    assert body_of(server.requests[0]) == {"user": "ada"}
    assert "free_tier.tokens_per_day" in done.out
    nobody = corral("limits", "reset", "--user", "ada", "--yes", "--url", stub(json_answer({"reset": []})).url)
    assert "--tier" in nobody.err
    assert corral("limits", "reset", "--yes", "--url", server.url).status != 0
