"""What children leave behind, and how a map run's result is made of it: in the state's output, or in files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import UNSET

from corral.clock import rfc3339
from corral.workflows.distributed.children import size_of
from corral.workflows.distributed.faults import ItemsFailed, ObjectFailed
from corral.workflows.distributed.place import Errand, Place, child_name
from corral.workflows.execution import ExecutionInfo
from corral.workflows.failing import DATA_LIMIT, DATA_MAX_BYTES, RESULT_WRITER, StateFailed
from corral.workflows.machine.distributed import Writer
from corral.workflows.map_run_store import Child, ChildOutcome, ChildState, MapRun

FILE_BYTES = 4 * 1024 * 1024
"""A file of results is closed when it has so many; one result more may make it larger."""
_PAGE = 100

_STATES: dict[str, ChildState] = {"SUCCEEDED": "succeeded", "FAILED": "failed", "TIMED_OUT": "timed_out"}


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a child that ended, whatever becomes of its execution."""

    arn: str
    status: str
    output: Any = None
    error: str | None = None
    cause: str | None = None
    started_at: float = 0.0
    stopped_at: float = 0.0
    redrives: int = 0


_decode = msgspec.json.Decoder(Record).decode


def outcome_of(info: ExecutionInfo, index: int, items: int, now: float) -> ChildOutcome:
    """The end of a child that has one."""
    record = Record(
        arn=info.arn,
        status=info.status,
        output=None if info.output is UNSET else info.output,
        error=info.error,
        cause=info.cause,
        started_at=info.started_at,
        stopped_at=now if info.stopped_at is None else info.stopped_at,
        redrives=info.redrives,
    )
    state = _STATES.get(info.status, "aborted")
    return ChildOutcome(index=index, state=state, items=items, record=msgspec.json.encode(record))


def aborted(arn: str, index: int, items: int, now: float) -> ChildOutcome:
    """The end of a child whose execution nobody knows."""
    record = Record(arn=arn, status="ABORTED", started_at=now, stopped_at=now)
    return ChildOutcome(index=index, state="aborted", items=items, record=msgspec.json.encode(record))


async def inline(place: Place, run: MapRun, errand: Errand) -> list[Any]:
    """The result as the state's output. Raises `StateFailed` where it is too large."""
    writer = errand.plan.writer or Writer()
    results: list[Any] = []
    size = 2
    async for child in _children(place, run):
        for one in await _transformed(place, run, errand, child, writer.transformation):
            size += size_of(one) + 1
            if size > DATA_MAX_BYTES + 1:
                raise StateFailed(
                    DATA_LIMIT,
                    f"The state/task '{errand.order.state}' returned a result with a size exceeding the maximum number of "
                    "bytes service limit.",
                )
            results.append(one)
    return results


async def exported(place: Place, run: MapRun, errand: Errand) -> dict[str, Any]:
    """Write the results to files, and tell where. Raises `StateFailed`."""
    writer = errand.plan.writer
    assert writer is not None  # noqa: S101 - asked for before
    try:
        files = _Files(place, run, writer)
        async for child in _children(place, run):
            group = "SUCCEEDED" if child.state == "succeeded" else "FAILED"
            for one in await _transformed(place, run, errand, child, writer.transformation):
                await files.add(group, one)
        async for index in _never_begun(place, run):
            await files.add("PENDING", await _pending(place, run, errand, index))
        return await files.close()
    except ObjectFailed as failure:
        raise StateFailed(RESULT_WRITER, str(failure)) from failure


