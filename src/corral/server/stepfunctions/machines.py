"""State machines and their versions."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from corral.errors import CursorNotFound
from corral.server.stepfunctions.operations import Asked, Work, page_size, paged, without_nothing
from corral.server.stepfunctions.shown import (
    Describe,
    described_setup,
    encryption_in,
    logging_in,
    role_in,
    tags_in,
)
from corral.workflows.arns import parse
from corral.workflows.catalog import Catalog, MachineChange, MachineDraft
from corral.workflows.publishing import Publishing
from corral.workflows.state_machine import Encryption, Logging, StateMachine, Version


class Machines:
    """Create, change, describe, list, delete and publish."""

    def __init__(self, catalog: Catalog, publishing: Publishing, describe: Describe) -> None:
        """`describe` knows what a definition refers to."""
        self._catalog = catalog
        self._publishing = publishing
        self._describe = describe

    def operations(self) -> dict[str, Work]:
        """All of them."""
        return {
            "CreateStateMachine": self.create,
            "UpdateStateMachine": self.update,
            "DescribeStateMachine": self.show,
            "ListStateMachines": self.listed,
            "DeleteStateMachine": self.delete,
            "PublishStateMachineVersion": self.publish,
            "ListStateMachineVersions": self.versions,
            "DeleteStateMachineVersion": self.delete_version,
        }

    async def create(self, asked: Asked) -> dict[str, Any]:
        """Declare one."""
        body = asked.body
        draft = MachineDraft(
            name=body["name"],
            definition=body["definition"],
            role_arn=role_in(body["roleArn"]),
            kind=body.get("type", "STANDARD"),
            logging=logging_in(body.get("loggingConfiguration")),
            tracing=bool(body.get("tracingConfiguration", {}).get("enabled", False)),
            encryption=encryption_in(body.get("encryptionConfiguration")),
            tags=tags_in(body.get("tags")),
            publish=bool(body.get("publish", False)),
            description=body.get("versionDescription", ""),
        )
        machine, version = await self._catalog.create(asked.tenant, draft)
        return {
            "stateMachineArn": self._arn(machine),
            "creationDate": machine.created_at,
            **self._version_arn(machine, version),
        }

    async def update(self, asked: Asked) -> dict[str, Any]:
        """Change one."""
        body = asked.body
        role: str | UnsetType = role_in(body["roleArn"]) if "roleArn" in body else UNSET
        logging: Logging | UnsetType = (
            logging_in(body["loggingConfiguration"]) if "loggingConfiguration" in body else UNSET
        )
        tracing: bool | UnsetType = UNSET
        if "tracingConfiguration" in body:
            tracing = bool(body["tracingConfiguration"].get("enabled", False))
        encryption: Encryption | UnsetType = UNSET
        if "encryptionConfiguration" in body:
            encryption = encryption_in(body["encryptionConfiguration"])
        change = MachineChange(
            definition=body.get("definition", UNSET),
            role_arn=role,
            logging=logging,
            tracing=tracing,
            encryption=encryption,
            publish=bool(body.get("publish", False)),
            description=body.get("versionDescription", ""),
        )
        machine, version = await self._catalog.update(asked.tenant, body["stateMachineArn"], change)
        return {
            "updateDate": machine.updated_at,
            "revisionId": machine.revision_id,
            **self._version_arn(machine, version),
        }

    async def show(self, asked: Asked) -> dict[str, Any]:
        """One of them, or one of its versions."""
        arn = asked.body["stateMachineArn"]
        found = await self._catalog.resolve(asked.tenant, arn)
        machine = await self._catalog.named(asked.tenant, arn)
        number = parse(found.version_arn, "stateMachine").version if found.version_arn else None
        version = None if number is None else await self._catalog.version(asked.tenant, machine, number)
        return {
            "stateMachineArn": found.version_arn or found.machine_arn,
            "name": machine.name,
            "status": "DELETING" if machine.is_deleting else "ACTIVE",
            "type": found.setup.kind,
            "creationDate": machine.created_at if version is None else version.created_at,
            **described_setup(found.setup),
            **({"revisionId": found.revision_id} if found.revision_id else {}),
            **({"description": version.description} if version is not None and version.description else {}),
            **await self._describe(asked, found.setup),
        }

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """All of them."""
        page = await self._catalog.find(asked.tenant, limit=page_size(asked), cursor=asked.body.get("nextToken"))
        shown = [
            {
                "stateMachineArn": self._arn(machine),
                "name": machine.name,
                "type": machine.setup.kind,
                "creationDate": machine.created_at,
            }
            for machine in page.items
        ]
        return paged({"stateMachines": shown}, page.next_cursor)

    async def delete(self, asked: Asked) -> dict[str, Any]:
        """Delete one."""
        await self._catalog.delete(asked.tenant, asked.body["stateMachineArn"])
        return {}

    async def publish(self, asked: Asked) -> dict[str, Any]:
        """Make a version."""
        body = asked.body
        version = await self._publishing.publish(
            asked.tenant,
            body["stateMachineArn"],
            revision=body.get("revisionId", ""),
            description=body.get("description", ""),
        )
        return {
            "creationDate": version.created_at,
            "stateMachineVersionArn": f"{body['stateMachineArn']}:{version.number}",
        }

    async def versions(self, asked: Asked) -> dict[str, Any]:
        """All versions of one, the latest first."""
        machine = await self._catalog.named(asked.tenant, asked.body["stateMachineArn"])
        arn = self._arn(machine)
        items = [
            {"stateMachineVersionArn": f"{arn}:{number}", "creationDate": machine.versions[str(number)]}
            for number in machine.numbers()
        ]
        return sliced(asked, "stateMachineVersions", items)

    async def delete_version(self, asked: Asked) -> dict[str, Any]:
        """Delete one version."""
        await self._publishing.delete_version(asked.tenant, asked.body["stateMachineVersionArn"])
        return {}

    def _arn(self, machine: StateMachine) -> str:
        return self._catalog.arns.state_machine(machine.name)

    def _version_arn(self, machine: StateMachine, version: Version | None) -> dict[str, Any]:
        arn = None if version is None else self._catalog.arns.state_machine(machine.name, version.number)
        return without_nothing({"stateMachineVersionArn": arn})


def sliced(asked: Asked, member: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """One page of what is all at hand; the token is the place of the last one."""
    token = asked.body.get("nextToken", "0")
    if not (token.isascii() and token.isdigit() and int(token) <= len(items)):
        raise CursorNotFound
    start = int(token)
    end = start + page_size(asked)
    return paged({member: items[start:end]}, str(end) if end < len(items) else None)
