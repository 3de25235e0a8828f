"""Tags of state machines and activities."""

from __future__ import annotations

import msgspec

from corral.errors import NotFound
from corral.workflows.activities import Activities
from corral.workflows.arns import parse
from corral.workflows.catalog import TAGS_MAX, Catalog
from corral.workflows.refusals import ActivityNotFound, Referenced, StateMachineNotFound, TooManyTags
from corral.workflows.state_machine import StateMachine, Version

_TOO_MANY = TooManyTags(f"A resource has at most {TAGS_MAX} tags.").message


class Tagging:
    """Sets, removes and lists tags, by the ARN of what has them."""

    def __init__(self, catalog: Catalog, activities: Activities) -> None:
        """Tags are kept with what they are of."""
        self._catalog = catalog
        self._activities = activities

    async def tag(self, tenant: str, arn: str, tags: dict[str, str]) -> None:
        """Set these. Raises `Referenced`, `TooManyTags`."""
        await self._change(tenant, arn, tags, [])

    async def untag(self, tenant: str, arn: str, keys: list[str]) -> None:
        """Remove these, where they are. Raises `Referenced`."""
        await self._change(tenant, arn, {}, keys)

    async def tags(self, tenant: str, arn: str) -> dict[str, str]:
        """All of something. Raises `Referenced`."""
        try:
            if _is_activity(arn):
                return (await self._activities.named(tenant, arn)).tags
            return (await self._catalog.named(tenant, arn)).tags
        except (StateMachineNotFound, ActivityNotFound) as error:
            raise _missing(arn) from error

    async def _change(self, tenant: str, arn: str, tags: dict[str, str], without: list[str]) -> None:
        def run(machine: StateMachine) -> tuple[StateMachine, list[Version], None]:
            kept = {key: value for key, value in {**machine.tags, **tags}.items() if key not in without}
            if len(kept) > TAGS_MAX:
                raise TooManyTags(_TOO_MANY)
            return msgspec.structs.replace(machine, tags=kept), [], None

        try:
            if not _is_activity(arn):
                await self._catalog.change(tenant, arn, run)
            elif not await self._activities.retag(tenant, arn, tags, without, TAGS_MAX):
                raise TooManyTags(_TOO_MANY)
        except (StateMachineNotFound, ActivityNotFound) as error:
            raise _missing(arn) from error


def _is_activity(arn: str) -> bool:
    found = parse(arn, "stateMachine", "activity")
    if found.qualifier:  # versions and aliases have no tags
        raise _missing(arn)
    return found.kind == "activity"


def _missing(arn: str) -> NotFound:
    return Referenced(f"Resource not found: '{arn}'")
