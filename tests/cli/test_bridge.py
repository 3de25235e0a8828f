"""`corral bridge sqs`: against the SQS of moto, with a desk of the test's own, and as a process."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from command_line import CORRAL, RunningServer, plain_environment
from moto.server import ThreadedMotoServer

from corral.cli.bridge import ApiDesk
from corral.cli.client import Client
from corral.cli.failure import Exit
from corral.errors import ConfigError
from corral.jobs.bridges.bridge import Bridge
from corral.jobs.bridges.port import Message, RefusedError, ShutOutError, Submitted, TryAgainError
from corral.jobs.bridges.sqs import SqsDraft, SqsQueue
from processes import wait_until
from sweeping import sweep

# botocore leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_EC2_METADATA_DISABLED": "true"}


# -- the bridge itself, between two fakes


def message(name: str, order: str = "") -> Message:
    return Message(id=name, receipt=f"r-{name}", request={"agent": "main", "input": name}, order=order)


class Source:
    """A queue whose messages are given out once."""

    def __init__(self, *batches: list[Message]) -> None:
        self.batches = list(batches)
        self.deleted: list[str] = []
        self.released: list[str] = []
        self.extended: list[str] = []
        self.lost: set[str] = set()
        self.limits: list[int] = []
        self.faults: list[Exception] = []
        self.beaten = threading.Event()
        self._more = threading.Condition()

    def receive(self, limit: int) -> list[Message]:
        self.limits.append(limit)
        if self.faults:
            raise self.faults.pop(0)
        with self._more:
            self._more.wait_for(lambda: self.batches, 0.05)
            return self.batches.pop(0) if self.batches else []

    def extend(self, messages):
        self.extended += [one.id for one in messages]
        self.beaten.set()
        return [one for one in messages if one.id in self.lost]

    def release(self, messages):
        self.released += [one.id for one in messages]

    def delete(self, messages):
        self.deleted += [one.id for one in messages]
        return []


class Desk:
    """Takes jobs, as the test says."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.retried: list[str] = []
        self.answers: dict[str, list[object]] = {}
        self.states: dict[str, list[str]] = {}
        self.asked = threading.Event()

    def submit(self, request, *, key):
        answers = self.answers.get(key, [])
        if answers:
            answer = answers.pop(0)
            if isinstance(answer, threading.Event):
                self.asked.set()
                answer.wait(10)
            elif isinstance(answer, Exception):
                raise answer
            else:
                self.submitted.append(key)
                return Submitted(f"job-{key}", answer)
        self.submitted.append(key)
        return Submitted(f"job-{key}", "queued")

    def wait(self, job_id, *, seconds):
        self.asked.set()
        states = self.states.get(job_id, ["running"])
        return states.pop(0) if len(states) > 1 else states[0]

    def retry(self, job_id):
        self.retried.append(job_id)


@contextlib.contextmanager
def running(source, desk, **more):
    """A bridge at work in a thread; stopped at the end."""
    said: list[str] = []
    bridge = Bridge(source, desk, say=said.append, **more)
    bridge.said = said
    bridge.raised = []

    def run() -> None:
        try:
            bridge.run()
        except ShutOutError as error:
            bridge.raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join(20)
        bridge.receiver.join(20)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("corral.jobs.bridges.bridge._PAUSE_S", 0.001)


def test_a_message_is_deleted_when_its_job_is_durable():
    source, desk = Source([message("a"), message("b")], [message("c")]), Desk()
    with running(source, desk) as bridge:
        wait_until(lambda: sorted(source.deleted) == ["a", "b", "c"])
    assert sorted(desk.submitted) == ["a", "b", "c"]
    assert (bridge.tally.received, bridge.tally.deleted, bridge.tally.left, bridge.tally.released) == (3, 3, 0, 0)


