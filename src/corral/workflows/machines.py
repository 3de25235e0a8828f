"""Definitions as machines: read once, and kept at hand by what they say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from corral.workflows.doing import Definitions
from corral.workflows.language.definition import Machine

_MACHINES_MAX = 512


class Machines:
    """The machines that were used last. A digest names one definition forever, so nothing here gets old."""

    def __init__(self, definitions: Definitions, read: Callable[[str], Machine]) -> None:
        """`definitions` finds a text, `read` makes a machine of it."""
        self._definitions = definitions
        self._read = read
        self._machines: OrderedDict[tuple[str, str], Machine] = OrderedDict()

    async def get(self, tenant: str, digest: str) -> Machine:
        """The machine of that digest."""
        key = (tenant, digest)
        machine = self._machines.get(key)
        if machine is None:
            machine = self._machines[key] = self._read(await self._definitions(tenant, digest))
            if len(self._machines) > _MACHINES_MAX:
                self._machines.popitem(last=False)
        else:
            self._machines.move_to_end(key)
        return machine
