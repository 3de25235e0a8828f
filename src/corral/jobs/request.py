"""A job as people ask for it: checked field by field, before anything is kept."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from corral.errors import PayloadTooLarge, ValidationFailed
from corral.jobs.job import PRIORITY_MAX

TAGS_MAX = 32
SECONDS_MAX = 1e9
"""About thirty years: no longer than clocks and databases can count."""
MOMENT_MAX = 32_503_680_000
"""The year 3000."""

NAME_PATTERN = "^[A-Za-z0-9_.:-]{1,100}$"
"""What queues look like: they are labels of metrics and words on a command line."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]
Seconds = Annotated[float, Meta(gt=0, le=SECONDS_MAX)]
Pause = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]


class AskedBackoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pauses between attempts, where a job brings its own; what is left out is as the settings say."""

    initial_s: Pause | None = None
    factor: Annotated[float, Meta(ge=1, le=100)] | None = None
    max_s: Seconds | None = None
    jitter: Annotated[float, Meta(ge=0, le=1)] | None = None


class AskedCallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to tell when the job has ended."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    headers: dict[str, str] | None = None


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs`. What is null is as if it were left out."""

    agent: Text
    input: Any = None
    version: Text | None = None
    session_id: Text | None = None
    user_id: Text | None = None
    queue: Text | None = None
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] | None = None
    fairness_key: Text | None = None
    weight: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    concurrency_key: Text | None = None
    concurrency_limit: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    run_at: float | str | None = None
    delay_s: Pause | None = None
    deadline_s: Seconds | None = None
    timeout_s: Seconds | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    backoff: AskedBackoff | None = None
    tags: Annotated[list[Tag], Meta(max_length=TAGS_MAX)] | None = None
    callback: AskedCallback | None = None
    dedupe_s: Seconds | None = None


class BatchRequest(JobRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs/batches`: one job for each of the inputs, alike in all else."""

    inputs: Annotated[list[Any], Meta(min_length=1)]


_TEXTS = ("agent", "version", "session_id", "user_id", "fairness_key", "concurrency_key")
_WHOLE = ("priority", "concurrency_limit", "max_attempts")
_QUEUE = re.compile(NAME_PATTERN.strip("^$"))


def read_request(body: object) -> JobRequest:
    """The request, or `ValidationFailed` that says which field and why."""
    request: JobRequest = _checked(body, JobRequest)
    return request


def read_batch(body: object, *, batch_max: int) -> BatchRequest:
    """The request for many, or `ValidationFailed`."""
    request: BatchRequest = _checked(body, BatchRequest)
    if isinstance(body, Mapping) and "input" in body:
        raise fault("/input", "Give `input` for one job or `inputs` for many, not both.")
    if len(request.inputs) > batch_max:
        raise fault(
            "/inputs", f"{len(request.inputs)} inputs; at most {batch_max} (`jobs.batch_max`): send them in parts."
        )
    return request


def moment(value: float | str, pointer: str) -> float:
    """A time in seconds since 1970, also from a text such as `2026-11-21T09:00:00Z`."""
    name = pointer.rpartition("/")[2]
    if isinstance(value, str):
        try:
            said = datetime.fromisoformat(value)
        except ValueError:
            said = None
        if said is None or said.tzinfo is None:
            raise fault(
                pointer, f"`{name}` is seconds since 1970, or a text such as `2026-11-21T09:00:00Z` with its zone."
            )
        try:
            value = said.timestamp()
        except (OverflowError, ValueError):
            value = math.inf
    if not 0 <= value <= MOMENT_MAX:
        raise fault(pointer, f"`{name}` is a time in seconds since 1970, up to the year 3000.")
    return float(value)


def is_queue(name: str) -> bool:
    """Whether a queue can have this name."""
    return _QUEUE.fullmatch(name) is not None


def fault(pointer: str, message: str) -> ValidationFailed:
    """One fault of a body, and where it is."""
    return ValidationFailed(message, errors=[{"pointer": pointer, "message": message}])


def input_too_large(limit: int) -> str:
    """What to do about an input that is larger than inputs may be."""
    return (
        f"An input has at most {limit} bytes (`jobs.input_max_bytes`): put it in an object store and hand in its address, "
        "or raise the setting."
    )


def check_input_size(size: int, limit: int, pointer: str = "/input") -> None:
    """Raise `PayloadTooLarge` for an input that is larger than inputs may be."""
    if size > limit:
        message = f"{pointer} has {size} bytes. {input_too_large(limit)}"
        raise PayloadTooLarge(message, errors=[{"pointer": pointer, "message": message}])


def check_fields(body: object, known: Iterable[str], pointer: str = "") -> dict[str, Any]:
    """The body as an object of known fields only; an unknown one is answered with the nearest that there is."""
    if not isinstance(body, dict):
        raise ValidationFailed("The body must be a JSON object.")
    known = sorted(known)
    for name in body:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise fault(f"{pointer}/{name}"[:200], f"{str(name)[:100]!r} is not known; {hint}")
    return body


def _checked(body: object, kind: type[Any]) -> Any:
    try:
        request = msgspec.convert(_whole(body), kind)
    except msgspec.ValidationError as error:
        raise _explained(body, kind, str(error)) from None
    for name in _TEXTS:
        text = getattr(request, name)
        if text is not None and not text.isprintable() and _CONTROL.search(text):
            raise fault(f"/{name}", f"`{name}` has a control character: {text[:100]!r}.")
    for at, tag in enumerate(request.tags or ()):
        if not tag.isprintable() and _CONTROL.search(tag):
            raise fault(f"/tags/{at}", f"A tag has a control character: {tag!r}.")
    if request.run_at is not None and request.delay_s:
        raise fault("/delay_s", "Give `run_at` or `delay_s`, not both: each says when it begins.")
    if request.concurrency_limit is not None and request.concurrency_key is None:
        raise fault(
            "/concurrency_limit",
            "`concurrency_limit` needs a `concurrency_key`: it says how many jobs of that key run at once.",
        )
    if request.queue is not None and not is_queue(request.queue):
        raise fault("/queue", "A queue has letters, digits, '_', '.', ':' and '-', at most 100 of them.")
    return request


def _whole(body: object) -> object:
    """The body with `5.0` as the whole number that it is to JSON."""
    if isinstance(body, dict):
        for name in _WHOLE:
            value = body.get(name)
            if isinstance(value, float) and value.is_integer():
                body = {**body, name: int(value)}
    return body


def _explained(body: object, kind: type[Any], message: str) -> ValidationFailed:
    """What is wrong, in our words where msgspec stops at a name."""
    try:
        given = check_fields(body, kind.__struct_fields__)
        for name, part in (("backoff", AskedBackoff), ("callback", AskedCallback)):
            if isinstance(given.get(name), dict):
                check_fields(given[name], part.__struct_fields__, f"/{name}")
    except ValidationFailed as error:
        return error
    said, _, where = message.partition(" - at `$")
    if "missing required field" in said:
        return fault(f"{_pointer(where)}/{said.split('`')[1]}", "This field is required.")
    pointer = _pointer(where)
    return ValidationFailed(f"{pointer or 'The body'}: {said}.", errors=[{"pointer": pointer, "message": f"{said}."}])


def _pointer(where: str) -> str:
    return where.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
