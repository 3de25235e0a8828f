"""Where people's commands about workflows come together: definitions by their names, executions, and questions to be answered.

What the native API, the console and the house's own jobs call; the Step Functions API speaks to the same catalog and engine.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.context import EVERYTHING, Scope
from corral.errors import IdempotencyKeyReused, PayloadTooLarge
from corral.jobs.request import fault
from corral.messages import Audit, AuditEntry, Page
from corral.workflows.catalog import Catalog, MachineChange, MachineDraft
from corral.workflows.engine import PAGE_MAX, Engine
from corral.workflows.execution import ExecutionInfo, Question, StartRequest
from corral.workflows.failing import DATA_MAX_BYTES
from corral.workflows.language.definition import Machine
from corral.workflows.machine.happening import TaskSucceeded
from corral.workflows.machine.run import NOBODY, Behalf, ExecutionStatus, HistoryEvent, Kind
from corral.workflows.publishing import Publishing
from corral.workflows.refusals import StateMachineDeleting, StateMachineExists, StateMachineNotFound
from corral.workflows.state_machine import StateMachine, Version
from corral.workflows.store import ExecutionExists
from corral.workflows.tasks.approvals import asked_of, decided

_DRAWN_MAX = 5000
"""Events that a picture is coloured by."""


class WorkflowDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as somebody wants it."""

    name: str
    definition: str | dict[str, Any]
    """JSON or YAML, or the object itself."""
    kind: Kind | None = None
    """None: as it is, and `STANDARD` where it is new."""
    tags: dict[str, str] = {}
    publish: bool = False
    description: str = ""
    """Of the version that is published with it."""


class Saved(msgspec.Struct, frozen=True):
    """What became of a draft."""

    machine: StateMachine
    version: Version | None
    is_new: bool


