"""Budgets as people meet them: a call that becomes smaller and is refused, and how much may be spent."""

from __future__ import annotations

import asyncio
import json

import httpx
import msgspec
import pytest

import corral.limits.budgets
from corral.agents.agent import Agent
from corral.app import App
from corral.errors import StoreUnavailable
from corral.jobs.job import Backoff, JobQuery
from corral.jobs.signing import verify
from corral.limits.accounts import NOTHING, Amount
from corral.messages import Caller
from corral.server.spending import NEWS
from corral.testing.contracts.setting import eventually

SECRET = "whsec_" + "c2VjcmV0" * 4
KEYS = [
    *({"key": f"key-of-{name}", "tenant": name} for name in ("acme", "other")),
    {"key": "key-of-reader", "tenant": "acme", "roles": ["auditor"]},
]
LADDER = [
    {"at": 0.2, "do": "warn"},
    {"at": 0.4, "do": "smaller_model", "to": "sim/small"},
    {"at": 0.6, "do": "shorter_context", "keep": 0.1},
    {"at": 0.8, "do": "cached_only"},
]


@pytest.fixture
async def client_of(build):
    async def make(budgets, **sections):
        app = App()
        app.add(Agent("helper", prompt="Help.", model="sim/medium"))
        service = await build(app, security={"api_keys": KEYS}, budgets=budgets, **sections)

        def client(tenant="acme", **headers):
            headers = {"authorization": f"Bearer key-of-{tenant}", **headers}
            return httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://corral", headers=headers)

        client.service = service
        return client

    return make


async def ask(client, *texts, model="sim/medium", team="support", **body):
    messages = [{"role": "user", "content": text} for text in texts or ("Hi",)]
    return await client.post(
        "/v1/chat/completions",
        json={"model": model, "messages": messages, "max_tokens": 5, "metadata": {"team": team}, **body},
    )


async def spend(client_of, share):
    """Have so much of the budget spent by somebody else."""
    budgets = client_of.service.guarding.spending.budgets
    pockets = budgets.pockets(Caller(tenant="acme", tags={"team": "support"}))
    await budgets.standings(pockets)
    terms = pockets[0].terms.nano
    reservation = await budgets.reserve(pockets, NOTHING)
    spent = pockets[0].standing().spent.nano
    budgets.settle(reservation, Amount(int(terms * share) - spent))


async def test_a_call_becomes_smaller_step_by_step_and_says_so(client_of):
    clients = await client_of({"team": {"usd": 5, "by": ["tag:team"], "ladder": LADDER}}, cache={"exact": True})
    async with clients() as client:
        plain = await ask(client, "one", "two")
        assert (plain.status_code, plain.json()["model"]) == (200, "medium")
        assert "x-corral-degraded" not in plain.headers
        await spend(clients, 0.5)
        smaller = await ask(client, "three")
        assert (smaller.json()["model"], smaller.headers["x-corral-degraded"]) == ("small", "smaller_model")
        await spend(clients, 0.7)
        shorter = await ask(client, "four " * 100, "five")
        assert shorter.headers["x-corral-degraded"] == "smaller_model,shorter_context"
        assert shorter.json()["usage"]["prompt_tokens"] < 50
        await spend(clients, 0.9)
        kept = await ask(client, "three")
        assert (kept.headers["x-corral-cache"], kept.headers["x-corral-degraded"]) == (
            "hit",
            "smaller_model,cached_only",
        )
        refused = await ask(client, "never asked before")
        assert refused.status_code == 402
        assert refused.json()["error"]["code"] == "budget_exceeded"
        assert "whole again at" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) > 0
        others = await ask(client, "never asked before", team="sales")
        assert "x-corral-degraded" not in others.headers
        metrics = (await client.get("/metrics")).text
        assert 'corral_budgets_degraded_total{budget="team",step="cached_only"} 2' in metrics
        assert 'corral_budgets_refused_total{budget="team"} 1' in metrics
        assert 'corral_budgets_used_ratio{budget="team"} 0.9' in metrics

        async def told():
            found = (await client.get("/v1/audit", params={"action": "budget.step"})).json()["items"]
            return [one["details"]["step"] for one in reversed(found)] == [0.2, 0.4, 0.6, 0.8]

        await eventually(told)


