"""`corral bridge`: messages of other queues become jobs."""

from __future__ import annotations

import signal
from typing import Annotated, Any, Literal

import msgspec
import typer

from corral.cli.client import Client, client_for, segment
from corral.cli.failure import Exit, Failure
from corral.cli.jobs_api import JobsApi
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show_json
from corral.jobs.bridges.bridge import Bridge
from corral.jobs.bridges.port import RefusedError, ShutOutError, Submitted, TryAgainError
from corral.jobs.bridges.sqs import SqsDraft, SqsQueue
from corral.jobs.states import JobState

app = new_app("Make jobs of the messages of other queues.")

_UNAUTHENTICATED, _FORBIDDEN, _CONFLICT, _TIMEOUT, _TOO_MANY, _SERVER_ERRORS = 401, 403, 409, 408, 429, 500
_PASSING = frozenset({"unreachable", "connection_lost", "timeout", "not_corral"})


@app.callback()
def bridge() -> None:
    """Make jobs of the messages of other queues."""  # with one verb alone, Typer would take the group for it


@app.command()
def sqs(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    queue_url: Annotated[str, typer.Option("--queue-url", metavar="URL", help="The queue to take messages from.")],
    agent: Annotated[str, typer.Option("--agent", "-a", help="Which agent of the app runs them.")],
    mode: Annotated[
        Literal["enqueue", "wait"],
        typer.Option("--mode", help="Delete a message when its job is durable, or only when it has succeeded."),
    ] = "enqueue",
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=1000, help="Messages at work at once.")
    ] = 10,
    visibility: Annotated[
        int | None,
        typer.Option(
            "--visibility", min=1, max=43_200, help="Visibility timeout in seconds; the queue's own by default."
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Hand the jobs in to this queue.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=0, max=10, help="Of jobs whose message has no attribute `priority`.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="To find the jobs by; repeatable.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="AWS region; by default the one in the URL.")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", metavar="URL", help="Another address of SQS, such as LocalStack's.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a job of each message of an SQS queue, until SIGTERM or Ctrl-C. Credentials are found as AWS's tools do.

    Messages that are refused, and with `--mode wait` those whose job failed, are left to SQS: its redrive policy decides.
    """
    desk = ApiDesk(client_for(url, api_key, quiet=True))
    desk.check(agent)
    draft = SqsDraft(agent=agent, queue=queue, priority=priority, tags=tuple(tag or ()))
    source = SqsQueue(queue_url, draft, region=region, endpoint_url=endpoint_url, visibility_s=visibility)
    if not source.has_dead_letters:
        note(f"Warning: {source.name} has no redrive policy; a message that is refused comes again until it expires.")
    bridge = Bridge(source, desk, mode=mode, concurrency=concurrency, visibility_s=source.visibility_s, say=note)

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # said twice, this means: at once
        bridge.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    note(f"Messages of {source.name} become jobs of {agent} on {desk.url}. Ctrl-C stops it.")
    try:
        tally = bridge.run()
    except ShutOutError as error:
        raise Failure(
            f"The bridge ended: {error}",
            "Mend that and start it again; what was held has been given back.",
            code="shut_out",
        ) from None
    finally:
        source.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if as_json:
        show_json(tally)
    else:
        note(", ".join(f"{count} {name}" for name, count in msgspec.to_builtins(tally).items()))


class ApiDesk:
    """Jobs handed in over HTTP, from wherever the bridge runs."""

    def __init__(self, client: Client) -> None:
        """Asks `client`."""
        self.url = client.url
        self._client = client
        self._api = JobsApi(client)

    def check(self, agent: str) -> None:
        """Raise `Failure` if jobs of this agent will not be taken: better than leaving all messages to SQS."""
        self._client.ask("GET", f"/v1/agents/{segment(agent)}")

    def submit(self, request: dict[str, Any], *, key: str) -> Submitted:
        """`POST /v1/jobs`."""
        try:
            job = self._api.submit(request, idempotency_key=f"sqs:{key}")
        except Failure as failure:
            raise _as_bridge(failure) from None
        return Submitted(str(job["id"]), job["status"])

    def wait(self, job_id: str, *, seconds: float) -> JobState:
        """`GET /v1/jobs/{id}?wait=…`."""
        try:
            status: JobState = self._api.job(job_id, wait_s=seconds)["status"]
        except Failure as failure:
            raise _as_bridge(failure) from None
        return status

    def retry(self, job_id: str) -> None:
        """`POST /v1/jobs/{id}/retry`."""
        try:
            self._api.act(job_id, "retry", {})
        except Failure as failure:
            if failure.details.get("http_status") != _CONFLICT:  # somebody else has had it run again already
                raise _as_bridge(failure) from None


def _as_bridge(failure: Failure) -> Exception:
    """What a failure means to a bridge."""
    status = int(failure.details.get("http_status", 0))
    said = f"{failure.message} ({failure.code})"
    if status in {_UNAUTHENTICATED, _FORBIDDEN}:
        return ShutOutError(f"{said} {failure.hint}")
    if failure.status is Exit.USAGE:
        return RefusedError(said)
    if failure.code in _PASSING or status in {_TIMEOUT, _TOO_MANY} or status >= _SERVER_ERRORS:
        return TryAgainError(said)
    return RefusedError(said)
