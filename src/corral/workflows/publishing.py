"""Versions of state machines, which never change, and aliases, which name one of them or two."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ValidationFailed
from corral.workflows.arns import parse
from corral.workflows.catalog import ALIASES_MAX, Catalog, published
from corral.workflows.refusals import CatalogConflict, Referenced, RoutingInvalid, StateMachineNotFound
from corral.workflows.state_machine import Alias, StateMachine, Version, Weighted

Routing = list[tuple[str, int]]
"""ARNs of versions, and their weights."""
_WHOLE = 100


class Publishing:
    """Versions and aliases of the machines in a catalog."""

    def __init__(self, catalog: Catalog, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """They are kept with their machines."""
        self._catalog = catalog
        self._now = clock.now

    async def publish(self, tenant: str, arn: str, *, revision: str = "", description: str = "") -> Version:
        """Make a version of what the machine is now, or name the one that was made of it before.

        Raises `CatalogConflict` where the machine has another revision than was meant.
        """
        _unqualified(arn)

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], Version | None]:
            current = machine.shown_revision
            if revision and revision != current:
                raise CatalogConflict(
                    f"Failed to publish the State Machine version for revision {revision}."
                    f" The current State Machine revision is {current}."
                )
            if machine.published == current and str(machine.last_version) in machine.versions:
                return machine, [], None
            after, version = published(machine, description, self._now())
            return after, [version], version

        machine, made = await self._catalog.change(tenant, arn, run)
        version = made or await self._catalog.version(tenant, machine, machine.last_version)
        if version is None:  # it was deleted in this very moment
            raise CatalogConflict("The version was deleted by somebody else; try again.")
        return version

    async def delete_version(self, tenant: str, arn: str) -> None:
        """Delete a version that no alias names. Twice is once."""
        found = parse(arn, "stateMachine")
        number = found.version
        if number is None:
            raise ValidationFailed(f"The ARN names no version: '{arn}'")

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], None]:
            naming = [alias.name for alias in _naming(machine, number)]
            if naming:
                raise CatalogConflict(
                    "Version to be deleted must not be referenced by an alias."
                    f" Current list of aliases referencing this version: [{', '.join(naming)}]"
                )
            versions = {one: at for one, at in machine.versions.items() if one != str(number)}
            return msgspec.structs.replace(machine, versions=versions), [], None

        try:
            machine, _ = await self._catalog.change(tenant, arn, run)
        except StateMachineNotFound:
            return
        await self._catalog.forget_version(tenant, machine, number)

    # -- aliases ----------------------------------------------------------------------------------------------------

    async def create_alias(self, tenant: str, name: str, routing: Routing, description: str = "") -> tuple[str, Alias]:
        """Name a version, or two. Returns the alias's ARN as well; the same again is the first one's answer."""
        _check_weights(routing)
        first = parse(routing[0][0], "stateMachine")

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], Alias]:
            old = machine.aliases.get(name)
            if old is not None:
                if old.description == description and routing == self._routing(machine, old):
                    return machine, [], old
                raise CatalogConflict(
                    "Failed to create alias because an alias with the same name and a different routing configuration"
                    " already exists."
                )
            if len(machine.aliases) >= ALIASES_MAX:
                raise CatalogConflict(f"A state machine has at most {ALIASES_MAX} aliases: delete one of them.")
            now, routes = self._now(), self._routes(machine, routing)
            alias = Alias(name=name, routes=routes, description=description, created_at=now, updated_at=now)
            return _with_alias(machine, alias), [], alias

        try:
            _, alias = await self._catalog.change(tenant, first.unqualified, run)
        except StateMachineNotFound:
            raise Referenced from None
        return f"{first.unqualified}:{name}", alias

    async def update_alias(
        self,
        tenant: str,
        arn: str,
        *,
        routing: Routing | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
    ) -> Alias:
        """Have it name other versions, or describe it otherwise. Raises `Referenced`."""
        name = _alias_of(arn)
        if routing is UNSET and description is UNSET:
            raise ValidationFailed("Either the description or the routing configuration must be specified.")
        if not isinstance(routing, UnsetType):
            _check_weights(routing)

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], Alias]:
            alias = machine.aliases.get(name)
            if alias is None:
                raise Referenced
            if not isinstance(routing, UnsetType):
                alias = msgspec.structs.replace(alias, routes=self._routes(machine, routing))
            if not isinstance(description, UnsetType):
                alias = msgspec.structs.replace(alias, description=description)
            alias = msgspec.structs.replace(alias, updated_at=self._now())
            return _with_alias(machine, alias), [], alias

        try:
            return (await self._catalog.change(tenant, arn, run))[1]
        except StateMachineNotFound:
            raise Referenced from None

    async def alias(self, tenant: str, arn: str) -> tuple[StateMachine, Alias]:
        """One of them, and its machine. Raises `Referenced`."""
        name = _alias_of(arn)
        try:
            machine = await self._catalog.named(tenant, arn)
        except StateMachineNotFound:
            raise Referenced from None
        alias = machine.aliases.get(name)
        if alias is None:
            raise Referenced
        return machine, alias

    async def delete_alias(self, tenant: str, arn: str) -> None:
        """Delete one. Twice is once."""
        name = _alias_of(arn)

        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], None]:
            aliases = {key: alias for key, alias in machine.aliases.items() if key != name}
            return msgspec.structs.replace(machine, aliases=aliases), [], None

        try:
            await self._catalog.change(tenant, arn, run)
        except StateMachineNotFound:
            return

    async def aliases(self, tenant: str, arn: str) -> tuple[StateMachine, list[Alias]]:
        """All of a machine's, or those that name the version in the ARN, by name."""
        machine, number = await self._catalog.named(tenant, arn), parse(arn, "stateMachine").version
        found = machine.aliases.values() if number is None else _naming(machine, number)
        return machine, sorted(found, key=lambda alias: alias.name)

    def _routing(self, machine: StateMachine, alias: Alias) -> Routing:
        return [(self._catalog.arns.state_machine(machine.name, one.version), one.weight) for one in alias.routes]

    def _routes(self, machine: StateMachine, routing: Routing) -> tuple[Weighted, ...]:
        """The versions that are meant: all of this machine."""
        routes = []
        for arn, weight in routing:
            found = parse(arn, "stateMachine")
            number = found.version
            if number is None or found.unqualified != self._catalog.arns.state_machine(machine.name):
                arns = ", ".join(one for one, _ in routing)
                raise RoutingInvalid(
                    f"Routing configuration must contain state machine version ARNs. Received: [{arns}]"
                )
            if str(number) not in machine.versions:
                raise Referenced
            routes.append(Weighted(number, weight))
        return tuple(routes)


def _check_weights(routing: Routing) -> None:
    arns, weights = [arn for arn, _ in routing], [weight for _, weight in routing]
    if len(set(arns)) < len(arns):
        raise RoutingInvalid(
            f"Routing configuration must contain distinct state machine version ARNs. Received: [{', '.join(arns)}]"
        )
    if sum(weights) != _WHOLE:
        raise RoutingInvalid(f"Sum of routing configuration weights must equal 100. Received: {weights}")


def _with_alias(machine: StateMachine, alias: Alias) -> StateMachine:
    return msgspec.structs.replace(machine, aliases={**machine.aliases, alias.name: alias})


def _naming(machine: StateMachine, number: int) -> list[Alias]:
    return [alias for alias in machine.aliases.values() if number in {one.version for one in alias.routes}]


def _alias_of(arn: str) -> str:
    found = parse(arn, "stateMachine")
    if not found.alias:
        raise ValidationFailed(f"The ARN names no alias: '{arn}'")
    return found.alias


def _unqualified(arn: str) -> None:
    if parse(arn, "stateMachine").qualifier:
        raise StateMachineNotFound.of(arn)
