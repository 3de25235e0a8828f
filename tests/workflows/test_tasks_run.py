"""How the job of a task ends: what its execution hears when workers die, are stopped, or cannot reach the store."""

from __future__ import annotations

import asyncio
import http.client
from contextlib import nullcontext

import msgspec
import pytest

from corral.context import Context
from corral.errors import StoreUnavailable
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.execution import Work
from corral.workflows.functions import Function, Functions
from corral.workflows.language.resource import resource_of
from corral.workflows.machine import tokens
from corral.workflows.machine.happening import TaskFailed, TaskStarted, TaskSucceeded
from corral.workflows.machine.order import StartTask
from corral.workflows.machine.run import Facts
from corral.workflows.store import TaskGone
from corral.workflows.tasks.doing import Tasks
from corral.workflows.tasks.jobs import job_id_of, new_secret
from corral.workflows.tasks.running import TaskRuns, TryAgain
from processes import serving, wait_until

TOKEN = tokens.make("01900000-0000-7000-8000-000000000001", "", new_secret(1_700_000_000.0))
FACTS = Facts(
    id="01900000-0000-7000-8000-000000000001",
    arn="arn:x",
    name="x",
    tenant="acme",
    machine_arn="arn:m",
    machine_name="m",
)


class Claimed(msgspec.Struct, kw_only=True):
    id: str = "job-1"
    tenant: str = "acme"
    input: bytes = msgspec.json.encode({"token": TOKEN})
    failures: int = 0


class Job:
    """A job while it runs, as far as a task looks at it."""

    def __init__(self, **claimed):
        self.claimed = Claimed(**claimed)
        self.id = self.claimed.id
        self.stop_reason = None
        self.deadline = 60.0
        self.time = 0.0

    def attach_to(self, context: Context) -> None:
        assert context.tenant == "acme"

    def now(self) -> float:
        return self.time

    async def say(self, data: bytes) -> None:
        pass


class Told:
    """An engine that remembers what it was told."""

    def __init__(self, order: StartTask, *, answers=(), submitted=False):
        self.given = Work(tenant="acme", token=TOKEN, order=order, facts=FACTS, created_at=0.0, submitted=submitted)
        self.heard = []
        self.noted = []
        self.answers = list(answers)

    async def work(self, tenant, token):
        assert (tenant, token) == ("acme", TOKEN)
        return self.given

    async def answer(self, tenant, token, message):
        self.heard.append(message)
        if self.answers and (error := self.answers.pop(0)) is not None:
            raise error

    def note(self, tenant, execution_id, message):
        self.noted.append(message)


def order_of(text: str = "corral:function:do") -> StartTask:
    return StartTask(token=TOKEN, state="Do", resource=resource_of(text), payload={"a": 1})


def runs_of(doer, order=None, *, retries=0, **told):
    """A runner whose functions are done by `doer`."""
    functions = Functions()
    functions.add(Function(name="do", fn=len, retries=retries))
    runs = TaskRuns(Tasks({"function": doer}), functions, WorkflowSettings(), nullcontext)
    runs.engine = Told(order or order_of(), **told)
    return runs


async def fine(task):
    return {"token": task.context.idempotency_key == task.token}


async def fails(_task):
    raise LookupError("lost")


async def test_the_end_is_told_before_the_job_ends():
    runs = runs_of(fine)
    await runs.run(Job())
    assert runs.engine.noted == [TaskStarted(TOKEN)]
    assert runs.engine.heard == [TaskSucceeded(TOKEN, {"token": True})]


async def test_a_task_that_is_over_or_was_handed_in_is_not_done():
    async def never(_task):
        raise AssertionError

    runs = runs_of(never, submitted=True)
    await runs.run(Job())
    runs.engine.given = None
    await runs.run(Job())
    assert not runs.engine.heard
    gone = runs_of(fine, answers=[TaskGone()])
    await gone.run(Job())
    assert len(gone.engine.heard) == 1


