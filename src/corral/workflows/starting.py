"""The house's own job that starts a workflow: what schedules and topics enqueue, so that a start is not lost and not done twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from corral.jobs.request import check_fields, fault
from corral.jobs.running import Outcome, RunningJob
from corral.workflows.execution import ExecutionInfo
from corral.workflows.machine.run import Behalf

WORKFLOW_MAX = 400

Begin: TypeAlias = Callable[..., Awaitable[ExecutionInfo]]
"""`begin(tenant, workflow, input, *, name, traceparent, behalf)`: starts an execution of that name, once. Raises `NotFound`."""


class StartWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input of the job."""

    workflow: Annotated[str, Meta(min_length=1, max_length=WORKFLOW_MAX)]
    input: Any = msgspec.field(default_factory=dict)


class Starter:
    """Does such jobs. The execution is named by its job, so that one whose worker died starts nothing more."""

    def __init__(self, begin: Begin) -> None:
        """`begin` knows the workflows."""
        self._begin = begin

    @staticmethod
    def check(value: Any) -> StartWanted:
        """What the job is to start. Raises `ValidationFailed`."""
        return start_wanted(value)

    async def run(self, job: RunningJob) -> Outcome:
        """Start it. The result names the execution; its end is its own affair."""
        claimed = job.claimed
        wanted = start_wanted(msgspec.json.decode(claimed.input))
        info = await self._begin(
            claimed.tenant,
            wanted.workflow,
            wanted.input,
            name=claimed.id,
            traceparent=claimed.traceparent,
            behalf=Behalf(user_id=claimed.user_id or "", tier=claimed.tier, roles=claimed.roles, scope=claimed.scope),
        )
        return Outcome(msgspec.json.encode({"execution": info.id, "arn": info.arn}))


def start_wanted(value: Any) -> StartWanted:
    """A start as it stands in a job. Raises `ValidationFailed`."""
    given = check_fields(value, StartWanted.__struct_fields__)
    try:
        return msgspec.convert(given, StartWanted)
    except msgspec.ValidationError:
        raise fault("/workflow", f"`workflow` is the name of a workflow: 1 to {WORKFLOW_MAX} characters.") from None