class _Files:
    """The files of one map run's results."""

    def __init__(self, place: Place, run: MapRun, writer: Writer) -> None:
        self._objects, _ = place.shelves_of(run.tenant).of(writer.resource)
        bucket = writer.parameters.get("Bucket")
        if not isinstance(bucket, str) or not bucket:
            raise ObjectFailed("The ResultWriter's Bucket is missing.")
        prefix = str(writer.parameters.get("Prefix") or "").rstrip("/")
        self._bucket = bucket
        self._folder = f"{prefix}/{run.id}" if prefix else run.id
        self._lines = writer.output_type == "JSONL"
        self._arn = run.arn
        self._open: dict[str, list[bytes]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
        self._sizes = dict.fromkeys(self._open, 0)
        self._written: dict[str, list[dict[str, Any]]] = {group: [] for group in self._open}

    async def add(self, group: str, one: Any) -> None:
        """One result more."""
        body = msgspec.json.encode(one)
        self._open[group].append(body)
        self._sizes[group] += len(body) + 1
        if self._sizes[group] >= FILE_BYTES:
            await self._flush(group)

    async def close(self) -> dict[str, Any]:
        """Write the rest and the manifest."""
        for group in self._open:
            if self._open[group]:
                await self._flush(group)
        key = f"{self._folder}/manifest.json"
        manifest = {"DestinationBucket": self._bucket, "MapRunArn": self._arn, "ResultFiles": self._written}
        await self._objects.write(self._bucket, key, msgspec.json.encode(manifest), content_type="application/json")
        return {"MapRunArn": self._arn, "ResultWriterDetails": {"Bucket": self._bucket, "Key": key}}

    async def _flush(self, group: str) -> None:
        parts, self._open[group], self._sizes[group] = self._open[group], [], 0
        body = b"\n".join(parts) + b"\n" if self._lines else b"[" + b",".join(parts) + b"]"
        key = f"{self._folder}/{group}_{len(self._written[group])}.{'jsonl' if self._lines else 'json'}"
        await self._objects.write(self._bucket, key, body, content_type="application/json")
        self._written[group].append({"Key": key, "Size": len(body)})


async def _children(place: Place, run: MapRun) -> AsyncIterator[Child]:
    """All that ended, by number."""
    after = -1
    while page := await place.store.children(run.tenant, run.id, after=after, limit=_PAGE):
        after = page[-1].index
        for child in page:
            if child.record is not None:
                yield child


async def _never_begun(place: Place, run: MapRun) -> AsyncIterator[int]:
    after = -1
    while page := await place.store.children(run.tenant, run.id, states=("again",), after=after, limit=_PAGE):
        after = page[-1].index
        for child in page:
            yield child.index
    for index in range(run.next_index, run.total):
        yield index


async def _transformed(place: Place, run: MapRun, errand: Errand, child: Child, how: str) -> list[Any]:
    """What a child adds to the results. One that did not succeed is told of in full, whatever was asked for."""
    assert child.record is not None  # noqa: S101 - it ended
    record = _decode(child.record)
    if how == "NONE" or child.state != "succeeded":
        return [await _told(place, run, errand, child.index, record)]
    if how == "FLATTEN" and isinstance(record.output, list):
        return record.output
    return [record.output]


async def _told(place: Place, run: MapRun, errand: Errand, index: int, record: Record) -> dict[str, Any]:
    """A child in full."""
    told: dict[str, Any] = {
        "ExecutionArn": record.arn,
        **await _input(place, run, index),
        "Name": record.arn.rpartition(":")[2] if ":express:" not in record.arn else record.arn.split(":")[-2],
        "RedriveCount": record.redrives,
        "RedriveStatus": "NOT_REDRIVABLE" if record.status == "SUCCEEDED" else "REDRIVABLE_BY_MAP_RUN",
        "StartDate": rfc3339(record.started_at),
        "StateMachineArn": errand.machine_arn,
        "Status": record.status,
        "StopDate": rfc3339(record.stopped_at),
    }
    if record.status == "SUCCEEDED":
        told["Output"] = msgspec.json.encode(record.output).decode()
        told["OutputDetails"] = {"Included": True}
        told["RedriveStatusReason"] = "Execution is SUCCEEDED and cannot be redriven"
    if record.error is not None:
        told["Error"] = record.error
    if record.cause is not None:
        told["Cause"] = record.cause
    return told


async def _pending(place: Place, run: MapRun, errand: Errand, index: int) -> dict[str, Any]:
    """A child that never began."""
    name = child_name(run.id, index)
    return {
        "ExecutionArn": f"{errand.machine_arn.replace(':stateMachine:', ':execution:', 1)}:{name}",
        **await _input(place, run, index),
        "Name": name,
        "StateMachineArn": errand.machine_arn,
        "Status": "PENDING",
    }


async def _input(place: Place, run: MapRun, index: int) -> dict[str, Any]:
    """What a child began with, unless somebody removed it."""
    try:
        child = await place.chunks(run).read(index)
    except ItemsFailed:
        return {"InputDetails": {"Included": False}}
    return {"Input": msgspec.json.encode(child.input).decode(), "InputDetails": {"Included": True}}
