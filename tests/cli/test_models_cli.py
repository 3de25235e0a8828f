"""`corral models prices` and `corral models cost`."""

from __future__ import annotations

import json

import pytest
from command_line import json_answer

from corral.cli.failure import Exit
from corral.models.prices import read_prices

TABLE = {
    "version": "2026-12-01",
    "models": [
        {"id": "gpt-x", "host": "openai", "input": 1.0, "output": 2.0, "batch": 0.5},
        {"id": "local/tiny", "input": 0.0, "output": 0.0},
    ],
}


def test_prices_are_listed(corral):
    done = corral("models", "prices", "gpt-4o-mini")
    assert done.status == 0
    assert done.out.splitlines()[0].split()[:2] == ["MODEL", "HOST"]
    assert all("gpt-4o-mini" in line for line in done.out.splitlines()[1:])
    told = corral("models", "prices", "--json").json
    assert len(told["items"]) > 200
    assert told["version"]


@pytest.mark.parametrize("source", ["file", "address"])
def test_a_newer_table_is_kept(corral, here, stub, source):
    (here / "new.json").write_text(json.dumps(TABLE))
    place = "new.json" if source == "file" else f"{stub(json_answer(TABLE)).url}/prices.json"
    done = corral("models", "prices", "--update", place)
    assert done.status == 0, done.err
    assert "2 prices of 2026-12-01" in done.out
    assert "models.prices: .corral/prices.json" in done.err
    assert read_prices(here / ".corral" / "prices.json").models[0].id == "gpt-x"
    (here / "corral.yaml").write_text("models: {prices: .corral/prices.json}\n")
    assert corral("models", "prices", "gpt-x", "--json").json["items"][0]["output"] == 2.0
    assert corral("models", "prices", "--update", "new.json", "--json").json["changed"] == []


@pytest.mark.parametrize("answer", [{"no": "table"}, {**TABLE, "models": [{"id": "x"}]}])
def test_what_is_no_table_changes_nothing(corral, here, stub, answer):
    done = corral("models", "prices", "--update", stub(json_answer(answer)).url)
    assert done.status != 0
    assert "cannot be used" in done.err
    assert not (here / ".corral" / "prices.json").exists()


def test_an_address_where_nobody_is(corral):
    done = corral("models", "prices", "--update", "http://127.0.0.1:1/prices.json")
    assert done.status == Exit.FAILED
    assert "could not be fetched" in done.err


def test_cost_of_nothing_and_of_something(corral):
    assert corral("models", "cost", "--json").json["items"] == []
    assert corral("models", "call", "Hi", "-m", "sim/small", "--json").status == 0
    (item,) = corral("models", "cost", "--json").json["items"]
    assert (item["key"], item["calls"]) == ("sim/small", 1)
    assert corral("models", "cost", "--since", "soon").status == Exit.INVALID
