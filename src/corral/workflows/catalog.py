"""What state machines there are: declared, changed, found and deleted.

A machine is one resource of its tenant, with its versions and aliases in it: so all that is said about it at once is true at
once. Whoever changes it says which state it was in; of changes at the same time one happens, and the others look again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import ValidationFailed
from corral.memory.resource_store import (
    Resource,
    ResourceConflict,
    ResourceDraft,
    ResourceExists,
    ResourceNotFound,
    ResourceStore,
)
from corral.messages import Page
from corral.workflows.arns import Arn, Arns, is_name, parse
from corral.workflows.catalog_store import Definitions
from corral.workflows.machine.run import Kind
from corral.workflows.refusals import (
    CatalogConflict,
    LoggingInvalid,
    NameInvalid,
    ParameterMissing,
    StateMachineDeleting,
    StateMachineExists,
    StateMachineNotFound,
)
from corral.workflows.state_machine import Encryption, Logging, Resolved, Setup, StateMachine, Version

MACHINE = "workflow"
VERSION = "workflow-version"
VERSIONS_MAX = 1000
ALIASES_MAX = 100
TAGS_MAX = 50
_TRIES = 20
"""How often a change looks again because somebody else was quicker."""

T = TypeVar("T")
Busy = Callable[[str, str], Awaitable[bool]]
"""Whether a tenant's state machine, by ARN, has executions that run."""
Change = Callable[[StateMachine], tuple[StateMachine, list[Version], T]]
"""From a machine to what it is to be, versions that are new with it, and what to answer."""


class MachineDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A state machine to be."""

    name: str
    definition: str
    role_arn: str = ""
    kind: Kind = "STANDARD"
    logging: Logging = Logging()
    tracing: bool = False
    encryption: Encryption = Encryption()
    tags: dict[str, str] = {}
    publish: bool = False
    description: str = ""
    """Of the version that is published with it."""


class MachineChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different about a state machine; UNSET stays as it is."""

    definition: str | UnsetType = UNSET
    role_arn: str | UnsetType = UNSET
    logging: Logging | UnsetType = UNSET
    tracing: bool | UnsetType = UNSET
    encryption: Encryption | UnsetType = UNSET
    publish: bool = False
    description: str = ""


