"""What everything about a map run needs: where it is kept, who runs children, where objects are, and what time it is."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from corral.clock import Clock
from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.distributed.children import Chunks, Keep
from corral.workflows.distributed.objects import Shelves
from corral.workflows.execution import ExecutionInfo, StartRequest, SyncResult, Work
from corral.workflows.machine.distributed import MapPlan, plan_from
from corral.workflows.machine.happening import Message
from corral.workflows.machine.order import StartMapRun
from corral.workflows.machines import part_of
from corral.workflows.map_run_store import MapRun, MapRunStore


class Host(Protocol):
    """Where executions are: the engine."""

    async def start(self, request: StartRequest) -> ExecutionInfo:
        """Begin an execution."""
        ...

    async def start_sync(self, request: StartRequest) -> SyncResult:
        """An express execution from start to end."""
        ...

    async def describe(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """One execution, by its id or its ARN. Raises `ExecutionNotFound`."""
        ...

    async def stop(
        self, tenant: str, execution_id: str, *, error: str | None = None, cause: str | None = None
    ) -> ExecutionInfo:
        """End an execution now."""
        ...

    async def redrive(self, tenant: str, execution_id: str) -> ExecutionInfo:
        """Have an execution that failed go on. Raises `NotRedrivable`."""
        ...

    async def tell(self, tenant: str, execution_id: str, message: Message) -> bool:
        """Tell an execution what happened. Raises `ExecutionNotFound`."""
        ...

    async def work(self, tenant: str, token: str) -> Work | None:
        """What a task asks for; none: nobody waits for it any more."""
        ...


_CHUNKS_MAX = 8
"""Map runs of which a chunk is at hand."""


class Place:
    """All of that. The host comes later, because it knows us as well."""

    def __init__(
        self,
        store: MapRunStore,
        keep: Keep,
        *,
        shelves_of: Callable[[str], Shelves],
        settings: WorkflowSettings,
        clock: Clock,
        new_token: Callable[[], str],
    ) -> None:
        """`shelves_of` gives a tenant's objects; `new_token` makes what nobody else holds."""
        self.store = store
        self.keep = keep
        self.shelves_of = shelves_of
        self.settings = settings
        self.now = clock.now
        self.new_token = new_token
        self._host: Host | None = None
        self._chunks: OrderedDict[tuple[str, str], Chunks] = OrderedDict()

    @property
    def host(self) -> Host:
        """Where executions are."""
        if self._host is None:
            raise RuntimeError("Map runs were used before the engine they belong to: call attach() first.")
        return self._host

    def attach(self, host: Host) -> None:
        """From now on children begin there."""
        self._host = host

    def chunks(self, run: MapRun) -> Chunks:
        """The inputs of a map run's children; what was read of them last is at hand."""
        key = (run.tenant, run.id)
        known = self._chunks.get(key)
        if known is None:
            known = self._chunks[key] = Chunks(self.keep, *key)
            if len(self._chunks) > _CHUNKS_MAX:
                self._chunks.popitem(last=False)
        else:
            self._chunks.move_to_end(key)
        return known

    def fresh_chunks(self, run: MapRun) -> Chunks:
        """The same, about to be written."""
        self._chunks.pop((run.tenant, run.id), None)
        return Chunks(self.keep, run.tenant, run.id)


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """A map run's work, read."""

    work: Work
    order: StartMapRun
    plan: MapPlan
    machine_arn: str
    """Of the children: the parent's and the label."""
    machine_name: str
    digest: str
    """Of the children's definition: the parent's, and which part of it."""


_decoder = msgspec.json.Decoder(tuple[Work, str])


def write_errand(work: Work, digest: str) -> bytes:
    """A map run's work as it is kept; `digest` is the parent's definition."""
    return msgspec.json.encode((work, digest))


def errand_of(run: MapRun) -> Errand:
    """A map run's work."""
    work, digest = _decoder.decode(run.work)
    order = work.order
    assert isinstance(order, StartMapRun)  # noqa: S101 - nothing else is kept as a map run's work
    plan = plan_from(order.spec)
    return Errand(
        work=work,
        order=order,
        plan=plan,
        machine_arn=f"{work.facts.machine_arn}/{plan.label}",
        machine_name=f"{work.facts.machine_name}/{plan.label}",
        digest=part_of(digest, plan.body),
    )


_NUMBER_BYTES = 5


def run_id_of(arn: str) -> str:
    """The id of a map run, in its ARN."""
    return arn.rpartition(":")[2]


def child_name(run_id: str, index: int) -> str:
    """The name of a child: it looks like any other, and says which child it is."""
    head = uuid.uuid5(uuid.NAMESPACE_URL, run_id).bytes[: 16 - _NUMBER_BYTES]
    return str(uuid.UUID(bytes=head + index.to_bytes(_NUMBER_BYTES, "big")))


def index_of(run_id: str, name: str) -> int | None:
    """Which child this is; none: it is none of this run."""
    try:
        found = uuid.UUID(name).bytes
    except ValueError:
        return None
    index = int.from_bytes(found[16 - _NUMBER_BYTES :], "big")
    return index if child_name(run_id, index) == name else None


def child_request(errand: Errand, run: MapRun, index: int, given: Any, context: dict[str, Any]) -> StartRequest:
    """What a child begins with."""
    facts = errand.work.facts
    return StartRequest(
        tenant=run.tenant,
        machine_arn=errand.machine_arn,
        machine_name=errand.machine_name,
        digest=errand.digest,
        kind="EXPRESS" if errand.plan.execution_type == "EXPRESS" else "STANDARD",
        name=child_name(run.id, index),
        input=given,
        role_arn=facts.role_arn,
        traceparent=facts.traceparent,
        behalf=facts.behalf,
        parent=facts.id,
        map_run_arn=run.arn,
        map_context=context,
        answers=run.arn,
        answer_form="map",
    )