async def test_a_task_whose_workers_die_fails():
    async def never(_task):
        raise AssertionError

    runs = runs_of(never)
    await runs.run(Job(failures=3))
    (message,) = runs.engine.heard
    assert (message.error, message.cause.startswith("3 workers were lost")) == ("States.TaskFailed", True)


async def test_retries_of_its_own_are_those_of_the_job():
    runs = runs_of(fails, retries=2)
    for failures in (0, 1):
        with pytest.raises(TryAgain):
            await runs.run(Job(failures=failures))
    assert not runs.engine.heard
    await runs.run(Job(failures=2))
    (message,) = runs.engine.heard
    assert isinstance(message, TaskFailed)
    assert message.error == "LookupError"


async def test_what_was_done_is_told_until_somebody_hears_it(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("corral.workflows.tasks.running.asyncio.sleep", sleep)
    runs = runs_of(fine, answers=[StoreUnavailable(), StoreUnavailable(), None])
    await runs.run(Job())
    assert len(runs.engine.heard) == 3
    assert pauses == [0.1, 0.2]
    late, job = runs_of(fine, answers=[StoreUnavailable()]), Job()
    job.time = job.deadline
    with pytest.raises(StoreUnavailable):
        await late.run(job)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("timeout", ("States.Timeout", True)),
        ("cancelled", ("States.TaskFailed", False)),
        ("draining", None),
        ("lost", None),
    ],
)
async def test_what_is_told_of_a_job_that_is_stopped(reason, told):
    begun = asyncio.Event()

    async def waits(_task):
        begun.set()
        await asyncio.Event().wait()

    runs, job = runs_of(waits), Job()
    running = asyncio.create_task(runs.run(job))
    await begun.wait()
    job.stop_reason = reason
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    heard = [(message.error, message.timed_out) for message in runs.engine.heard]
    assert heard == ([] if told is None else [told])


def test_the_jobs_of_a_task_sort_by_its_time():
    early, late = (
        tokens.make("01900000-0000-7000-8000-000000000001", "f", new_secret(at))
        for at in (1_700_000_000.0, 1_700_000_001.0)
    )
    assert job_id_of(early) < job_id_of(late)
    assert job_id_of(early) == job_id_of(early) != job_id_of(early, "job")
    assert len(job_id_of(early)) == 36
    foreign = tokens.make("01900000-0000-7000-8000-000000000001", "f", "secret")
    assert job_id_of(foreign).startswith("01900000-0000-7")


FUNCTIONS = """
import os, signal

def survivor(event, context):
    from corral import current_context
    with open("seen.txt", "a+") as seen:
        seen.write(current_context().idempotency_key + "\\n")
        seen.seek(0)
        calls = len(seen.readlines())
    if calls == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls

FUNCTIONS = {"survivor": survivor}
"""


def asked(server, *request):
    """One request; asked again where the worker that was to answer is killed."""
    found = []

    def ask():
        try:
            found.append(server.call(*request))
        except (OSError, http.client.HTTPException):
            return False
        return found[-1][0] < 500

    wait_until(ask, 30)
    return found[-1][1]


def test_a_worker_that_is_killed_has_its_task_done_by_another(tmp_path):
    config = "jobs: {lease_s: 0.5}\nworkflows: {sweep_s: 0.2}\n"
    with serving(tmp_path, agents=FUNCTIONS, config=config) as server:
        work = {"Type": "Task", "Resource": "corral:function:survivor", "End": True}
        asked(server, "/v1/workflows", {"name": "live", "definition": {"StartAt": "Do", "States": {"Do": work}}})
        begun = asked(server, "/v1/workflows/live/executions", {"input": {}}, {"idempotency-key": "once"})
        place = f"/v1/executions/{begun['id']}"
        wait_until(lambda: asked(server, place)["status"] != "running", 30)
        ended = asked(server, place)
        assert (ended["status"], ended["output"]) == ("succeeded", 2)
        keys = (tmp_path / "seen.txt").read_text().split()
        assert len(keys) == 2
        assert len(set(keys)) == 1, "both workers had the same key"