def test_a_refused_message_is_left_to_its_queue_and_no_other():
    source, desk = Source([message("a"), message("b")]), Desk()
    desk.answers["a"] = [RefusedError("no such agent")]
    with running(source, desk) as bridge:
        wait_until(lambda: bridge.tally.left == 1 and source.deleted == ["b"])
    assert "no such agent" in "".join(bridge.said)
    assert source.released == []


def test_while_the_server_is_away_messages_are_kept_and_told_once():
    source, desk = Source([message("a")]), Desk()
    desk.answers["a"] = [TryAgainError("away") for _ in range(5)]
    with running(source, desk) as bridge:
        wait_until(lambda: source.deleted == ["a"])
    assert bridge.said == [
        "Jobs cannot be handed in now; the messages are kept. away",
        "Jobs can be handed in again.",
    ]


def test_messages_are_kept_while_their_job_is_handed_in():
    source, desk, go_on = Source([message("a"), message("b")]), Desk(), threading.Event()
    desk.answers["a"] = [go_on]
    desk.answers["b"] = [go_on]
    source.lost.add("b")
    with running(source, desk, visibility_s=0.03) as bridge:
        wait_until(lambda: source.extended.count("a") >= 3)
        go_on.set()
        wait_until(lambda: "a" in source.deleted)
    assert source.extended.count("b") == 1  # it was lost: nobody asks for it again
    assert "Message b is not ours any more" in "".join(bridge.said)


def test_order_is_kept_and_waits_behind_what_is_refused():
    source, desk = Source([message("a", "g"), message("b", "g"), message("c", "g"), message("d", "h")]), Desk()
    desk.answers["b"] = [RefusedError("bad")]
    with running(source, desk) as bridge:
        wait_until(lambda: bridge.tally.left == 2 and sorted(source.deleted) == ["a", "d"])
    assert "c" not in desk.submitted


def test_no_more_messages_than_there_is_room_for():
    source, desk, go_on = Source([message("a")], [message("b")]), Desk(), threading.Event()
    desk.answers["a"] = [go_on]
    with running(source, desk, concurrency=3):
        assert desk.asked.wait(10)
        wait_until(lambda: source.deleted == ["b"])
        go_on.set()
        wait_until(lambda: source.deleted == ["b", "a"])
    assert max(source.limits) == 3
    assert 2 in source.limits


def test_no_use_in_going_on():
    source, desk = Source([message("a")]), Desk()
    desk.answers["a"] = [ShutOutError("the key is wrong")]
    with running(source, desk) as bridge:
        wait_until(lambda: bridge.raised)
    assert source.released == ["a"]
    assert "the key is wrong" in str(bridge.raised[0])


def test_a_queue_that_does_not_answer_is_asked_again():
    source = Source([message("a")])
    source.faults = [TryAgainError("away"), TryAgainError("away")]
    with running(source, Desk()) as bridge:
        wait_until(lambda: source.deleted == ["a"])
    assert bridge.said == ["No messages can be received now: away"] * 2


def test_a_queue_that_locks_us_out():
    source = Source()
    source.faults = [ShutOutError("denied")]
    with running(source, Desk()) as bridge:
        wait_until(lambda: bridge.raised)


def test_stopping_finishes_what_is_being_handed_in_and_gives_back_the_rest():
    source, desk, go_on = Source([message("a", "g"), message("b", "g")]), Desk(), threading.Event()
    desk.answers["a"] = [go_on]
    with running(source, desk) as bridge:
        assert desk.asked.wait(10)
        bridge.stop()
        wait_until(bridge._stopping.is_set)
        go_on.set()
        wait_until(lambda: source.deleted == ["a"])
        wait_until(lambda: source.released == ["b"])
    assert (bridge.tally.deleted, bridge.tally.released) == (1, 1)


def test_wait_deletes_when_the_job_has_succeeded():
    source, desk = Source([message("a")]), Desk()
    desk.states["job-a"] = ["queued", "running", "succeeded"]
    with running(source, desk, mode="wait") as bridge:
        wait_until(lambda: source.deleted == ["a"])
    assert bridge.tally.left == 0


