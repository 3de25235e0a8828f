from __future__ import annotations

from command_line import json_answer

LOAD = {"agents": {"limit": 24, "in_flight": 24, "waiting": 7}, "models": {"limit": 32, "in_flight": 1, "waiting": 0}}


def test_status_says_how_loaded_a_server_is(corral, stub):
    health = {"status": "ok", "parts": {}, "in_flight": 31, "functions": [], "load": LOAD}
    done = corral("status", "--url", stub(json_answer(health)).url)
    assert done.status == 0
    assert "agents: 24 of 24 places taken, 7 calls wait" in done.out + done.err
    assert "models: 1 of 32 places taken, 0 calls wait" in done.out + done.err
    shown = corral("status", "--json", "--url", stub(json_answer(health)).url).json
    assert shown["servers"][0]["load"] == LOAD


def test_status_says_nothing_of_it_where_nobody_stands_in_line(corral, stub):
    health = {"status": "ok", "parts": {}, "in_flight": 0, "functions": []}
    done = corral("status", "--url", stub(json_answer(health)).url)
    assert "places" not in done.out + done.err
