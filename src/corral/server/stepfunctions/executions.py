"""Executions: begin, look, stop, redrive."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from corral.errors import CursorNotFound, ValidationFailed
from corral.server.agentcore.once import Once
from corral.server.counted import NOT_COUNTED, Counted
from corral.server.stepfunctions.dialect import ExecutionInputInvalid
from corral.server.stepfunctions.history import shown_event
from corral.server.stepfunctions.operations import Asked, Work, page_size, paged, without_nothing
from corral.server.stepfunctions.shown import Describe, described_setup
from corral.workflows.arns import is_name, parse
from corral.workflows.catalog import Catalog
from corral.workflows.engine import Engine
from corral.workflows.execution import UNSET, ExecutionInfo, StartRequest
from corral.workflows.failing import DATA_MAX_BYTES
from corral.workflows.machine.run import Behalf, Kind
from corral.workflows.refusals import KindRefused, NameInvalid, StateMachineDeleting
from corral.workflows.state_machine import Setup
from corral.workflows.store import ExecutionQuery, NotRedrivable

_BILLED_MS = 100
_BILLED_MB = 64


class Executions:
    """Executions of state machines."""

    def __init__(
        self, engine: Engine, catalog: Catalog, describe: Describe, once: Once, counted: Counted = NOT_COUNTED
    ) -> None:
        """`engine` carries them on, `catalog` knows what they begin with, `once` what was asked before.

        Those that begin are `counted`.
        """
        self._counted = counted
        self._engine = engine
        self._catalog = catalog
        self._describe = describe
        self._once = once

    def operations(self) -> dict[str, Work]:
        """All of them."""
        return {
            "StartExecution": self.start,
            "StartSyncExecution": self.start_sync,
            "StopExecution": self.stop,
            "RedriveExecution": self.redrive,
            "DescribeExecution": self.show,
            "DescribeStateMachineForExecution": self.machine,
            "ListExecutions": self.listed,
            "GetExecutionHistory": self.history,
        }

    async def start(self, asked: Asked) -> dict[str, Any]:
        """Begin one."""
        request = await self._request(asked)
        async with self._counted(asked.request) as counting:
            info = await self._engine.start(request)
            if not info.is_new:
                counting.undo()
        return {"executionArn": info.arn, "startDate": info.started_at}

    async def start_sync(self, asked: Asked) -> dict[str, Any]:
        """Run an express one from start to end."""
        request = await self._request(asked, only="EXPRESS")
        async with self._counted(asked.request):
            result = await self._engine.start_sync(request)
        info = result.info
        took_ms = ((info.stopped_at or info.started_at) - info.started_at) * 1000
        billed_ms = max(_BILLED_MS, math.ceil(took_ms / _BILLED_MS) * _BILLED_MS)
        return {
            **_shown(info),
            **_data(asked, info),
            "billingDetails": {"billedDurationInMilliseconds": billed_ms, "billedMemoryUsedInMB": _BILLED_MB},
        }

    async def _request(self, asked: Asked, only: Kind | None = None) -> StartRequest:
        body = asked.body
        found = await self._catalog.resolve(asked.tenant, body["stateMachineArn"])
        if only is not None and found.setup.kind != only:
            raise KindRefused
        if found.is_deleting:
            raise StateMachineDeleting.of(body["stateMachineArn"])
        name, context = body.get("name", ""), asked.request.context
        if name and not is_name(name):
            raise NameInvalid.of(name)
        return StartRequest(
            tenant=asked.tenant,
            machine_arn=found.machine_arn,
            machine_name=found.name,
            digest=found.setup.digest,
            kind=found.setup.kind,
            name=name,
            input=_input(body.get("input", "{}")),
            version_arn=found.version_arn,
            alias_arn=found.alias_arn,
            role_arn=found.setup.role_arn,
            traceparent=asked.traceparent,
            behalf=Behalf.of(context),
        )

    async def stop(self, asked: Asked) -> dict[str, Any]:
        """End one now."""
        info = await self._named(asked)
        stopped = await self._engine.stop(
            asked.tenant, info.id, error=asked.body.get("error"), cause=asked.body.get("cause")
        )
        return {"stopDate": stopped.stopped_at}

    async def redrive(self, asked: Asked) -> dict[str, Any]:
        """Have one go on from where it failed: once, however often a request comes."""
        return await self._once(asked.tenant, "RedriveExecution", asked.body, lambda: self._redrive(asked))  # type: ignore[no-any-return]  # JSON, as it was made

    async def _redrive(self, asked: Asked) -> dict[str, Any]:
        info = await self._named(asked)
        status, reason = _redrive_status(info)
        if status != "REDRIVABLE":
            raise NotRedrivable(reason)
        redriven = await self._engine.redrive(asked.tenant, info.id)
        return {"redriveDate": redriven.redriven_at}

    async def show(self, asked: Asked) -> dict[str, Any]:
        """One of them."""
        info = await self._named(asked)
        status, reason = _redrive_status(info)
        return without_nothing(
            {
                **_shown(info),
                **_data(asked, info),
                **_belonging(info),
                "redriveCount": info.redrives,
                "redriveDate": info.redriven_at,
                "redriveStatus": status,
                "redriveStatusReason": reason or None,
            }
        )

    async def _named(self, asked: Asked) -> ExecutionInfo:
        arn = asked.body["executionArn"]
        parse(arn, "execution")
        return await self._engine.describe(asked.tenant, arn)

    async def machine(self, asked: Asked) -> dict[str, Any]:
        """What one of them began with: its definition never changes, its configurations are those of now."""
        info = await self._named(asked)
        machine = await self._catalog.get(asked.tenant, info.machine_name.partition("/")[0])
        setup, revision, updated_at = Setup(digest=info.digest), "", info.started_at
        if machine is not None:
            setup, updated_at = machine.setup, machine.updated_at
            revision = machine.revision_id if machine.setup.digest == info.digest else ""
        if machine is not None and info.version_arn:
            number = parse(info.version_arn, "stateMachine").version or 0
            version = await self._catalog.version(asked.tenant, machine, number)
            if version is not None:
                setup, revision, updated_at = version.setup, version.revision_id, version.created_at
        whole = info.digest.partition("#")[0]  # a child of a distributed Map runs a part of its parent's definition
        setup = msgspec.structs.replace(setup, digest=whole, role_arn=info.role_arn)
        _, _, label = info.machine_arn.rpartition(":")[2].partition("/")
        return {
            "stateMachineArn": info.version_arn or info.machine_arn,
            "name": info.machine_name,
            "updateDate": updated_at,
            **described_setup(setup),
            **({"revisionId": revision} if revision else {}),
            **({"label": label} if label else {}),
            **({"mapRunArn": info.map_run_arn} if info.map_run_arn else {}),
            **await self._describe(asked, setup),
        }

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """Those of a machine, a version, an alias or a map run, the latest first."""
        body = asked.body
        arn, run = body.get("stateMachineArn", ""), body.get("mapRunArn")
        if bool(arn) == (run is not None):
            raise ValidationFailed("Exactly one of stateMachineArn and mapRunArn must be specified")
        machine_arn = version_arn = alias_arn = None
        if run is not None:
            parse(run, "mapRun")
        else:
            machine = await self._catalog.named(asked.tenant, arn)
            if machine.setup.kind == "EXPRESS":
                raise KindRefused
            named = parse(arn, "stateMachine")
            machine_arn = named.unqualified
            version_arn = arn if named.version is not None else None
            alias_arn = arn if named.alias else None
        redriven = body.get("redriveFilter")
        page = await self._engine.find(
            asked.tenant,
            ExecutionQuery(
                machine_arn=machine_arn,
                version_arn=version_arn,
                alias_arn=alias_arn,
                map_run_arn=run,
                statuses=(body["statusFilter"],) if "statusFilter" in body else (),
                redriven=None if redriven is None else redriven == "REDRIVEN",
                limit=page_size(asked),
                cursor=body.get("nextToken"),
            ),
        )
        return paged({"executions": [_line(info) for info in page.items]}, page.next_cursor)

    async def history(self, asked: Asked) -> dict[str, Any]:
        """What happened in one of them."""
        body = asked.body
        parse(body["executionArn"], "execution")
        token = body.get("nextToken")
        if token is not None and not (token.isascii() and token.isdigit() and len(token) < 10):  # noqa: PLR2004 - ours are numbers of events
            raise CursorNotFound
        page = await self._engine.history(
            asked.tenant,
            body["executionArn"],
            after=None if token is None else int(token),
            limit=page_size(asked),
            reverse=bool(body.get("reverseOrder", False)),
        )
        with_data = body.get("includeExecutionData", True)
        events = [shown_event(event, with_data=with_data) for event in page.events]
        return paged({"events": events}, None if page.next is None else str(page.next))


def _input(text: str) -> Any:
    if len(text.encode(errors="replace")) > DATA_MAX_BYTES:
        raise ExecutionInputInvalid(f"Invalid State Machine Execution Input: 'it has more than {DATA_MAX_BYTES} bytes'")
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExecutionInputInvalid(f"Invalid State Machine Execution Input: '{error}'") from None
        raise ExecutionInputInvalid("Invalid State Machine Execution Input: 'a number is too large'") from None


def text_of(value: Any) -> str:
    """JSON as text."""
    return msgspec.json.encode(value).decode()


def _shown(info: ExecutionInfo) -> dict[str, Any]:
    return without_nothing(
        {
            "executionArn": info.arn,
            "stateMachineArn": info.machine_arn,
            "name": info.name,
            "status": info.status,
            "startDate": info.started_at,
            "stopDate": info.stopped_at,
            "error": info.error,
            "cause": info.cause,
        }
    )


def _data(asked: Asked, info: ExecutionInfo) -> dict[str, Any]:
    """Input and output, unless only metadata is asked for."""
    included = asked.body.get("includedData") != "METADATA_ONLY"
    shown: dict[str, Any] = {"inputDetails": {"included": included}}
    if included:
        shown["input"] = text_of(info.input)
    if info.output is not UNSET:
        shown["outputDetails"] = {"included": included}
        if included:
            shown["output"] = text_of(info.output)
    return shown


def _belonging(info: ExecutionInfo) -> dict[str, Any]:
    return {
        "stateMachineVersionArn": info.version_arn or None,
        "stateMachineAliasArn": info.alias_arn or None,
        "mapRunArn": info.map_run_arn or None,
    }


def _line(info: ExecutionInfo) -> dict[str, Any]:
    shown = {**_shown(info), **_belonging(info), "redriveCount": info.redrives, "redriveDate": info.redriven_at}
    return without_nothing({key: value for key, value in shown.items() if key not in {"error", "cause"}})


def _redrive_status(info: ExecutionInfo) -> tuple[str, str]:
    """Whether it can go on from where it failed, and why not."""
    if info.status in {"FAILED", "TIMED_OUT", "ABORTED"}:
        if info.map_run_arn:
            return "REDRIVABLE_BY_MAP_RUN", "Execution is started by a Map Run and is redriven with it"
        return "REDRIVABLE", ""
    return "NOT_REDRIVABLE", f"Execution is {info.status} and cannot be redriven"