async def test_a_stream_says_it_before_it_begins(client_of):
    clients = await client_of({"team": {"usd": 5, "by": ["tag:team"], "ladder": LADDER}})
    await spend(clients, 0.5)
    async with clients() as client:
        answer = await ask(client, stream=True)
        assert answer.headers["x-corral-degraded"] == "smaller_model"


async def test_what_a_call_costs_is_in_the_books_of_its_tenant_alone(client_of):
    clients = await client_of({"team": {"usd": 5, "by": ["tag:team"]}, "all": {"tokens": 1_000_000, "period": "day"}})
    async with clients() as client, clients("other") as other:
        answer = await ask(client)
        cost = float(answer.headers["x-corral-cost-usd"])

        async def counted():
            items = (await client.get("/v1/budgets", params={"budget": "team"})).json()["items"]
            return [one["spent_usd"] for one in items] == [pytest.approx(cost, abs=1e-8)]

        await eventually(counted)
        team, everything = (await client.get("/v1/budgets")).json()["items"]
        assert (team["budget"], team["who"], team["limit_usd"], team["changed"]) == ("team", "support", 5.0, False)
        assert (everything["who"], everything["limit_tokens"]) == ("", 1_000_000)
        assert everything["spent_tokens"] == answer.json()["usage"]["total_tokens"]
        assert team["left_usd"] <= 5 - cost
        assert [one["spent_tokens"] for one in (await other.get("/v1/budgets")).json()["items"]] == [0]


async def test_an_operator_changes_how_much_may_be_spent(client_of):
    clients = await client_of({"team": {"usd": 5, "by": ["tag:team"]}})
    await spend(clients, 1.0)
    async with clients() as client, clients("other") as other, clients("reader") as reader:
        assert (await ask(client)).status_code == 402
        for method, path in (("PUT", "/v1/budgets/team"), ("POST", "/v1/budgets/team/reset")):
            assert (await reader.request(method, path, json={"who": "support"})).status_code == 403
        assert (await reader.get("/v1/budgets")).status_code == 200
        theirs = await other.put("/v1/budgets/team", json={"who": "support", "usd": 100})
        assert (theirs.status_code, theirs.json()["spent_usd"]) == (200, 0)
        changed = (await client.put("/v1/budgets/team", json={"who": "support", "usd": 6})).json()
        assert (changed["limit_usd"], changed["changed"]) == (6.0, True)

        async def passes():
            return (await ask(client)).status_code == 200

        await eventually(passes)
        unset = (await client.delete("/v1/budgets/team", params={"who": "support"})).json()
        assert (unset["limit_usd"], unset["changed"]) == (5.0, False)
        reset = (await client.post("/v1/budgets/team/reset", json={"who": "support"})).json()
        assert reset["spent_usd"] == 0
        await eventually(passes)
        again = (await client.post("/v1/budgets/team/reset")).json()
        assert again["who"] == ""


REFUSED = [
    ("PUT", "/v1/budgets/nothing", {"usd": 1}, 404),
    ("PUT", "/v1/budgets/team", {}, 400),
    ("PUT", "/v1/budgets/team", {"usd": 0}, 400),
    ("PUT", "/v1/budgets/team", {"usd": True}, 400),
    ("PUT", "/v1/budgets/team", {"usd": 1e300}, 400),
    ("PUT", "/v1/budgets/team", {"tokens": 1.5}, 400),
    ("PUT", "/v1/budgets/team", {"usd": 1, "who": "ann"}, 400),
    ("PUT", "/v1/budgets/team", {"usd": 1, "who": 7}, 400),
    ("PUT", "/v1/budgets/team", {"usd": 1, "user": "ann"}, 400),
    ("DELETE", "/v1/budgets/nothing", None, 404),
    ("POST", "/v1/budgets/nothing/reset", None, 404),
    ("POST", "/v1/budgets/team/reset", "{", 400),
    ("GET", "/v1/budgets?budget=nothing", None, 404),
    ("GET", "/v1/budgets?limit=0", None, 400),
    ("GET", "/v1/budgets?user=ann", None, 400),
]