@pytest.mark.parametrize("state", ["failed", "cancelled", "discarded"])
def test_wait_leaves_the_message_of_a_job_that_did_not_succeed(state):
    source, desk = Source([message("a")]), Desk()
    desk.states["job-a"] = ["running", state]
    with running(source, desk, mode="wait") as bridge:
        wait_until(lambda: bridge.tally.left == 1)
    assert source.deleted == source.released == []
    assert state in bridge.said[0]


def test_wait_has_the_failed_job_of_a_message_that_comes_again_run_once_more():
    source, desk = Source([message("a")]), Desk()
    desk.answers["a"] = ["failed"]
    desk.states["job-a"] = ["running", "succeeded"]
    with running(source, desk, mode="wait"):
        wait_until(lambda: source.deleted == ["a"])
    assert desk.retried == ["job-a"]


def test_wait_finds_a_job_that_has_succeeded_meanwhile():
    source, desk = Source([message("a")]), Desk()
    desk.answers["a"] = ["succeeded"]
    with running(source, desk, mode="wait"):
        wait_until(lambda: source.deleted == ["a"])
    assert not desk.asked.is_set()


def test_wait_gives_messages_back_when_it_stops():
    source, desk = Source([message("a")]), Desk()
    with running(source, desk, mode="wait") as bridge:
        assert desk.asked.wait(10)
    assert source.released == ["a"]
    assert bridge.tally.released == 1


# -- SQS


