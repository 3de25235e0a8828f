"""One list of several that come page by page: whatever the pages are, all of it comes once and in order."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from corral.agents.agent import Agent
from corral.app import App
from corral.errors import CursorNotFound
from corral.messages import ModelReply
from corral.server.approval_pages import Listing, Place, Source, merged, read_places
from corral.testing.contracts.setting import eventually
from corral.tools.tool import tool


def listing_of(items, *, page):
    """A list in pages of at most `page` items, newest first; its cursor is how many were told."""

    async def fetch(place, limit):
        start = int(place.cursor or 0)
        end = min(start + min(limit, page), len(items))
        return Listing(
            [(at, name, {"name": name}) for at, name in items[start:end]], str(end) if end < len(items) else None
        )

    return fetch


_moments = some.lists(some.integers(0, 20), max_size=15)


@given(first=_moments, second=_moments, limit=some.integers(1, 7), page=some.integers(1, 4))
def test_all_of_it_comes_once_and_in_order(first, second, limit, page):
    lists = [
        sorted(((float(at), f"{letter}{n}") for n, at in enumerate(moments)), reverse=True)
        for letter, moments in (("a", first), ("b", second))
    ]

    async def read():
        found, cursor = [], None
        while True:
            places = read_places(cursor, len(lists))
            sources = [Source(listing_of(one, page=page), at) for one, at in zip(lists, places, strict=True)]
            items, cursor = await merged(sources, limit)
            assert len(items) == limit or cursor is None
            found += [item["name"] for item in items]
            if cursor is None:
                return found

    everything = sorted(lists[0] + lists[1], reverse=True)
    assert asyncio.run(read()) == [name for _, name in everything]


async def test_one_that_is_left_out_is_never_asked():
    async def never(place, limit):
        raise AssertionError("It was asked.")

    assert await merged([Source(never, None), Source(listing_of([(1.0, "x")], page=1), Place())], 5) == (
        [{"name": "x"}],
        None,
    )


@pytest.mark.parametrize("cursor", ["!", "e30", "W10", "W1tdXQ"])
def test_a_cursor_that_is_none_is_refused(cursor):
    with pytest.raises(CursorNotFound):
        read_places(cursor, 2)


# -- agents and workflows together ------------------------------------------------------------------------------------------


ASK = {
    "StartAt": "Ask",
    "States": {"Ask": {"Type": "Task", "Resource": "corral:approval", "Parameters": {"message": "Sure?"}, "End": True}},
}


def app_of():
    app = App()

    @tool(approval=True)
    async def refund(amount: int) -> str:
        """Give money back."""
        return f"refunded {amount}"

    async def model(call):
        yield ModelReply(
            content=[{"type": "tool_use", "id": "c-1", "name": "refund", "input": {"amount": 9}}],
            model="scripted",
            stop_reason="tool_use",
            cost_usd=0.0,
        )

    app.add(Agent("support", "Help.", model=model, tools=[refund]))
    return app


async def test_what_agents_and_workflows_ask_is_one_list(serve):
    server = await serve(app_of())
    async with server.client_of() as client:
        await client.post("/v1/workflows", json={"name": "ask", "definition": ASK})
        first = (await client.post("/v1/workflows/ask/executions")).json()["id"]

        async def asked():
            return (await client.get("/v1/approvals", params={"execution_id": first})).json()["items"]

        await eventually(asked)
        run = (await client.post("/v1/agents/support/runs", json={"prompt": "refund"})).json()
        assert run["status"] == "paused", run
        found, cursor = [], None
        while cursor is not None or not found:
            params = {"limit": 1, **({"cursor": cursor} if cursor else {})}
            page = (await client.get("/v1/approvals", params=params)).json()
            found += page["items"]
            cursor = page["next_cursor"]
        assert [one["kind"] for one in found] == ["tool", "workflow"]
        assert (found[0]["run_id"], found[0]["choices"]) == (run["run_id"], ["approve", "refuse"])
        only = {
            kind: (await client.get("/v1/approvals", params={"kind": kind})).json()["items"]
            for kind in ("tool", "workflow")
        }
        assert [only["tool"], only["workflow"]] == [[found[0]], [found[1]]]
        assert (await client.get("/v1/approvals", params={"run_id": run["run_id"]})).json()["items"] == [found[0]]
        assert (await client.get("/v1/approvals", params={"status": "answered"})).json()["items"] == []
        path = f"/v1/approvals/{found[0]['id']}"
        assert (await client.get(path)).json() == found[0]
        assert (await client.post(path, json={"decision": "later"})).status_code == 400
        assert (await client.post(path, json={"decision": "refuse", "form": {}})).status_code == 400
        refused = (await client.post(path, content=json.dumps({"decision": "refuse"}))).json()
        assert (refused["status"], refused["decision"]) == ("refused", "refuse")
        waiting = (await client.get("/v1/approvals", params={"status": "waiting"})).json()["items"]
        assert [one["kind"] for one in waiting] == ["workflow"]
