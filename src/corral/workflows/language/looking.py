"""Looking at a definition that somebody sent, without keeping others waiting: a long one is looked at in a thread."""

from __future__ import annotations

import asyncio
from typing import Any

from corral.workflows.language.checking import faults
from corral.workflows.language.document import document_of
from corral.workflows.language.fault import DefinitionInvalid, Fault, errors_of

_SHORT = 1_024
"""Characters that are looked at within a few milliseconds, whatever they are: reading an expression of 16,000 may take half a second."""


def faults_of(text: str | dict[str, Any], *, kind: str = "STANDARD") -> list[Fault]:
    """Everything that is wrong with what was sent, be it no definition at all."""
    try:
        return faults(document_of(text), kind=kind)
    except DefinitionInvalid as invalid:
        return invalid.faults


async def faults_in(text: str | dict[str, Any], *, kind: str = "STANDARD") -> list[Fault]:
    """The same, beside whatever else happens."""
    if isinstance(text, str) and len(text) <= _SHORT:
        return faults_of(text, kind=kind)
    return await asyncio.to_thread(faults_of, text, kind=kind)


async def check(text: str | dict[str, Any], *, kind: str = "STANDARD") -> None:
    """Refuse what is no definition: `DefinitionInvalid`, with everything that is wrong."""
    found = await faults_in(text, kind=kind)
    if errors_of(found):
        raise DefinitionInvalid(found)