@pytest.fixture(scope="module")
def aws():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(aws, monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("corral.jobs.bridges.sqs._POLL_S", 0)
    client = boto3.client("sqs", region_name="eu-west-1", endpoint_url=aws)
    yield client
    client.close()
    sweep()


@pytest.fixture
def queue_of(client, aws, request):
    """Makes a queue of SQS, and opens it."""
    opened = []

    def make(name: str, visibility_s: int | None = None, draft=None, **attributes: str) -> SqsQueue:
        url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        draft = draft or SqsDraft(agent="main")
        opened.append(SqsQueue(url, draft, region="eu-west-1", endpoint_url=aws, visibility_s=visibility_s))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_what_a_message_becomes(queue_of, client):
    draft = SqsDraft(agent="main", queue="gpu", priority=2, tags=("mine",))
    source = queue_of("orders", draft=draft, MessageRetentionPeriod="600", VisibilityTimeout="77")
    assert (source.visibility_s, source.has_dead_letters) == (77, False)
    attributes = {
        "priority": {"DataType": "Number", "StringValue": "99"},
        "tags": {"DataType": "String", "StringValue": "a, b"},
        "shop": {"DataType": "String", "StringValue": "berlin"},
        "session_id": {"DataType": "String", "StringValue": "s1"},
        "long": {"DataType": "String", "StringValue": "x" * 100},
    }
    client.send_message(QueueUrl=source.url, MessageBody='{"n": 1}', MessageAttributes=attributes)
    [message] = source.receive(1)
    assert message.request == {
        "agent": "main",
        "input": {"n": 1},
        "queue": "gpu",
        "priority": 10,
        "session_id": "s1",
        "tags": ["sqs:orders", "mine", "a", "b", "shop:berlin"],
        "dedupe_s": 600.0,
    }
    assert message.order == ""
    assert source.delete([message]) == []
    priority = {"priority": {"DataType": "String", "StringValue": "soon"}}
    client.send_message(QueueUrl=source.url, MessageBody="just words", MessageAttributes=priority)
    [message] = source.receive(1)
    assert (message.request["input"], message.request["priority"]) == ({"prompt": "just words"}, 2)


def test_groups_of_a_fifo_queue_are_kept_in_order(queue_of, client):
    source = queue_of("orders.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for number in range(3):
        client.send_message(QueueUrl=source.url, MessageBody=str(number), MessageGroupId="ada")
    messages = source.receive(10)
    assert [message.request["input"] for message in messages] == [0, 1, 2]
    assert {message.order for message in messages} == {"ada"}
    assert {message.request["concurrency_key"] for message in messages} == {"sqs:orders.fifo:ada"}


def test_extending_releasing_and_what_is_lost(queue_of, client):
    source = queue_of("held", visibility_s=300)
    client.send_message(QueueUrl=source.url, MessageBody="{}")
    [message] = source.receive(1)
    assert source.extend([message]) == []
    assert source.receive(1) == []
    source.release([message])
    [again] = source.receive(1)
    assert again.id == message.id
    source.delete([again])
    unknown = Message(id="x", receipt="not-a-receipt", request={})
    assert source.extend([unknown]) == [unknown]


def test_more_than_ten_at_once(queue_of, client):
    source = queue_of("many")
    for start in (0, 10):
        entries = [{"Id": str(n), "MessageBody": str(start + n)} for n in range(10)]
        client.send_message_batch(QueueUrl=source.url, Entries=entries)
    messages = [*source.receive(10), *source.receive(10)]
    assert source.delete(messages) == []
    assert source.receive(1) == []


def test_what_cannot_be_a_queue(client, aws, monkeypatch):
    def opened(url, **more):
        return SqsQueue(
            url, SqsDraft(agent="main"), **{"region": "eu-west-1", "endpoint_url": aws, "visibility_s": None} | more
        )

    with pytest.raises(ConfigError, match="not the URL"):
        opened("orders")
    with pytest.raises(ConfigError, match="cannot be asked"):
        opened(f"{aws}/123456789012/none")
    with pytest.raises(ConfigError, match="cannot be used"):
        opened(f"{aws}/123456789012/none", endpoint_url="nonsense")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="region"):
        opened(f"{aws}/123456789012/none", region=None)


def test_across_sqs(queue_of, client, monkeypatch):
    """Handed in once, deleted; a poisoned one ends among SQS's own dead letters."""
    monkeypatch.setattr("corral.jobs.bridges.sqs._POLL_S", 1)
    dead = client.create_queue(QueueName="dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    source = queue_of("live", visibility_s=1, RedrivePolicy=policy)
    assert source.has_dead_letters
    good = client.send_message(QueueUrl=source.url, MessageBody="{}")["MessageId"]
    bad = client.send_message(QueueUrl=source.url, MessageBody="{}")["MessageId"]
    desk = Desk()
    desk.answers[bad] = [RefusedError("no") for _ in range(9)]
    with running(source, desk, visibility_s=1):
        wait_until(lambda: int(_count(client, dead)) == 1)
    assert desk.submitted == [good]
    assert len(desk.answers[bad]) == 7  # it came as often as SQS was told to try


def _count(client, url):
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return answer["Attributes"]["ApproximateNumberOfMessages"]


# -- over HTTP


class Api(ThreadingHTTPServer):
    """Answers as the API does."""

    daemon_threads = True

    def __init__(self) -> None:
        self.jobs: dict[str, object] = {}
        self.status = 202
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, {"name": "main", "id": "j", "status": "succeeded"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.status == 202:
            self.server.jobs[self.headers["idempotency-key"]] = body
        self._answer(self.server.status, {"id": "j", "status": "queued", "code": "said", "detail": "no"})

    def _answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def api():
    server = Api()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_desk_behind_http(api):
    desk = ApiDesk(Client(api.url, quiet=True))
    desk.check("main")
    assert desk.submit({"agent": "main"}, key="m1") == Submitted("j", "queued")
    assert api.jobs == {"sqs:m1": {"agent": "main"}}
    assert desk.wait("j", seconds=5) == "succeeded"
    desk.retry("j")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (503, TryAgainError),
        (429, TryAgainError),
        (401, ShutOutError),
        (403, ShutOutError),
        (400, RefusedError),
        (404, RefusedError),
    ],
)
def test_what_the_server_says_means_something_to_the_bridge(api, status, kind):
    api.status = status
    with pytest.raises(kind):
        ApiDesk(Client(api.url, quiet=True)).submit({}, key="m1")


def test_a_server_that_is_away_may_come_back(api):
    with pytest.raises(TryAgainError):
        ApiDesk(Client("http://127.0.0.1:1", quiet=True)).wait("j", seconds=1)
    api.status = 409
    desk = ApiDesk(Client(api.url, quiet=True))
    desk.retry("j")  # somebody else was quicker
    api.status = 503
    with pytest.raises(TryAgainError):
        desk.retry("j")


def test_as_a_process(here, api, client, aws):
    url = client.create_queue(QueueName="process", Attributes={"VisibilityTimeout": "300"})["QueueUrl"]
    sent = client.send_message(QueueUrl=url, MessageBody='{"prompt": "Hi"}')["MessageId"]
    arguments = ["--queue-url", url, "--agent", "main", "--endpoint-url", aws, "--region", "eu-west-1"]
    process = subprocess.Popen(
        [CORRAL, "bridge", "sqs", *arguments, "--url", api.url, "--json"],
        cwd=here,
        env=plain_environment() | AWS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: f"sqs:{sent}" in api.jobs or process.poll() is not None)
        in_flight = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        wait_until(
            lambda: (
                set(client.get_queue_attributes(QueueUrl=url, AttributeNames=in_flight)["Attributes"].values()) == {"0"}
            )
        )
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out) == {"received": 1, "deleted": 1, "left": 0, "released": 0}
    assert "no redrive policy" in err
    assert "Messages of process become jobs of main" in err


