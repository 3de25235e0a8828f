"""`corral jobs submit`: hand in one job, or many at once, and wait for them if asked to."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import msgspec
import typer

from corral.cli.failure import Exit, Failure
from corral.cli.job_filter import duration
from corral.cli.job_input import read_input, read_lines, usage
from corral.cli.jobs_api import JobsApi, jobs_api
from corral.cli.jobs_follow import Follower, ending_failure, exit_of, follow_to_end
from corral.cli.options import Json, Key, Url
from corral.cli.output import note, show, show_json
from corral.cli.progress import ProgressBar
from corral.jobs.states import OPEN

_LOOK_S = 0.5
_IN_ONE_REQUEST = 10_000
_BYTES_IN_ONE_REQUEST = 4_194_304


def submit(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Which agent of the app.")],
    job_input: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="JSON, @file, or - for stdin; other words are sent as a prompt."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Print what it says, and end as the job ends.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Wait this many seconds at most; the job goes on.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=0, max=10, help="0 to 10, higher goes first; 5 by default.")
    ] = None,
    delay: Annotated[str | None, typer.Option("--delay", metavar="TIME", help="Not before: `90s`, `5m`, `2h`.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="In this queue.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="To find it by; repeatable.")] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="In this session.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="Handed in twice with it, it is one job.")
    ] = None,
    callback: Annotated[
        str | None, typer.Option("--callback", metavar="URL", help="Whom to tell how it ended.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="FILE", help="A job for each line of JSON in this file (- is stdin)."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Hand in a job and print its id. With --wait, print what it says until it ends; the exit status says how.

    0 when it succeeded, 1 when it failed, 5 when it was cancelled or discarded.
    """
    request: dict[str, Any] = {"agent": agent}
    given = {
        "priority": priority,
        "delay_s": None if delay is None else duration(delay),
        "queue": queue,
        "tags": tag or None,
        "session_id": session,
        "callback": None if callback is None else {"url": callback},
    }
    request |= {name: value for name, value in given.items() if value is not None}
    if batch is not None:
        if job_input is not None:
            raise usage("A batch takes its inputs from its file alone.", "Give INPUT or --batch.")
        batches = _hand_in(jobs_api(url, api_key), request, list(read_lines(batch)), idempotency_key)
        return _end_batches(jobs_api(url, api_key), batches, wait=wait, timeout=timeout, as_json=as_json)
    request["input"] = _input(job_input)
    api = jobs_api(url, api_key)
    job = api.submit(request, idempotency_key=idempotency_key)
    if not wait:
        _say(job, str(job["id"]), as_json=as_json)
        return Exit.OK
    return _wait(api, str(job["id"]), timeout=timeout, as_json=as_json)


def _input(text: str | None) -> Any:
    if text is None:
        if sys.stdin.isatty():
            raise usage("There is no input for the job.", "Give JSON, @file, - for stdin, or --batch FILE.")
        text = "-"
    return read_input(text)


def _wait(api: JobsApi, job_id: str, *, timeout: float | None, as_json: bool) -> int:
    try:
        follow_to_end(Follower(api, job_id, timeout_s=timeout), quiet=as_json)
    except KeyboardInterrupt:
        note(f"The job goes on: corral jobs tail {job_id}")
        raise
    job = api.job(job_id)
    if as_json:
        show_json(job)
    elif job["status"] != "succeeded":
        raise ending_failure(job)
    return exit_of(job)


def _hand_in(api: JobsApi, request: dict[str, Any], inputs: list[Any], key: str | None) -> list[dict[str, Any]]:
    """One batch, or as many as it takes where the inputs are more than a request may bring."""
    if not inputs:
        raise usage("The file holds no inputs.", "Each line is the input of one job.")
    bar, batches = ProgressBar(), []
    parts, handed_in = _parts(inputs), 0
    try:
        for number, part in enumerate(parts):
            bar.draw(number / len(parts), f"{handed_in} of {len(inputs)} handed in")
            own_key = f"{key}.{number}" if key is not None and len(parts) > 1 else key
            batches.append(api.submit_batch({**request, "inputs": part}, idempotency_key=own_key))
            handed_in += len(part)
    finally:
        bar.clear()
        if 0 < len(batches) < len(parts):
            note(f"Handed in were: {', '.join(str(batch['id']) for batch in batches)}")
    return batches


def _parts(inputs: list[Any]) -> list[list[Any]]:
    """The inputs in their order, in parts that a server takes with one request each."""
    parts: list[list[Any]] = [[]]
    size = 0
    for value in inputs:
        own = len(msgspec.json.encode(value)) + 1
        if parts[-1] and (len(parts[-1]) >= _IN_ONE_REQUEST or size + own > _BYTES_IN_ONE_REQUEST):
            parts.append([])
            size = 0
        parts[-1].append(value)
        size += own
    return parts


def _end_batches(
    api: JobsApi, batches: list[dict[str, Any]], *, wait: bool, timeout: float | None, as_json: bool
) -> int:
    ids, total = [str(batch["id"]) for batch in batches], sum(batch["total"] for batch in batches)
    if wait:
        batches = _wait_for_all(api, ids, total, timeout)
    counts = _counted(batches)
    if as_json:
        show_json({"batches": batches, "total": total, "counts": counts})
    else:
        for batch_id in ids:
            show(batch_id)
        if wait:
            note(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    if not wait or counts.get("succeeded", 0) == total:
        return Exit.OK
    return Exit.FAILED if counts.get("failed") else Exit.CANCELLED


def _wait_for_all(api: JobsApi, ids: list[str], total: int, timeout: float | None) -> list[dict[str, Any]]:
    bar, until = ProgressBar(), None if timeout is None else time.monotonic() + timeout
    try:
        while True:
            batches = [api.batch(batch_id) for batch_id in ids]
            counts = _counted(batches)
            ended = sum(count for state, count in counts.items() if state not in OPEN)
            bar.draw(ended / total, _progress(counts, ended, total))
            if ended >= total:
                return batches
            if until is not None and time.monotonic() >= until:
                raise Failure(
                    f"{total - ended} of {total} jobs have not ended within {timeout:g} s; they go on.",
                    f"`corral jobs list --batch {ids[0]}` shows them.",
                    code="timeout",
                )
            time.sleep(_LOOK_S if until is None else min(_LOOK_S, max(0.0, until - time.monotonic())))
    except KeyboardInterrupt:
        bar.clear()
        note(f"The jobs go on: corral jobs list --batch {ids[0]}")
        raise
    finally:
        bar.clear()


def _progress(counts: dict[str, int], ended: int, total: int) -> str:
    failed = f", {counts['failed']} failed" if counts.get("failed") else ""
    return f"{ended} of {total}{failed}, {counts.get('running', 0)} running"


def _counted(batches: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in batches:
        for state, count in (batch.get("counts") or {}).items():
            counts[state] = counts.get(state, 0) + count
    return counts


def _say(job: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(job)
    else:
        show(text)
