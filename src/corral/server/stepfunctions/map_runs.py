"""Runs of distributed Maps."""

from __future__ import annotations

from typing import Any

from corral.server.stepfunctions.machines import sliced
from corral.server.stepfunctions.operations import Asked, Work, without_nothing
from corral.workflows.arns import parse
from corral.workflows.distributed.desk import MapRunDesk, MapRunInfo, Tally
from corral.workflows.engine import Engine


class MapRuns:
    """List, describe and change."""

    def __init__(self, desk: MapRunDesk, engine: Engine) -> None:
        """`engine` finds the executions that map runs belong to."""
        self._desk = desk
        self._engine = engine

    def operations(self) -> dict[str, Work]:
        """All of them."""
        return {"ListMapRuns": self.listed, "DescribeMapRun": self.show, "UpdateMapRun": self.update}

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """Those of an execution, the latest first."""
        arn = asked.body["executionArn"]
        parse(arn, "execution")
        info = await self._engine.describe(asked.tenant, arn)
        runs = await self._desk.of_execution(asked.tenant, info.id)
        return sliced(asked, "mapRuns", [_line(run) for run in runs])

    async def show(self, asked: Asked) -> dict[str, Any]:
        """One of them."""
        parse(asked.body["mapRunArn"], "mapRun")
        run = await self._desk.describe(asked.tenant, asked.body["mapRunArn"])
        line = {name: value for name, value in _line(run).items() if name != "stateMachineArn"}
        return without_nothing(
            {
                **line,
                "status": run.status,
                "maxConcurrency": run.max_concurrency,
                "toleratedFailurePercentage": run.tolerated_percentage,
                "toleratedFailureCount": run.tolerated_count,
                "itemCounts": _counts(run.items),
                "executionCounts": _counts(run.children),
                "redriveCount": run.redrives,
                "redriveDate": run.redriven_at,
            }
        )

    async def update(self, asked: Asked) -> dict[str, Any]:
        """Have one go on differently."""
        body = asked.body
        parse(body["mapRunArn"], "mapRun")
        await self._desk.update(
            asked.tenant,
            body["mapRunArn"],
            max_concurrency=body.get("maxConcurrency"),
            tolerated_count=body.get("toleratedFailureCount"),
            tolerated_percentage=body.get("toleratedFailurePercentage"),
        )
        return {}


def _line(run: MapRunInfo) -> dict[str, Any]:
    return without_nothing(
        {
            "executionArn": run.execution_arn,
            "mapRunArn": run.arn,
            "stateMachineArn": run.machine_arn,
            "startDate": run.started_at,
            "stopDate": run.stopped_at,
        }
    )


def _counts(tally: Tally) -> dict[str, int]:
    return {
        "pending": tally.pending,
        "running": tally.running,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "timedOut": tally.timed_out,
        "aborted": tally.aborted,
        "total": tally.total,
        "resultsWritten": tally.results_written,
        "failuresNotRedrivable": tally.not_redrivable,
        "pendingRedrive": tally.pending_redrive,
    }
