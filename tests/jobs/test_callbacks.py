from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest

from corral.backends.sqlite.stores import SqliteStores
from corral.clock import new_time_id
from corral.errors import ConfigError, StoreUnavailable, ValidationFailed
from corral.jobs import callbacks as callbacks_module
from corral.jobs.callbacks import Callbacks, callback_check
from corral.jobs.job import Callback, Ending, JobDraft, JobError
from corral.jobs.signing import verify
from corral.outbound.client import Outbound
from corral.settings.sections import JobSettings
from listening import Listening, read_request
from ready import ready_url

SECRET = "whsec_" + base64.b64encode(b"a secret of at least twenty-four bytes").decode()
T0 = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Told:
    """An outbox that tells what was settled, and does not answer while it is cut off."""

    def __init__(self, outbox) -> None:
        self._outbox = outbox
        self.cut = 0
        self.broken = 0
        self.settled: asyncio.Queue = asyncio.Queue()

    def __getattr__(self, name):
        return getattr(self._outbox, name)

    async def take(self, **options):
        if self.cut:
            self.cut -= 1
            raise StoreUnavailable
        if self.broken:
            self.broken -= 1
            raise RuntimeError("a row like no other")
        return await self._outbox.take(**options)

    async def settle(self, outcomes):
        kept = await self._outbox.settle(outcomes)
        for outcome, known in zip(outcomes, kept, strict=True):
            self.settled.put_nowait((outcome, known))
        return kept


