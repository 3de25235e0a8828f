"""What `corral budgets`, `costs`, `ps` and `stop` ask and print."""

from __future__ import annotations

import csv
import io
import json

import pytest
from command_line import json_answer

LINE = {
    "budget": "team",
    "who": "support",
    "period": "2026-11",
    "limit_usd": 100.0,
    "limit_tokens": None,
    "spent_usd": 81.25,
    "spent_tokens": 51_200,
    "reserved_usd": 0.5,
    "reserved_tokens": 0,
    "left_usd": 18.25,
    "left_tokens": None,
    "used": 0.8125,
    "steps": ["warn"],
    "resets_at": 1_796_083_200.0,
    "changed": False,
}
COST = {
    "key": "=cmd()",
    "cost_usd": 1.5,
    "calls": 3,
    "cached": 1,
    "unpriced": 0,
    "input_tokens": 1_000,
    "output_tokens": 20,
}
RUNS = {
    "kind": "invocation",
    "id": "r-1",
    "tenant": "acme",
    "agent": "research",
    "user": "ann",
    "session": "",
    "since": 1.0,
    "age_s": 3_482.0,
    "cost_usd": 72.67,
}


def line_of(request: bytes) -> str:
    return request.partition(b" HTTP/1.1")[0].decode()


def body_of(request: bytes):
    return json.loads(request.partition(b"\r\n\r\n")[2])


def test_how_budgets_stand(corral, stub):
    server = stub(json_answer({"items": [LINE, {**LINE, "who": "", "period": "", "resets_at": None}]}))
    done = corral("budgets", "list", "team", "--url", server.url)
    assert line_of(server.requests[0]) == "GET /v1/budgets?limit=100&budget=team"
    _, row, other = done.out.splitlines()
    for word in ("team", "support", "2026-11", "81%", "$81.25", "$0.50", "$100.00", "51,200", "warn"):
        assert word in row
    assert "ever" in other
    assert corral("budgets", "list", "--json", "--url", stub(json_answer({"items": []})).url).json == {"items": []}
    assert "corral.yaml" in corral("budgets", "list", "--url", stub(json_answer({"items": []})).url).err


def test_changing_how_much_may_be_spent(corral, stub):
    server = stub(json_answer(LINE))
    done = corral("budgets", "set", "team", "--who", "support", "--usd", "100", "--url", server.url)
    assert (line_of(server.requests[0]), body_of(server.requests[0])) == (
        "PUT /v1/budgets/team",
        {"who": "support", "usd": 100},
    )
    assert done.out.strip() == "team of support: $81.25 of $100.00 spent."
    server = stub(json_answer(LINE))
    corral("budgets", "set", "team", "--default", "--url", server.url)
    assert line_of(server.requests[0]) == "DELETE /v1/budgets/team?who="
    server = stub(json_answer({**LINE, "limit_usd": None, "limit_tokens": 60_000, "who": ""}))
    done = corral("budgets", "reset", "team", "--url", server.url)
    assert line_of(server.requests[0]) == "POST /v1/budgets/team/reset"
    assert done.out.strip() == "team: 51,200 tokens of 60,000 tokens spent."
    assert corral("budgets", "reset", "team", "--json", "--url", stub(json_answer(LINE)).url).json == LINE


@pytest.mark.parametrize("flags", [[], ["--usd", "1", "--default"]])
def test_how_much_has_to_be_said(corral, flags):
    done = corral("budgets", "set", "team", *flags)
    assert done.status != 0
    assert "--usd" in done.err


def test_what_it_cost(corral, stub):
    found = {"by": "tag", "since": "7d", "items": [COST]}
    server = stub(json_answer(found))
    done = corral("costs", "--by", "team", "--since", "7d", "--url", server.url)
    assert line_of(server.requests[0]) == "GET /v1/costs?since=7d&limit=100&tag=team"
    assert "$1.5000" in done.out
    assert "100%" in done.out
    server = stub(json_answer(found))
    rows = list(csv.reader(io.StringIO(corral("costs", "--by", "agent", "--csv", "--url", server.url).out)))
    assert line_of(server.requests[0]) == "GET /v1/costs?since=30d&limit=100&by=agent"
    assert rows[0][:2] == ["agent", "cost_usd"]
    assert rows[1] == ["'=cmd()", "1.5", "3", "1", "0", "1000", "20"]  # no formula for a spreadsheet
    assert corral("costs", "--json", "--url", stub(json_answer(found)).url).json == found
    assert "No model" in corral("costs", "--url", stub(json_answer({"items": []})).url).err


def test_what_runs_and_an_end_to_it(corral, stub):
    found = {"items": [RUNS, {**RUNS, "age_s": 190.0, "cost_usd": None}, {**RUNS, "age_s": 7_500.0}], "more": True}
    server = stub(json_answer(found))
    done = corral("ps", "--agent", "research", "--older", "60", "--url", server.url)
    assert line_of(server.requests[0]) == "GET /v1/running?agent=research&older_s=60.0"
    for word in ("invocation", "r-1", "ann", "58m02s", "3m10s", "2h05m", "$72.6700"):
        assert word in done.out
    assert "more" in done.err
    server = stub(json_answer({"items": [RUNS], "more": False}))
    done = corral("stop", "--agent", "research", "--user", "ann", "--url", server.url)
    assert line_of(server.requests[0]) == "POST /v1/running/stop"
    assert body_of(server.requests[0]) == {"agent": "research", "user": "ann"}
    assert "1 stopped." in done.out
    server = stub(json_answer({"items": [], "more": False}))
    done = corral("stop", "--all", "--tenant", "acme", "--yes", "--url", server.url)
    assert body_of(server.requests[0]) == {"tenant": "acme", "all": True}
    assert "Nothing" in done.err
    assert corral("ps", "--json", "--url", stub(json_answer(found)).url).json == found


@pytest.mark.parametrize("flags", [[], ["--tenant", "acme"], ["--all"]])
def test_nothing_is_stopped_by_accident(corral, flags):
    assert corral("stop", *flags, "--url", "http://127.0.0.1:1").status != 0


def test_budgets_are_validated(corral, here):
    (here / "agents.py").write_text("from corral import App\n\napp = App()\n\n\n@app.entrypoint\ndef f(payload): ...\n")
    (here / "corral.yaml").write_text("budgets:\n  team: {usd: 5, by: [users]}\n")
    done = corral("validate")
    assert done.status != 0
    assert "users" in done.out + done.err
    (here / "corral.yaml").write_text("budgets:\n  team: {usd: 5, webhook: 'https://example.com/'}\n")
    assert "jobs.callback_secret" in corral("validate").out
    (here / "corral.yaml").write_text("budgets:\n  team: {usd: 5, by: [user]}\n")
    assert corral("validate").status == 0
