"""One effect for an idempotency key, on a real store and with real processes that die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tool_scene import QUICK, bounded, box_of, called, fault_code

from corral import Context, ToolFailed, tool
from corral.backends.open import open_stores
from corral.context import enter_context, leave_context
from corral.errors import StoreUnavailable
from corral.messages import Caller
from corral.settings.tool_sections import ToolSettings
from corral.tools.idempotent import Idempotent
from corral.tools.in_memory import EffectsInMemory
from ready import ready_url


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "corral.tools")


@pytest.fixture
async def effects(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores.tool_effects
    await stores.stop()


class Bank:
    """Counts what it really did."""

    def __init__(self):
        self.paid = []
        self.errors = []
        self.hang = None
        self.asked = asyncio.Event()

    async def __call__(self, amount: int) -> str:
        if self.errors:
            raise self.errors.pop(0)
        self.paid.append(amount)
        self.asked.set()
        if self.hang is not None:
            await self.hang.wait()
        return f"paid {amount}"


def banking(bank, effects, settings=QUICK, **marks):
    return box_of(tool(name="pay", **marks)(bank), layers=[Idempotent(effects, settings)], run=bounded(settings))


async def test_a_replay_returns_the_first_effect(effects):
    bank = Bank()
    box = banking(bank, effects, cost_usd=1.0)
    first = await box.call(called("pay", key="k", amount=5))
    again = await box.call(called("pay", key="k", amount="5"))
    assert (first.value, first.cached, first.cost_usd) == ("paid 5", "", 1.0)
    assert (again.value, again.content, again.cached) == ("paid 5", first.content, "replayed")
    assert bank.paid == [5]
    await box.call(called("pay", key="other", amount=5))
    assert bank.paid == [5, 5]


async def test_without_a_key_every_call_is_its_own(effects):
    bank = Bank()
    box = banking(bank, effects)
    for _ in range(2):
        await box.call(called("pay", amount=5))
    assert bank.paid == [5, 5]


async def test_in_a_job_run_and_place_make_a_key(effects):
    import msgspec

    class Job:
        id = "job-1"

    bank = Bank()
    box = banking(bank, effects)
    call = msgspec.structs.replace(called("pay", amount=5), id="c-1")
    calls = (
        *(call, call),
        msgspec.structs.replace(call, id="c-2"),
        msgspec.structs.replace(call, input={"amount": 6}),
    )
    context = Context("r")
    token = enter_context(context)
    try:
        for one in (call, call):
            await box.call(one)
        assert bank.paid == [5, 5]  # a plain request: nobody will make this call again
        context.attach_job(Job())
        for one in calls:
            await box.call(one)
    finally:
        leave_context(token)
    assert bank.paid == [5, 5, 5, 5, 6]


async def test_long_keys_are_keys(effects):
    bank = Bank()
    box = banking(bank, effects)
    for _ in range(2):
        await box.call(called("pay", key="ä" * 5000, amount=1))
    assert bank.paid == [1]
    assert fault_code(await box.call(called("pay", key="a\0b", amount=1))) == "validation_error"


async def test_the_same_key_for_something_else_is_refused(effects):
    bank = Bank()
    box = banking(bank, effects)
    await box.call(called("pay", key="k", amount=5))
    for call in (
        called("pay", key="k", amount=6),
        called("pay", key="k", amount=5, caller=Caller(user_id="eve")),
    ):
        reply = await box.call(call)
        assert (fault_code(reply), reply.attempts) == ("idempotency_key_reused", 0)
    assert (await box.call(called("pay", key="k", amount=5, caller=Caller(tenant="other")))).cached == ""
    assert bank.paid == [5, 5]


async def test_tools_that_only_read_are_not_remembered():
    class Nothing:
        def __getattr__(self, name):
            raise AssertionError(name)

    box = banking(Bank(), Nothing(), read_only=True)
    assert (await box.call(called("pay", key="k", amount=5))).value == "paid 5"


async def test_who_asks_meanwhile_waits_and_hears_the_same(effects):
    bank = Bank()
    bank.hang = asyncio.Event()
    box = banking(bank, effects)
    first = asyncio.create_task(box.call(called("pay", key="k", amount=5)))
    await bank.asked.wait()
    others = [asyncio.create_task(box.call(called("pay", key="k", amount=5))) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(other.done() for other in others)
    bank.hang.set()
    assert {(await other).cached for other in others} == {"replayed"}
    assert (await first).cached == ""
    assert bank.paid == [5]


async def test_who_waits_too_long_hears_that_it_goes_on_elsewhere(effects):
    import time

    import msgspec

    bank = Bank()
    bank.hang = asyncio.Event()
    box = banking(bank, effects)
    first = asyncio.create_task(box.call(called("pay", key="k", amount=5)))
    await bank.asked.wait()
    call = msgspec.structs.replace(called("pay", key="k", amount=5), deadline=time.monotonic() + 0.1)
    reply = await box.call(call)
    assert (fault_code(reply), reply.fault.retryable) == ("in_progress", True)
    bank.hang.set()
    await first


async def test_a_long_call_keeps_its_claim(effects):
    bank = Bank()
    bank.hang = asyncio.Event()
    box = banking(bank, effects, ToolSettings(effect_lease_s=0.5), idempotent=True)
    first = asyncio.create_task(box.call(called("pay", key="k", amount=5)))
    second = asyncio.create_task(box.call(called("pay", key="k", amount=5)))
    await asyncio.sleep(0.8)  # longer than the lease: it is renewed meanwhile
    assert bank.paid == [5]
    bank.hang.set()
    assert {(await first).cached, (await second).cached} == {"", "replayed"}


# -- what failed --------------------------------------------------------------------------------------------------------


async def test_what_a_tool_said_is_the_outcome_unless_it_may_be_called_twice(effects):
    bank = Bank()
    bank.errors = [ToolFailed("no funds", code="declined")] * 2
    once = banking(bank, effects)
    for _ in range(2):
        reply = await once.call(called("pay", key="once", amount=5))
        assert fault_code(reply) == "declined"
    assert (reply.cached, len(bank.errors)) == ("replayed", 1)
    twice = banking(bank, effects, idempotent=True)
    assert fault_code(await twice.call(called("pay", key="twice", amount=5))) == "declined"
    assert (await twice.call(called("pay", key="twice", amount=5))).value == "paid 5"


async def test_what_never_began_may_begin_again(effects):
    bank = Bank()
    denied = True

    async def gate(use, proceed):
        from corral.tools.failing import failed

        return failed(use.call, "busy", "not now") if denied else await proceed(use)

    box = box_of(tool(name="pay")(bank), layers=[Idempotent(effects, QUICK), gate])
    assert fault_code(await box.call(called("pay", key="k", amount=5))) == "busy"
    denied = False
    assert (await box.call(called("pay", key="k", amount=5))).value == "paid 5"


async def test_after_a_timeout_nobody_knows_and_it_is_not_called_again(effects):
    bank = Bank()
    bank.hang = asyncio.Event()
    box = banking(bank, effects, timeout_s=0.05)
    reply = await box.call(called("pay", key="k", amount=5))
    assert (fault_code(reply), reply.fault.retryable) == ("timeout", False)
    assert "not known" in reply.fault.message
    bank.hang = None
    reply = await box.call(called("pay", key="k", amount=5))
    assert (fault_code(reply), reply.attempts) == ("outcome_unknown", 0)
    assert "Find out" in reply.fault.message
    assert bank.paid == [5]
    may = banking(bank, effects, timeout_s=0.05, idempotent=True)
    bank.hang = asyncio.Event()
    assert fault_code(await may.call(called("pay", key="k2", amount=7))) == "timeout"
    bank.hang = None
    assert (await may.call(called("pay", key="k2", amount=7))).value == "paid 7"


@pytest.mark.parametrize(("marks", "then"), [({}, "outcome_unknown"), ({"idempotent": True}, "")])
async def test_who_is_cancelled_in_the_middle_does_not_know_either(effects, marks, then):
    bank = Bank()
    bank.hang = asyncio.Event()
    box = banking(bank, effects, **marks)
    task = asyncio.create_task(box.call(called("pay", key="k", amount=5)))
    await bank.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bank.hang = None
    assert fault_code(await box.call(called("pay", key="k", amount=5))) == then


# -- a store that is away -----------------------------------------------------------------------------------------------


class Away(EffectsInMemory):
    """Does not answer, from some word on."""

    def __init__(self, *words):
        super().__init__()
        self.words = words

    async def begin(self, *args, **more):
        if "begin" in self.words:
            raise StoreUnavailable
        return await super().begin(*args, **more)

    async def finish(self, *args):
        raise StoreUnavailable


async def test_what_cannot_be_written_down_is_not_done_unless_it_may_be_repeated():
    bank = Bank()
    reply = await banking(bank, Away("begin")).call(called("pay", key="k", amount=5))
    assert (fault_code(reply), reply.fault.retryable, bank.paid) == ("unavailable", True, [])
    reply = await banking(bank, Away("begin"), idempotent=True).call(called("pay", key="k", amount=5))
    assert (reply.value, bank.paid) == ("paid 5", [5])


async def test_what_was_done_is_told_also_if_it_cannot_be_written_down():
    bank = Bank()
    settings = ToolSettings(effect_lease_s=0.5)
    box = banking(bank, Away(), settings)
    assert (await box.call(called("pay", key="k", amount=5))).value == "paid 5"
    assert fault_code(await box.call(called("pay", key="k", amount=5))) == "outcome_unknown"
    assert bank.paid == [5]


async def test_parts_that_json_does_not_know_are_forgotten_the_effect_is_not(effects):
    from corral.tools.results import ToolOutput

    async def odd():
        return ToolOutput(content=[{"type": "odd", "it": object()}], value="half \ud800")

    box = box_of(tool(odd), layers=[Idempotent(effects, QUICK)])
    assert fault_code(await box.call(called("odd", key="k"))) == "failed"
    assert (await box.call(called("odd", key="k"))).cached == "replayed"


# -- a worker that dies -------------------------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from pathlib import Path
from corral import tool, Toolbox
from corral.backends.open import open_stores
from corral.messages import ToolCall
from corral.settings.tool_sections import ToolSettings
from corral.tools.bounded import Bounded
from corral.tools.checked import checked
from corral.tools.idempotent import Idempotent
from corral.tools.stack import wrap

url, log, mark, hang = sys.argv[1:]

@tool(idempotent=mark == "idempotent")
async def pay(amount: int) -> str:
    with Path(log).open("a") as file:
        file.write(f"{amount}\\n")
    if hang == "hang":
        print("paid", flush=True)
        await asyncio.Event().wait()
    return f"paid {amount}"

async def main():
    stores = open_stores(url)
    await stores.start()
    settings = ToolSettings(effect_lease_s=0.5)
    box = Toolbox([pay], run=wrap(Bounded(settings), [checked, Idempotent(stores.tool_effects, settings)]))
    for _ in range(2):
        reply = await box.call(ToolCall(name="pay", input={"amount": 5}, idempotency_key="k"))
        print(reply.fault.code if reply.fault else reply.value, reply.cached, flush=True)
    await stores.stop()

asyncio.run(main())
"""


def worker(tmp_path, mark, hang=""):
    arguments = [ready_url(tmp_path), str(tmp_path / "log"), mark, hang]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )


@pytest.mark.parametrize(
    ("mark", "said", "paid"),
    [("idempotent", ["paid 5 ", "paid 5 replayed"], 2), ("once", ["outcome_unknown "] * 2, 1)],
)
def test_what_a_killed_worker_did_is_repeated_only_if_it_may_be(tmp_path, mark, said, paid):
    dying = worker(tmp_path, mark, "hang")
    try:
        assert dying.stdout.readline() == "paid\n"
    finally:
        os.kill(dying.pid, signal.SIGKILL)
        dying.communicate()
    out, _ = worker(tmp_path, mark).communicate(timeout=30)
    assert out.splitlines() == said
    assert len((tmp_path / "log").read_text().splitlines()) == paid