class Receiver:
    """Answers callbacks as told, and remembers them."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []

    async def behave(self, reader, writer):
        head, body = await read_request(reader)
        lines = head.decode().rstrip().split("\r\n")[1:]
        self.heard.append((dict(line.split(": ", 1) for line in lines), body))
        writer.write(self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} X", "Content-Length: 0", *headers, "", ""]).encode()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def stores(tmp_path, clock):
    stores = SqliteStores(ready_url(tmp_path), clock=clock)
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
async def address(receiver):
    async with Listening(receiver.behave) as server:
        yield f"http://127.0.0.1:{server.port}/hook"


@pytest.fixture
async def begin(stores, clock):
    """Starts deliverers; each sees the outbox through `Told`."""
    made = []

    async def begin_one(*, outbox=None, records=None, own=None, **settings):
        options = {"callback_secret": SECRET, "callback_allow": ["127.0.0.1"]} | settings
        told = outbox or Told(stores.outbox)
        callbacks = Callbacks(
            told,
            records or stores.job_records,
            JobSettings(**options),
            own=own,
            clock=clock,
            chance=lambda: 0.5,
            poll_s=3600.0,
        )
        made.append(callbacks)
        await callbacks.start()
        await callbacks.start()
        return callbacks, told

    yield begin_one
    for callbacks in made:
        await callbacks.stop()
        await callbacks.stop()


async def ended(stores, url, *, kind="succeeded", result=b'{"answer": 42}', headers=None):
    """A job that has a callback and has ended."""
    callback = Callback(url, headers or {})
    draft = JobDraft(id=new_time_id(T0), tenant="acme", agent="main", input=b'"secret"', callback=callback, tags=("t",))
    await stores.jobs.enqueue([draft])
    claimed = await stores.jobs.claim("w", queues=[], limit=1, lease_s=60)
    error = JobError("agent_error", "It broke.", traceback="File …") if kind == "failed" else None
    ending = Ending(claim=claimed.jobs[0].claim, kind=kind, result=result if error is None else None, error=error)
    assert await stores.jobs.settle([ending]) == [True]
    return draft.id


async def settled(told):
    async with asyncio.timeout(10):
        outcome, known = await told.settled.get()
    assert known
    return outcome


async def test_the_end_of_a_job_is_told_and_signed(stores, receiver, address, begin):
    job_id = await ended(stores, address, headers={"X-Key": "k"})
    _, told = await begin()
    outcome = await settled(told)
    assert (outcome.ok, outcome.answer) == (True, "204")
    [(headers, body)] = receiver.heard
    assert headers["x-key"] == "k"
    assert headers["content-type"] == "application/json"
    assert verify(body, headers, SECRET, now=T0) == outcome.id
    said = json.loads(body)
    assert said["type"] == "job.succeeded"
    assert said["timestamp"] == "2026-05-01T12:00:00.000Z"
    assert (said["data"]["id"], said["data"]["status"], said["data"]["tags"]) == (job_id, "succeeded", ["t"])
    assert said["data"]["result"] == {"answer": 42}
    assert b"secret" not in body
    [row] = await stores.outbox.deliveries("acme", job_id=job_id)
    assert (row.status, row.answer) == ("delivered", "204")


async def test_a_job_that_ends_later_wakes_the_deliverer(stores, receiver, address, begin):
    _, told = await begin()
    await ended(stores, address)
    assert (await settled(told)).ok


async def test_a_failure_is_told_without_its_traceback(stores, receiver, address, begin):
    await ended(stores, address, kind="failed")
    _, told = await begin()
    assert (await settled(told)).ok
    said = json.loads(receiver.heard[0][1])
    assert said["type"] == "job.failed"
    assert said["data"]["error"] == {"code": "agent_error", "message": "It broke."}


async def test_a_result_that_is_too_large_is_left_out(stores, receiver, address, begin, monkeypatch):
    monkeypatch.setattr(callbacks_module, "RESULT_MAX", 10)
    await ended(stores, address)
    _, told = await begin()
    assert (await settled(told)).ok
    data = json.loads(receiver.heard[0][1])["data"]
    assert (data["result"], data["result_left_out"]) == (None, True)


async def test_it_is_tried_again_with_growing_pauses_and_the_same_id(stores, receiver, address, begin, clock):
    receiver.answers = [status(500), status(404), status(429)]
    await ended(stores, address)
    callbacks, told = await begin()
    pauses, ids = [], set()
    for _ in range(3):
        outcome = await settled(told)
        assert not outcome.ok
        pauses.append(outcome.retry_in_s)
        ids.add(outcome.id)
        clock.at += outcome.retry_in_s
        callbacks._bell.ring()
    assert (await settled(told)).ok
    assert pauses == [5.0, 15.0, 45.0]
    assert {headers["webhook-id"] for headers, _ in receiver.heard} == ids
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.heard}) == 4


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("Retry-After: 700", 700.0),
        ("Retry-After: 1", 5.0),
        ("Retry-After: Fri, 01 May 2026 12:10:00 GMT", 600.0),
        ("Retry-After: Fri, 01 May 2026 11:00:00 GMT", 5.0),
        ("Retry-After: 99999999999999999999", 86_400.0),
        ("Retry-After: soon", 5.0),
    ],
)
async def test_a_receiver_says_when_to_come_back(stores, receiver, address, begin, header, pause):
    receiver.answers = [status(503, header)]
    await ended(stores, address)
    _, told = await begin()
    assert (await settled(told)).retry_in_s == pause


async def test_a_receiver_that_wants_no_more_gets_no_more(stores, receiver, address, begin, caplog):
    receiver.answers = [status(410)]
    job_id = await ended(stores, address)
    _, told = await begin()
    outcome = await settled(told)
    assert (outcome.ok, outcome.retry_in_s) == (False, None)
    [row] = await stores.outbox.deliveries("acme", job_id=job_id)
    assert row.status == "failed"
    assert "is given up" in caplog.text


async def test_it_is_given_up_after_a_day_and_can_be_sent_again(stores, receiver, address, begin, clock):
    receiver.answers = [status(302, "Location: http://127.0.0.1/"), status(500)]
    job_id = await ended(stores, address)
    callbacks, told = await begin()
    assert (await settled(told)).retry_in_s == 5.0
    clock.at += 86_400
    callbacks._bell.ring()
    assert (await settled(told)).retry_in_s is None
    [row] = await stores.outbox.deliveries("acme", job_id=job_id)
    assert (row.status, row.answer) == ("failed", "500")

    assert await stores.outbox.replay("acme", row.id)
    assert not await stores.outbox.replay("other", row.id)
    callbacks._bell.ring()
    outcome = await settled(told)
    assert (outcome.ok, outcome.id) == (True, row.id)


async def test_nothing_is_sent_into_the_house(stores, receiver, address, begin):
    await ended(stores, address)
    _, told = await begin(callback_allow=[])
    outcome = await settled(told)
    assert (outcome.ok, outcome.retry_in_s) == (False, None)
    assert "not public" in outcome.answer
    assert receiver.heard == []


async def test_nobody_there_is_tried_again(stores, begin):
    async with Listening(None) as server:
        port = server.port
    await ended(stores, f"http://127.0.0.1:{port}/")
    _, told = await begin()
    outcome = await settled(told)
    assert (outcome.ok, outcome.retry_in_s) == (False, 5.0)


async def test_a_job_that_runs_once_more_is_told_of_when_it_ends(stores, receiver, address, begin):
    from corral.jobs.job import JobQuery

    job_id = await ended(stores, address, kind="failed")
    assert await stores.job_records.redrive("acme", JobQuery(), job_id=job_id) == [job_id]
    _, told = await begin()
    assert "next end" in (await settled(told)).answer
    assert receiver.heard == []
    claimed = await stores.jobs.claim("w", queues=[], limit=1, lease_s=60)
    await stores.jobs.settle([Ending(claim=claimed.jobs[0].claim, kind="succeeded", result=b"1")])
    assert (await settled(told)).ok
    assert json.loads(receiver.heard[0][1])["type"] == "job.succeeded"


async def test_many_are_sent_at_once_and_each_once(stores, receiver, address, begin, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_CONCURRENCY", 3)
    ids = {await ended(stores, address) for _ in range(20)}
    tolds = [(await begin())[1] for _ in range(2)]
    async with asyncio.timeout(20):
        while sum(told.settled.qsize() for told in tolds) < 20:  # noqa: ASYNC110 - two queues, one condition
            await asyncio.sleep(0.005)
    assert sorted(json.loads(body)["data"]["id"] for _, body in receiver.heard) == sorted(ids)


async def test_a_store_that_is_away_is_waited_for(stores, receiver, address, begin):
    await ended(stores, address)
    told = Told(stores.outbox)
    told.cut = 2
    await begin(outbox=told)
    assert (await settled(told)).ok


async def test_whatever_goes_wrong_it_looks_again(stores, receiver, address, begin, caplog):
    told = Told(stores.outbox)
    told.broken = 1
    await begin(outbox=told)
    await ended(stores, address)  # rings
    assert (await settled(told)).ok
    assert "a row like no other" in caplog.text


class Records:
    """Knows no job, for the reason it is given."""

    def __init__(self, reason) -> None:
        self.reason = reason
        self.asked = asyncio.Event()

    async def get(self, tenant, job_id):
        self.asked.set()
        if self.reason is None:
            return
        raise self.reason


async def test_a_job_that_is_gone_is_told_to_nobody(stores, receiver, address, begin):
    await ended(stores, address)
    _, told = await begin(records=Records(None))
    outcome = await settled(told)
    assert (outcome.ok, outcome.retry_in_s) == (False, None)
    assert "gone" in outcome.answer


async def test_a_fault_of_ours_is_noted_and_tried_again(stores, receiver, address, begin, caplog):
    await ended(stores, address)
    _, told = await begin(records=Records(RuntimeError("ours")))
    outcome = await settled(told)
    assert (outcome.ok, outcome.answer, outcome.retry_in_s) == (False, "RuntimeError", 5.0)
    assert "ours" in caplog.text


async def test_a_store_that_goes_away_meanwhile_has_it_sent_when_its_lease_is_over(
    stores, receiver, address, begin, clock
):
    await ended(stores, address)
    records = Records(StoreUnavailable())
    callbacks, _ = await begin(records=records)
    async with asyncio.timeout(10):
        await records.asked.wait()
    await callbacks.drain()
    clock.at += 61
    _, told = await begin()
    assert (await settled(told)).ok


async def test_a_drain_finishes_what_is_being_sent(stores, begin):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def behave(reader, writer):
        await read_request(reader)
        reached.set()
        await go_on.wait()
        writer.write(status(200))

    async with Listening(behave) as server:
        await ended(stores, f"http://127.0.0.1:{server.port}/")
        callbacks, told = await begin()
        await reached.wait()
        draining = asyncio.create_task(callbacks.drain())
        go_on.set()
        await draining
        assert told.settled.get_nowait()[0].ok
        await ended(stores, f"http://127.0.0.1:{server.port}/")
        await callbacks.drain()
        assert told.settled.empty()


def test_what_cannot_be_sent_is_refused_before_a_job_is_taken_in():
    check = callback_check(JobSettings(callback_secret=SECRET, callback_allow=["10.0.0.0/8", "hooks.internal"]))
    check(Callback("https://hooks.example/x", {"X-Key": "k"}))
    check(Callback("http://10.1.2.3:8080/x"))
    check(Callback("http://hooks.internal/x"))
    for callback, said in [
        (Callback("ftp://hooks.example"), "begin with"),
        (Callback("http://169.254.169.254/latest"), "not public"),
        (Callback("http://localhost/"), "not public"),
        (Callback("https://hooks.example", {"Webhook-Signature": "v1,x"}), "written by the server"),
        (Callback("https://hooks.example", {"Host": "x"}), "written by the server"),
    ]:
        with pytest.raises(ValidationFailed, match=said) as raised:
            check(callback)
        assert raised.value.errors[0]["pointer"].startswith("/callback")


def test_without_a_secret_callbacks_are_refused():
    with pytest.raises(ValidationFailed, match=r"jobs\.callback_secret"):
        callback_check(JobSettings())(Callback("https://hooks.example/"))


async def test_without_a_secret_nothing_is_sent(stores, receiver, address, begin):
    await ended(stores, address)
    callbacks, _ = await begin(callback_secret="")
    await callbacks.drain()
    assert receiver.heard == []


async def test_who_is_in_the_house_is_told_without_a_secret(stores, begin):
    heard = []

    async def hear(job):
        heard.append(job)

    job_id = await ended(stores, "corral:own", headers={"token": "t"})
    _, told = await begin(callback_secret="", own={"corral:own": hear})
    assert (await settled(told)).ok
    assert [(job.id, job.status, job.callback.headers) for job in heard] == [(job_id, "succeeded", {"token": "t"})]


async def test_who_in_the_house_does_not_understand_is_told_again(stores, begin):
    async def fail(_job):
        raise LookupError

    await ended(stores, "corral:own")
    _, told = await begin(callback_secret="", own={"corral:own": fail})
    outcome = await settled(told)
    assert (outcome.ok, outcome.answer, outcome.retry_in_s is not None) == (False, "LookupError", True)


async def test_what_cannot_be_signed_waits(stores, receiver, address, begin):
    await ended(stores, address)
    _, told = await begin(callback_secret="", own={"corral:own": None})
    outcome = await settled(told)
    assert (outcome.ok, outcome.retry_in_s is not None) == (False, True)
    assert "callback_secret" in outcome.answer
    assert receiver.heard == []


async def test_settings_that_cannot_be_used_are_told_at_once(begin):
    with pytest.raises(ConfigError):
        await begin(callback_secret="whsec_short")
    with pytest.raises(ConfigError):
        await begin(callback_allow=["10.0.0.0/99"])


async def test_a_client_of_one_s_own(stores, clock):
    callbacks = Callbacks(stores.outbox, stores.job_records, JobSettings(callback_secret=SECRET), outbound=Outbound())
    await callbacks.stop()
