"""Rows of map runs and of buckets, as both engines write and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corral.backends.encoding import check_id
from corral.workflows.bucket_store import StoredObject
from corral.workflows.map_run_store import Child, Counts, MapRun

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_run(run: MapRun) -> None:
    """Refuse ids that an engine could not keep."""
    check_id("tenant", run.tenant)
    check_id("id", run.id)
    check_id("ARN", run.arn)
    check_id("execution", run.execution_id)


def new_row(run: MapRun) -> tuple[Any, ...]:
    """A map run that begins, in the order of the query `begin`."""
    return (
        run.tenant,
        run.id,
        run.arn,
        run.execution_id,
        run.phase,
        run.status,
        run.max_concurrency,
        run.tolerated_count,
        run.tolerated_percentage,
        run.started_at,
        run.look_at,
    )


def run_of(row: Sequence[Any]) -> MapRun:
    """A map run, from the columns that the queries name in the same order everywhere."""
    return MapRun(
        tenant=row[0],
        id=row[1],
        arn=row[2],
        execution_id=row[3],
        phase=row[4],
        status=row[5],
        max_concurrency=row[6],
        tolerated_count=row[7],
        tolerated_percentage=row[8],
        total=row[9],
        items_total=row[10],
        next_index=row[11],
        running=row[12],
        again=row[13],
        children=Counts(succeeded=row[14], failed=row[15], timed_out=row[16], aborted=row[17]),
        items=Counts(succeeded=row[18], failed=row[19], timed_out=row[20], aborted=row[21]),
        error=row[22],
        cause=row[23],
        started_at=row[24],
        stopped_at=row[25],
        redrives=row[26],
        redriven_at=row[27],
        look_at=row[28],
        work=bytes(row[29]),
    )


def child_of(row: Sequence[Any]) -> Child:
    """A child."""
    return Child(
        index=row[0],
        state=row[1],
        attempt=row[2],
        items=row[3],
        changed_at=row[4],
        record=None if row[5] is None else bytes(row[5]),
    )


def words(text: str) -> str:
    """An error or a cause as every engine can keep it: without NUL and half surrogate pairs."""
    return text.replace("\0", "\\0").encode(errors="replace").decode()


def object_row(tenant: str, one: StoredObject) -> tuple[Any, ...]:
    """An object that is to be kept, in the order of the query `put`."""
    check_id("tenant", tenant)
    check_id("bucket", one.bucket)
    check_id("key", one.key)
    return (
        tenant,
        one.bucket,
        one.key,
        one.body,
        one.size,
        one.pieces,
        one.etag,
        words(one.content_type),
        one.modified_at,
    )


def object_of(row: Sequence[Any]) -> StoredObject:
    """An object."""
    return StoredObject(
        bucket=row[0],
        key=row[1],
        body=row[2],
        size=row[3],
        pieces=row[4],
        etag=row[5],
        content_type=row[6],
        modified_at=row[7],
    )