class WorkflowDesk:
    """All that people may ask of workflows, each for one tenant. Raises errors that say what to do next."""

    def __init__(
        self,
        catalog: Catalog,
        publishing: Publishing,
        engine: Engine,
        *,
        audit: Audit | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`audit` hears who answered what."""
        self.catalog = catalog
        self.engine = engine
        self._publishing = publishing
        self.leaving = asyncio.Event()
        """Set when this process is about to end: whoever waits or watches is let go, and comes back elsewhere."""
        self._audit = audit
        self._now = clock.now

    # -- definitions --------------------------------------------------------------------------------------------------

    async def create(self, tenant: str, draft: WorkflowDraft) -> Saved:
        """Declare a workflow; the same again is the first one's answer.

        Raises `NameInvalid`, `DefinitionInvalid`, `StateMachineExists` where it is another one.
        """
        known = await self.catalog.get(tenant, draft.name)
        try:
            machine, version = await self.catalog.create(tenant, _machine_draft(draft))
        except StateMachineExists:
            raise StateMachineExists(
                f"There is a workflow {draft.name!r} already, and it is another one: PUT /v1/workflows/{draft.name} changes it."
            ) from None
        return Saved(machine, version, known is None)

    async def save(self, tenant: str, draft: WorkflowDraft) -> Saved:
        """Declare a workflow, or have the one of that name be so from now on: executions that run go on as they began.

        Raises `NameInvalid`, `DefinitionInvalid`, `ValidationFailed`.
        """
        known = await self.catalog.get(tenant, draft.name)
        if known is None or known.is_deleting:
            machine, version = await self.catalog.create(tenant, _machine_draft(draft))
            return Saved(machine, version, True)
        if draft.kind not in {None, known.setup.kind}:
            raise fault(
                "/kind", f"The workflow {draft.name!r} is {known.setup.kind} for ever: delete it, or take another name."
            )
        change = MachineChange(
            definition=definition_text(draft.definition), publish=draft.publish, description=draft.description
        )
        machine, version = await self.catalog.update(tenant, self.arn(draft.name), change)
        return Saved(machine, version, False)

    async def get(self, tenant: str, name: str) -> StateMachine:
        """A workflow by its name. Raises `StateMachineNotFound`."""
        found = await self.catalog.get(tenant, name)
        if found is None:
            raise unknown(name)
        return found

    async def definition(self, tenant: str, machine: StateMachine, version: int | None = None) -> str:
        """What it does now, or did when a version was published. Raises `StateMachineNotFound`."""
        setup = machine.setup
        if version is not None:
            known = await self.catalog.version(tenant, machine, version)
            if known is None:
                raise StateMachineNotFound(f"The workflow {machine.name!r} has no version {version}.")
            setup = known.setup
        return await self.catalog.definition(tenant, setup.digest)

    async def find(self, tenant: str, *, limit: int, cursor: str | None) -> Page[StateMachine]:
        """List, the latest first."""
        return await self.catalog.find(tenant, limit=limit, cursor=cursor)

    async def remove(self, tenant: str, name: str) -> bool:
        """Delete. False: it has executions, and goes with the last of them. Raises `StateMachineNotFound`."""
        await self.get(tenant, name)
        await self.catalog.delete(tenant, self.arn(name))
        return await self.catalog.get(tenant, name) is None

    async def publish(self, tenant: str, name: str, description: str = "") -> Version:
        """Keep what it does now as a version; what was published already is that version."""
        await self.get(tenant, name)
        return await self._publishing.publish(tenant, self.arn(name), description=description)

    async def versions(self, tenant: str, name: str) -> list[Version]:
        """What was published of it, the latest first."""
        machine = await self.get(tenant, name)
        found = [await self.catalog.version(tenant, machine, number) for number in machine.numbers()]
        return [version for version in found if version is not None]

    def arn(self, workflow: str) -> str:
        """Of a name, which may carry a version or an alias: `triage`, `triage:3`, `triage:LIVE`."""
        name, _, qualifier = workflow.partition(":")
        return self.catalog.arns.state_machine(name, qualifier)

    # -- executions -----------------------------------------------------------------------------------------------------

    async def begin(
        self,
        tenant: str,
        workflow: str,
        given: Any,
        *,
        name: str = "",
        key: str | None = None,
        traceparent: str = "",
        behalf: Behalf = NOBODY,
    ) -> ExecutionInfo:
        """Begin an execution of a workflow, a version or an alias.

        A name is taken once; with `key`, whoever comes with it again gets the execution that it began, over or not. Raises
        `StateMachineNotFound`, `StateMachineDeleting`, `ExecutionExists`, `IdempotencyKeyReused`, `PayloadTooLarge`.
        """
        size = len(msgspec.json.encode(given))
        if size > DATA_MAX_BYTES:
            raise PayloadTooLarge(
                f"The input has {size} bytes, and {DATA_MAX_BYTES} are the most: hand in a reference."
            )
        request = await self._request(tenant, workflow, given, name or _name_of(key))
        request = msgspec.structs.replace(request, traceparent=traceparent, behalf=behalf)
        try:
            return await self.engine.start(request)
        except ExecutionExists as taken:
            if name or key is None:
                raise ExecutionExists(
                    f"The workflow {workflow!r} has an execution {request.name!r} already: take another name, or none."
                ) from taken
        arn = self.catalog.arns.execution(request.machine_name, request.name)
        known = await self.engine.describe(tenant, arn)
        if known.input != given:
            raise IdempotencyKeyReused
        return msgspec.structs.replace(known, is_new=False)

    async def begin_once(
        self, tenant: str, workflow: str, given: Any, *, name: str, traceparent: str = "", behalf: Behalf = NOBODY
    ) -> ExecutionInfo:
        """Begin what a job is to begin: `name` is the job's, and an execution that it began before is the one."""
        return await self.begin(tenant, workflow, given, key=name, traceparent=traceparent, behalf=behalf)

    async def ended(self, tenant: str, execution_id: str, *, wait_s: float) -> ExecutionInfo:
        """An execution as soon as it has ended, or after so long as it then is. Raises `ExecutionNotFound`."""
        ending = asyncio.ensure_future(self.engine.ended(tenant, execution_id))
        leaving = asyncio.ensure_future(self.leaving.wait())
        try:
            await asyncio.wait([ending, leaving], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
        finally:
            ending.cancel()
            leaving.cancel()
            await asyncio.gather(ending, leaving, return_exceptions=True)
        return await self.engine.describe(tenant, execution_id)

    async def fork(
        self,
        tenant: str,
        execution_id: str,
        *,
        name: str = "",
        given: Any | UnsetType = UNSET,
        scope: Scope = EVERYTHING,
    ) -> ExecutionInfo:
        """Another execution of the very same definition, with the same input or with another one; `scope` is that of who forks."""
        changed = {} if given is UNSET else {"input": given}
        return await self.engine.fork(tenant, execution_id, name=name, scope=scope, **changed)

    async def machine(
        self, tenant: str, workflow: StateMachine, execution_id: str | None = None
    ) -> tuple[Machine, dict[str, str]]:
        """What a workflow does, to be drawn; with an execution of it what that one does, and how far each state came."""
        from corral.workflows.language.reading import read  # noqa: PLC0415 - what checks expressions is heavy

        if execution_id is None:
            return read(await self.definition(tenant, workflow), kind=workflow.setup.kind), {}
        info = await self.engine.describe(tenant, execution_id)
        if info.machine_name != workflow.name:
            raise fault("/execution", f"This is an execution of {info.machine_name!r}, not of {workflow.name!r}.")
        events: list[HistoryEvent] = []
        after: int | None = 0
        while after is not None and len(events) < _DRAWN_MAX:
            page = await self.engine.history(tenant, info.id, after=after, limit=PAGE_MAX)
            events += page.events
            after = page.next
        text = await self.catalog.definition(tenant, info.digest)
        return read(text, kind=info.kind), progress_of(events, info.status)

    async def _request(self, tenant: str, workflow: str, given: Any, name: str) -> StartRequest:
        try:
            found = await self.catalog.resolve(tenant, self.arn(workflow))
        except StateMachineNotFound:
            raise unknown(workflow) from None
        if found.is_deleting:
            raise StateMachineDeleting(f"The workflow {found.name!r} is being deleted: nothing begins any more.")
        return StartRequest(
            tenant=tenant,
            machine_arn=found.machine_arn,
            machine_name=found.name,
            digest=found.setup.digest,
            kind=found.setup.kind,
            name=name or new_id(),
            input=given,
            version_arn=found.version_arn,
            alias_arn=found.alias_arn,
            role_arn=found.setup.role_arn,
        )

    # -- questions ------------------------------------------------------------------------------------------------------

    async def decide(self, tenant: str, token: str, given: dict[str, Any], *, by: str) -> Question:
        """Answer what a person was asked, once and for all: the execution goes on by itself.

        Raises `QuestionNotFound`, `QuestionClosed`, and `ValidationFailed` for what is none of the choices or does not fit the form.
        """
        question = await self.engine.approval(tenant, token)
        output = decided(asked_of(question.payload), given, by=by)
        answered = await self.engine.decide(tenant, token, TaskSucceeded(token, output))
        if self._audit is not None:
            self._audit(self._audited(tenant, answered, output))
        return answered

    def _audited(self, tenant: str, question: Question, output: dict[str, Any]) -> AuditEntry:
        return AuditEntry(
            id=new_id(),
            at=self._now(),
            tenant=tenant,
            action="workflow.approval",
            subject=question.state_name,
            decision=output["decision"],
            reason=output["note"],
            actor=output["by"],
            run_id=question.execution_id,
            details={"execution": question.execution_id},
        )


def progress_of(events: Sequence[HistoryEvent], status: ExecutionStatus) -> dict[str, str]:
    """How far each state came, by its name: `running`, `succeeded`, `failed` or `aborted`, as the latest visit of it did."""
    states: dict[str, str] = {}
    for event in events:
        name = event.details.get("name")
        if not isinstance(name, str):
            continue
        if event.type.endswith("StateEntered"):
            states[name] = "running"
        elif event.type.endswith("StateExited"):
            states[name] = "succeeded"
        elif event.type.endswith("StateAborted"):
            states[name] = "aborted"
    ended = {"FAILED": "failed", "TIMED_OUT": "failed", "ABORTED": "aborted"}.get(status)
    if ended is not None:
        states = {name: ended if how == "running" else how for name, how in states.items()}
    return states


def definition_text(definition: str | dict[str, Any]) -> str:
    """A definition as it is kept: JSON as it was written; YAML and objects become JSON. Raises `DefinitionInvalid`."""
    from corral.workflows.language.document import document_of  # noqa: PLC0415 - loaded when there is something to read

    if isinstance(definition, str) and definition.lstrip()[:1] == "{":
        return definition
    return msgspec.json.format(msgspec.json.encode(document_of(definition)), indent=2).decode()


def unknown(workflow: str) -> StateMachineNotFound:
    """There is none of that name."""
    return StateMachineNotFound(
        f"There is no workflow {workflow[:200]!r}: GET /v1/workflows lists those that there are."
    )


def _machine_draft(draft: WorkflowDraft) -> MachineDraft:
    return MachineDraft(
        name=draft.name,
        definition=definition_text(draft.definition),
        kind=draft.kind or "STANDARD",
        tags=draft.tags,
        publish=draft.publish,
        description=draft.description,
    )


def _name_of(key: str | None) -> str:
    """The name that an execution has for an idempotency key: anybody who knows the key finds it, and names keep their form."""
    if key is None:
        return ""
    return "key-" + hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