async def test_what_makes_no_sense_is_refused(client_of):
    clients = await client_of({"team": {"usd": 5}})
    async with clients() as client:
        for method, path, body, status in REFUSED:
            content = body if isinstance(body, str) else None if body is None else json.dumps(body)
            answer = await client.request(method, path, content=content)
            assert answer.status_code == status, (path, body, answer.text)


class Away:
    """A store that does not answer."""

    async def read(self, *_, **__):
        raise StoreUnavailable

    swap = accounts = set_terms = read


async def test_a_store_that_is_away_is_never_an_error_of_ours(client_of):
    closed = {"usd": 5, "when_down": "closed", "only": {"tenant": ["other"]}}
    clients = await client_of({"local": {"usd": 5}, "open": {"usd": 5, "when_down": "open"}, "closed": closed})
    clients.service.guarding.spending.budgets.store = Away()
    async with clients() as client, clients("other") as other:
        assert (await ask(client)).status_code == 200
        refused = await ask(other)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "budgets_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/v1/budgets")).status_code == 503
        assert (await client.put("/v1/budgets/local", json={"usd": 1})).status_code == 503
        assert (await client.post("/v1/budgets/local/reset")).status_code == 503


@pytest.fixture
async def receiver():
    """An address that is told, and what it answers, the first at the end; then 200."""
    heard, answers = asyncio.Queue(), []

    async def receive(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(headers["content-length"]))
        heard.put_nowait((headers, body))
        status = answers.pop() if answers else 200
        writer.write(f"HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def hear():
        return await asyncio.wait_for(heard.get(), 20)

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    hear.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    hear.answers = answers
    hear.heard = heard
    yield hear
    server.close()


TOLD = {"callback_secret": SECRET, "callback_allow": ["127.0.0.0/8"]}


def told_at(url):
    return {"team": {"usd": 5, "by": ["tag:team"], "ladder": [{"at": 0.5, "do": "warn"}], "webhook": url}}


async def test_whoever_wants_to_know_is_told_signed(client_of, receiver):
    clients = await client_of(told_at(receiver.url), jobs=TOLD)
    await spend(clients, 0.6)
    headers, body = await receiver()
    assert verify(body, headers, SECRET)
    said = msgspec.json.decode(body)
    assert said["type"] == "budget.reached"
    assert {name: said["data"][name] for name in ("tenant", "budget", "who", "step", "does", "limit_usd")} == {
        "tenant": "acme",
        "budget": "team",
        "who": "support",
        "step": 0.5,
        "does": ["warn"],
        "limit_usd": 5.0,
    }


async def test_no_word_is_lost_with_the_worker_that_has_it(client_of, receiver, monkeypatch):
    monkeypatch.setattr("corral.jobs.webhooks._BACKOFF", Backoff(initial_s=0.01, max_s=0.01))
    first = await client_of(told_at(receiver.url), jobs=TOLD, server={"role": "api"})
    await spend(first, 0.6)
    waiting = JobQuery(agent=NEWS)

    async def is_handed_on():
        return len((await first.service.desk.find("acme", waiting)).items) == 1

    await eventually(is_handed_on)
    assert receiver.heard.empty()
    receiver.answers += [410, 500]  # the first that comes fails
    second = await client_of(told_at(receiver.url), jobs=TOLD)
    (head, body), (again, same) = await receiver(), await receiver()
    assert (head["webhook-id"], body) == (again["webhook-id"], same)

    async def is_over():
        return [job.status for job in (await second.service.desk.find("acme", waiting)).items] == ["succeeded"]

    await eventually(is_over)  # 410: it wants no more, and that is no failure


@pytest.mark.parametrize("jobs", [{"worker": False}, {"queues": ["gpu"]}])
async def test_processes_that_run_no_other_jobs_call_it_as_well(client_of, receiver, jobs):
    clients = await client_of(told_at(receiver.url), jobs={**TOLD, **jobs})
    async with clients() as client:
        asked = await client.post("/v1/jobs", json={"agent": "helper", "input": {"prompt": "Hi"}})
        await spend(clients, 0.6)
        headers, body = await receiver()
        assert verify(body, headers, SECRET)
        assert (await client.get(f"/v1/jobs/{asked.json()['id']}")).json()["status"] == "queued"


async def test_a_webhook_that_was_taken_away_is_not_called(client_of, receiver):
    first = await client_of(told_at(receiver.url), jobs=TOLD, server={"role": "api"})
    await spend(first, 0.6)
    second = await client_of({"team": {"usd": 5}}, jobs=TOLD)

    async def is_over():
        found = (await second.service.desk.find("acme", JobQuery(agent=NEWS))).items
        return [job.status for job in found] == ["succeeded"]

    await eventually(is_over)
    assert receiver.heard.empty()


async def test_agents_keep_to_budgets_as_well(client_of):
    clients = await client_of({"all": {"usd": 5, "by": ["agent"], "ladder": LADDER}})
    async with clients() as client:
        answer = await client.post("/v1/agents/helper/runs", json={"prompt": "Hi"})
        assert answer.status_code == 200, answer.text
        budgets = clients.service.guarding.spending.budgets
        pocket = next(iter(budgets._known.values()))
        assert pocket.place.who == "helper"
        assert pocket.standing().spent.nano > 0
        budgets.settle(await budgets.reserve([pocket], NOTHING), Amount(2_500_000_000))
        degraded = await client.post("/v1/agents/helper/runs", json={"prompt": "Hi"})
        assert degraded.json()["notes"]["degraded"] == ["smaller_model"]


async def test_a_job_that_cannot_be_paid_for_goes_on_later(client_of, monkeypatch):
    ladder = [{"at": 1.0, "do": "queue"}]
    clients = await client_of({"all": {"usd": 5, "ladder": ladder}})
    await spend(clients, 1.0)
    async with clients() as client:
        interactive = await client.post("/v1/agents/helper/runs", json={"prompt": "Hi"})
        assert interactive.status_code == 402
        assert interactive.json()["code"] == "budget_queued"
        assert "A job" not in interactive.json()["detail"]
        monkeypatch.setattr(corral.limits.budgets, "_PUT_OFF_MAX_S", 0.05)
        job = (await client.post("/v1/jobs", json={"agent": "helper", "input": {"prompt": "Hi"}})).json()
        seen = set()

        async def is_done():
            found = (await client.get(f"/v1/jobs/{job['id']}")).json()
            seen.add((found["status"], found["failures"]))
            if ("waiting", 0) in seen and found["status"] == "waiting":
                await client.post("/v1/budgets/all/reset")
            return found["status"] == "succeeded"

        await eventually(is_done)
        assert seen <= {("queued", 0), ("running", 0), ("waiting", 0), ("succeeded", 0)}
        assert ("waiting", 0) in seen


async def test_a_step_that_is_reached_begins_what_waits_for_it(client_of):
    clients = await client_of({"team": {"usd": 5, "by": ["tag:team"], "ladder": [{"at": 0.5, "do": "warn"}]}})
    async with clients() as client:
        rule = {
            "pattern": {"detail-type": ["budget.reached"], "detail": {"who": ["support"]}},
            "targets": [{"job": {"agent": "helper", "tags": ["told"]}, "input": {"prompt": "Tell somebody."}}],
        }
        made = await client.put("/v1/events/rules/tell", json=rule)
        assert made.status_code == 201, made.text
        await spend(clients, 0.6)

        async def is_begun():
            return len((await client.get("/v1/jobs", params={"tag": "told"})).json()["items"]) == 1

        await eventually(is_begun)
