"""Definitions as machines: read once, and kept at hand by what they say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from corral.workflows.doing import Definitions
from corral.workflows.language.definition import Machine

_MACHINES_MAX = 512
_SLOW = ("JSONata", "\\u")
"""Signs of expressions that may take long: the name of their language, or what it may be written with."""


def part_of(digest: str, path: tuple[str, ...]) -> str:
    """Names a part of a definition as if it were one itself: the states that each item of a distributed Map goes through."""
    steps = "/".join(step.replace("~", "~0").replace("/", "~1") for step in path)
    return f"{digest}/{steps}" if "#" in digest else f"{digest}#{steps}"


def _part(machine: Machine, steps: str) -> Machine:
    if not steps:
        return machine

    body = machine.body(tuple(step.replace("~1", "/").replace("~0", "~") for step in steps.split("/")))
    return Machine(
        start_at=body.start_at,
        states=body.states,
        comment=body.comment,
        query_language=body.query_language or machine.query_language,
        processor_config=body.processor_config,
    )


class Machines:
    """The machines that were used last. A digest names one definition forever, so nothing here gets old."""

    def __init__(self, definitions: Definitions, read: Callable[[str], Machine]) -> None:
        """`definitions` finds a text, `read` makes a machine of it."""
        self._definitions = definitions
        self._read = read
        self._machines: OrderedDict[tuple[str, str], Machine] = OrderedDict()
        self._slow: set[tuple[str, str]] = set()

    async def get(self, tenant: str, digest: str) -> Machine:
        """The machine of that digest."""
        key = (tenant, digest)
        machine = self._machines.get(key)
        if machine is None:
            whole, _, part = digest.partition("#")
            text = await self._definitions(tenant, whole)
            machine = self._machines[key] = _part(self._read(text), part)
            if any(sign in text for sign in _SLOW):
                self._slow.add(key)
            if len(self._machines) > _MACHINES_MAX:
                gone, _ = self._machines.popitem(last=False)
                self._slow.discard(gone)
        else:
            self._machines.move_to_end(key)
        return machine

    def is_slow(self, tenant: str, digest: str) -> bool:
        """Whether a machine that was just got has expressions that may take a while."""
        return (tenant, digest) in self._slow
