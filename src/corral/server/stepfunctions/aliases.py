"""Aliases of state machines' versions."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from corral.server.stepfunctions.machines import sliced
from corral.server.stepfunctions.operations import Asked, Work
from corral.workflows.arns import Arns
from corral.workflows.publishing import Publishing, Routing
from corral.workflows.state_machine import Alias


class Aliases:
    """Create, change, describe, list and delete."""

    def __init__(self, publishing: Publishing, arns: Arns) -> None:
        """They are kept with their machines."""
        self._publishing = publishing
        self._arns = arns

    def operations(self) -> dict[str, Work]:
        """All of them."""
        return {
            "CreateStateMachineAlias": self.create,
            "UpdateStateMachineAlias": self.update,
            "DescribeStateMachineAlias": self.show,
            "ListStateMachineAliases": self.listed,
            "DeleteStateMachineAlias": self.delete,
        }

    async def create(self, asked: Asked) -> dict[str, Any]:
        """Name a version, or two."""
        body = asked.body
        arn, alias = await self._publishing.create_alias(
            asked.tenant, body["name"], _routing(body["routingConfiguration"]), body.get("description", "")
        )
        return {"stateMachineAliasArn": arn, "creationDate": alias.created_at}

    async def update(self, asked: Asked) -> dict[str, Any]:
        """Have it name others."""
        body = asked.body
        routing: Routing | UnsetType = UNSET
        if "routingConfiguration" in body:
            routing = _routing(body["routingConfiguration"])
        description: str | UnsetType = body.get("description", UNSET)
        alias = await self._publishing.update_alias(
            asked.tenant, body["stateMachineAliasArn"], routing=routing, description=description
        )
        return {"updateDate": alias.updated_at}

    async def show(self, asked: Asked) -> dict[str, Any]:
        """One of them."""
        arn = asked.body["stateMachineAliasArn"]
        machine, alias = await self._publishing.alias(asked.tenant, arn)
        return {
            "stateMachineAliasArn": arn,
            "name": alias.name,
            **({"description": alias.description} if alias.description else {}),
            "routingConfiguration": [
                {"stateMachineVersionArn": self._arns.state_machine(machine.name, one.version), "weight": one.weight}
                for one in alias.routes
            ],
            "creationDate": alias.created_at,
            "updateDate": alias.updated_at,
        }

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """All of one machine or of one version."""
        machine, found = await self._publishing.aliases(asked.tenant, asked.body["stateMachineArn"])
        return sliced(asked, "stateMachineAliases", [self._line(machine.name, alias) for alias in found])

    def _line(self, machine: str, alias: Alias) -> dict[str, Any]:
        return {
            "stateMachineAliasArn": self._arns.state_machine(machine, alias.name),
            "creationDate": alias.created_at,
        }

    async def delete(self, asked: Asked) -> dict[str, Any]:
        """Delete one."""
        await self._publishing.delete_alias(asked.tenant, asked.body["stateMachineAliasArn"])
        return {}


def _routing(given: list[dict[str, Any]]) -> Routing:
    return [(one["stateMachineVersionArn"], int(one["weight"])) for one in given]
