"""Activities: work that workers outside ask for. Only their names are kept; their tasks wait with their executions."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.memory.resource_store import (
    Resource,
    ResourceConflict,
    ResourceDraft,
    ResourceExists,
    ResourceNotFound,
    ResourceStore,
)
from corral.messages import Page
from corral.workflows.arns import Arns, is_name, parse
from corral.workflows.refusals import ActivityNotFound, CatalogConflict, NameInvalid
from corral.workflows.state_machine import Activity, Encryption

ACTIVITY = "activity"
_TRIES = 20
_OWNED = Encryption()


class Activities:
    """Activities, by tenant and name."""

    def __init__(self, resources: ResourceStore, arns: Arns, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Each is one resource."""
        self.arns = arns
        self._resources = resources
        self._now = clock.now

    async def create(
        self, tenant: str, name: str, *, encryption: Encryption = _OWNED, tags: dict[str, str] | None = None
    ) -> Activity:
        """Declare one; what has the name already is the answer. Raises `NameInvalid`."""
        if not is_name(name):
            raise NameInvalid.of(name)
        activity = Activity(name=name, created_at=self._now(), encryption=encryption, tags=tags or {})
        draft = ResourceDraft(kind=ACTIVITY, id=_id_of(name), body=_body_of(activity))
        while True:
            try:
                (made,) = await self._resources.create(tenant, [draft])
                return _activity_of(made)
            except ResourceExists:
                known = await self._get(tenant, name)
                if known is not None:
                    return known

    async def _get(self, tenant: str, name: str) -> Activity | None:
        found = await self._resources.get(tenant, ACTIVITY, _id_of(name))
        return None if found is None else _activity_of(found)

    async def named(self, tenant: str, arn: str) -> Activity:
        """One of them. Raises `ArnInvalid`, `ActivityNotFound`."""
        name = parse(arn, "activity").name
        activity = await self._get(tenant, name) if arn == self.arns.activity(name) else None
        if activity is None:
            raise ActivityNotFound(f"Activity Does Not Exist: '{arn}'")
        return activity

    async def find(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[Activity]:
        """All of them, the latest first. Raises `CursorNotFound`."""
        page = await self._resources.find(tenant, ACTIVITY, limit=limit, cursor=cursor)
        return Page([_activity_of(one) for one in page.items], page.next_cursor)

    async def delete(self, tenant: str, arn: str) -> None:
        """Delete one. Twice is once."""
        name = parse(arn, "activity").name
        if arn == self.arns.activity(name):
            await self._resources.delete(tenant, ACTIVITY, _id_of(name))

    async def retag(self, tenant: str, arn: str, tags: dict[str, str], without: list[str], most: int) -> bool:
        """Set and remove tags. False: they would be too many, and nothing was done."""
        for _ in range(_TRIES):
            activity = await self.named(tenant, arn)
            kept = {key: value for key, value in {**activity.tags, **tags}.items() if key not in without}
            if len(kept) > most:
                return False
            body = _body_of(msgspec.structs.replace(activity, tags=kept))
            try:
                await self._resources.change(tenant, ACTIVITY, _id_of(activity.name), body, revision=activity.stamp)
            except (ResourceConflict, ResourceNotFound):
                continue
            return True
        raise CatalogConflict("Too many others change this activity right now; try again.")


def _id_of(name: str) -> str:
    return f"activity:{name}"


def _body_of(activity: Activity) -> Any:
    return msgspec.to_builtins(msgspec.structs.replace(activity, stamp=0))


def _activity_of(kept: Resource) -> Activity:
    return msgspec.structs.replace(msgspec.convert(kept.body, Activity), stamp=kept.revision)