class Catalog:
    """State machines, by tenant and name."""

    def __init__(
        self,
        resources: ResourceStore,
        definitions: Definitions,
        arns: Arns,
        *,
        busy: Busy,
        chance: Callable[[], float],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`chance`, from 0 to 1, chooses between the versions of an alias."""
        self.arns = arns
        self._resources = resources
        self._definitions = definitions
        self._busy = busy
        self._chance = chance
        self._now = clock.now

    # -- declaring --------------------------------------------------------------------------------------------------

    async def create(self, tenant: str, draft: MachineDraft) -> tuple[StateMachine, Version | None]:
        """Declare one, and publish it where that is asked for. The same again is the first one's answer.

        Raises `NameInvalid`, `DefinitionInvalid`, `LoggingInvalid`, `StateMachineExists`, `StateMachineDeleting`.
        """
        if not is_name(draft.name):
            raise NameInvalid.of(draft.name)
        _check_description(draft.publish, draft.description)
        _check_logging(draft.logging)
        await check_definition(draft.definition, draft.kind)
        setup = Setup(
            digest=await self._definitions.keep(tenant, draft.definition),
            role_arn=draft.role_arn,
            kind=draft.kind,
            logging=draft.logging,
            tracing=draft.tracing,
            encryption=draft.encryption,
        )
        now = self._now()
        machine = StateMachine(name=draft.name, setup=setup, created_at=now, updated_at=now, tags=draft.tags)
        version = None
        if draft.publish:
            machine, version = published(machine, draft.description, now)
        while True:
            try:
                await self._resources.create(tenant, [_machine_draft(machine), *_version_drafts(machine, version)])
            except ResourceExists:
                found = await self.get(tenant, draft.name)
                if found is None:
                    continue  # it went in this very moment
                return await self._same(tenant, found, setup, draft)
            return machine, version

    async def _same(
        self, tenant: str, found: StateMachine, setup: Setup, draft: MachineDraft
    ) -> tuple[StateMachine, Version | None]:
        arn = self.arns.state_machine(found.name)
        if found.is_deleting:
            raise StateMachineDeleting.of(arn)
        alike = msgspec.structs.replace(setup, role_arn=found.setup.role_arn) == found.setup
        version = await self.version(tenant, found, found.last_version) if draft.publish else None
        if not alike or (draft.publish and (version is None or version.description != draft.description)):
            raise StateMachineExists(f"State Machine Already Exists: '{arn}'")
        return found, version

    async def update(self, tenant: str, arn: str, change: MachineChange) -> tuple[StateMachine, Version | None]:
        """Change what a machine does. Executions that run go on as they began.

        Raises `ParameterMissing`, `DefinitionInvalid`, `LoggingInvalid`, `StateMachineNotFound`, `StateMachineDeleting`.
        """
        named = await self.named(tenant, arn)
        fields = {name: getattr(change, name) for name in ("role_arn", "logging", "tracing", "encryption")}
        if all(value is UNSET for value in (change.definition, *fields.values())):
            raise ParameterMissing(
                "Either the definition, the role ARN, the LoggingConfiguration, the TracingConfiguration or the"
                " EncryptionConfiguration must be specified"
            )
        _check_description(change.publish, change.description)
        if isinstance(change.logging, Logging):
            _check_logging(change.logging)
        if isinstance(change.definition, str):
            await check_definition(change.definition, named.setup.kind)
            fields["digest"] = await self._definitions.keep(tenant, change.definition)
        changed = {name: value for name, value in fields.items() if value is not UNSET}

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], Version | None]:
            setup, now = msgspec.structs.replace(machine.setup, **changed), self._now()
            if setup != machine.setup or not machine.revision_id:
                machine = msgspec.structs.replace(machine, setup=setup, revision_id=new_id(), updated_at=now)
            if not change.publish:
                return machine, [], None
            machine, version = published(machine, change.description, now)
            return machine, [version], version

        return await self.change(tenant, arn, run)

    async def delete(self, tenant: str, arn: str) -> None:
        """Delete a machine with its versions and aliases: at once, or with the last of its executions. Twice is once."""
        found = parse(arn, "stateMachine")
        if found.qualifier:
            raise ValidationFailed("Versions and aliases are deleted by operations of their own.")
        machine = await self.get(tenant, found.name)
        if machine is None or arn != self.arns.state_machine(found.name):
            return
        if await self._busy(tenant, arn):
            await self.change(
                tenant, arn, lambda one: (msgspec.structs.replace(one, is_deleting=True), [], None), deleting=True
            )
        else:
            await self._remove(tenant, machine)

    async def _remove(self, tenant: str, machine: StateMachine) -> None:
        """Definitions stay: executions that are over name them still."""
        await self._resources.delete(tenant, MACHINE, _id_of(machine.name))

    # -- finding ----------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, name: str) -> StateMachine | None:
        """One of them. One that was being deleted and has no executions any more goes now."""
        found = await self._resources.get(tenant, MACHINE, _id_of(name))
        if found is None:
            return None
        machine = _machine_of(found)
        if machine.is_deleting and not await self._busy(tenant, self.arns.state_machine(name)):
            await self._remove(tenant, machine)
            return None
        return machine

    async def named(self, tenant: str, arn: str) -> StateMachine:
        """The machine of an ARN, which may name a version or an alias. Raises `ArnInvalid`, `StateMachineNotFound`."""
        found = parse(arn, "stateMachine")
        machine = await self.get(tenant, found.name) if self._is_ours(found) else None
        if machine is None:
            raise StateMachineNotFound.of(arn)
        return machine

    def _is_ours(self, found: Arn) -> bool:
        return found.text == self.arns.state_machine(found.name, found.qualifier)

    async def find(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[StateMachine]:
        """All of them, the latest first. Raises `CursorNotFound`."""
        page = await self._resources.find(tenant, MACHINE, limit=limit, cursor=cursor)
        return Page([_machine_of(one) for one in page.items], page.next_cursor)

    async def version(self, tenant: str, machine: StateMachine, number: int) -> Version | None:
        """A version that is published and was not deleted since."""
        if str(number) not in machine.versions:
            return None
        found = await self._resources.get(tenant, VERSION, _version_id(machine.name, number))
        return None if found is None else msgspec.convert(found.body, Version)

    async def definition(self, tenant: str, digest: str) -> str:
        """A definition's text."""
        text = await self._definitions.text(tenant, digest)
        if text is None:
            raise LookupError(f"The store has lost the definition {digest!r} of the tenant {tenant!r}.")
        return text

    async def resolve(self, tenant: str, arn: str) -> Resolved:
        """What an execution of this ARN begins with. Of an alias with two versions chance takes one.

        Raises `ArnInvalid`, `StateMachineNotFound`.
        """
        named, machine = parse(arn, "stateMachine"), await self.named(tenant, arn)
        number, alias_arn = named.version, ""
        if named.alias:
            alias = machine.aliases.get(named.alias)
            if alias is None:
                raise StateMachineNotFound.of(arn)
            first, last = alias.routes[0], alias.routes[-1]
            number = first.version if self._chance() * 100 < first.weight else last.version
            alias_arn = arn
        plain = Resolved(
            name=machine.name,
            machine_arn=named.unqualified,
            setup=machine.setup,
            revision_id=machine.revision_id,
            is_deleting=machine.is_deleting,
        )
        if number is None:
            return plain
        version = await self.version(tenant, machine, number)
        if version is None:
            raise StateMachineNotFound.of(arn)
        return msgspec.structs.replace(
            plain,
            setup=version.setup,
            version_arn=self.arns.state_machine(machine.name, number),
            alias_arn=alias_arn,
            revision_id=version.revision_id,
        )

    # -- changing ---------------------------------------------------------------------------------------------------

    async def change(self, tenant: str, arn: str, run: Change[T], *, deleting: bool = False) -> tuple[StateMachine, T]:
        """Have a machine be what `run` makes of it, which is asked again where somebody else was quicker.

        Raises what `run` raises, `StateMachineNotFound`, and `StateMachineDeleting` where that is not what is wanted.
        """
        for _ in range(_TRIES):
            before = await self.named(tenant, arn)
            if before.is_deleting and not deleting:
                raise StateMachineDeleting.of(arn)
            after, versions, answer = run(before)
            if after == before:
                return before, answer
            try:
                await self._resources.change(
                    tenant,
                    MACHINE,
                    _id_of(before.name),
                    _body_of(after),
                    revision=before.stamp,
                    also=[draft for version in versions for draft in _version_drafts(after, version)],
                )
            except ResourceConflict:
                continue
            except ResourceExists:  # a version of a machine that was deleted in this very moment and made anew
                continue
            except ResourceNotFound:
                raise StateMachineNotFound.of(arn) from None
            return msgspec.structs.replace(after, stamp=before.stamp + 1), answer
        raise CatalogConflict("Too many others change this state machine right now; try again.")

    async def forget_version(self, tenant: str, machine: StateMachine, number: int) -> None:
        """What was kept of a version that is gone."""
        await self._resources.delete(tenant, VERSION, _version_id(machine.name, number))


def published(machine: StateMachine, description: str, now: float) -> tuple[StateMachine, Version]:
    """The machine with one version more, made of what it is now."""
    if len(machine.versions) >= VERSIONS_MAX:
        raise CatalogConflict(f"A state machine has at most {VERSIONS_MAX} versions: delete one of them.")
    number = machine.last_version + 1
    version = Version(
        number=number,
        setup=machine.setup,
        revision_id=machine.revision_id,
        description=description,
        created_at=now,
    )
    after = msgspec.structs.replace(
        machine,
        versions={**machine.versions, str(number): now},
        last_version=number,
        published=machine.shown_revision,
    )
    return after, version


async def check_definition(text: str, kind: Kind) -> None:
    """Refuse what is no definition: `DefinitionInvalid`."""
    from corral.workflows.language.looking import check  # noqa: PLC0415 - what checks expressions is heavy

    await check(text, kind=kind)


def _check_description(publish: bool, description: str) -> None:
    if description and not publish:
        raise ValidationFailed("Version description can only be set when publish is true")


def _check_logging(logging: Logging) -> None:
    if len(logging.destinations) != 1 and (logging.level != "OFF" or logging.destinations):
        raise LoggingInvalid("Invalid Logging Configuration: Must specify exactly one Log Destination.")


def _id_of(name: str) -> str:
    """No other kind of resource has ids with a colon, so nothing else goes with it when it goes."""
    return f"workflow:{name}"


def _version_id(name: str, number: int) -> str:
    return f"{_id_of(name)}:{number}"


def _machine_draft(machine: StateMachine) -> ResourceDraft:
    return ResourceDraft(kind=MACHINE, id=_id_of(machine.name), body=_body_of(machine))


def _version_drafts(machine: StateMachine, version: Version | None) -> list[ResourceDraft]:
    if version is None:
        return []
    body = msgspec.to_builtins(version)
    return [
        ResourceDraft(
            kind=VERSION, id=_version_id(machine.name, version.number), parent=_id_of(machine.name), body=body
        )
    ]


def _body_of(machine: StateMachine) -> Any:
    return msgspec.to_builtins(msgspec.structs.replace(machine, stamp=0))


def _machine_of(kept: Resource) -> StateMachine:
    return msgspec.structs.replace(msgspec.convert(kept.body, StateMachine), stamp=kept.revision)