def test_a_bridge_that_cannot_begin_takes_no_message(corral, client, aws):
    arguments = ["--queue-url", f"{aws}/123456789012/none", "--agent", "main", "--endpoint-url", aws, "--json"]
    done = corral("bridge", "sqs", *arguments, "--url", "http://127.0.0.1:1")
    assert (done.status, done.error["code"]) == (Exit.NOT_FOUND, "unreachable")


def test_no_such_queue(corral, client, aws, api):
    arguments = ["--queue-url", f"{aws}/123456789012/none", "--agent", "main", "--endpoint-url", aws, "--json"]
    done = corral("bridge", "sqs", *arguments, "--url", api.url, "--region", "eu-west-1")
    assert (done.status, done.error["code"]) == (Exit.INVALID, "config_error")


AGENTS = """
from corral import App

app = App()

@app.entrypoint
async def main(payload, context):
    if payload == "poison":
        raise ValueError("I cannot take that")
    return payload
"""


def test_with_a_real_server(here, corral, client, queue_of):
    """What succeeds is deleted; what fails ends among SQS's dead letters, and stays the same job all the way."""
    (here / "agents.py").write_text(AGENTS)
    (here / "corral.yaml").write_text("jobs: {attempts_max: 1}\n")
    dead = client.create_queue(QueueName="real-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    source = queue_of("real", visibility_s=1, RedrivePolicy=policy)
    for body in ("1", '"poison"', "2", "3"):
        client.send_message(QueueUrl=source.url, MessageBody=body)
    server = RunningServer(here)
    try:
        desk = ApiDesk(Client(server.url, quiet=True))
        with running(source, desk, mode="wait", visibility_s=1) as bridge:
            wait_until(lambda: _count(client, dead) == "1")
        assert bridge.tally.deleted == 3
        jobs = corral("jobs", "list", "--tag", "sqs:real", "--json").json["items"]
        assert sorted(job["status"] for job in jobs) == ["failed", "succeeded", "succeeded", "succeeded"]
        [failed] = corral("jobs", "dead", "--json").json["items"]
        assert failed["attempt"] == 2  # once for each time SQS sent it
    finally:
        assert server.stop() == 0
