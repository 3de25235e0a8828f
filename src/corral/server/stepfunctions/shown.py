"""What several operations show or read alike: configurations, tags, roles, and what a definition refers to."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from corral.server.stepfunctions.operations import Asked, without_nothing
from corral.workflows.arns import ArnInvalid
from corral.workflows.catalog import TAGS_MAX, Catalog
from corral.workflows.refusals import LoggingInvalid, TooManyTags
from corral.workflows.state_machine import Encryption, Logging, Setup

Describe = Callable[[Asked, Setup], Awaitable[dict[str, Any]]]
"""The definition and the variables that its states refer to, unless only metadata is asked for."""

_SHORT = 16_384
"""Characters that are looked through within a few milliseconds."""
_KNOWN_MAX = 256
_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d*:role/.+")
_LOG_GROUP = re.compile(r"arn:aws[\w-]*:logs:[\w-]*:\d*:log-group:.+")


class Definitions:
    """Definitions as they are described."""

    def __init__(self, catalog: Catalog) -> None:
        """The catalog has the texts."""
        self._catalog = catalog
        self._references: OrderedDict[str, dict[str, list[str]]] = OrderedDict()

    async def described(self, asked: Asked, setup: Setup) -> dict[str, Any]:
        """The definition to the letter, and the variables that its states refer to."""
        if asked.body.get("includedData") == "METADATA_ONLY":
            return {}
        text = await self._catalog.definition(asked.tenant, setup.digest)
        references = await self._referred(setup.digest, text)
        return {"definition": text, **({"variableReferences": references} if references else {})}

    async def _referred(self, digest: str, text: str) -> dict[str, list[str]]:
        """A digest names one text forever, so what it refers to is found once; in a thread where the text is long."""
        known = self._references.get(digest)
        if known is None:
            known = _references(text) if len(text) <= _SHORT else await asyncio.to_thread(_references, text)
            self._references[digest] = known
            if len(self._references) > _KNOWN_MAX:
                self._references.popitem(last=False)
        return known


def _references(text: str) -> dict[str, list[str]]:
    from corral.workflows.language.document import document_of  # noqa: PLC0415 - heavy
    from corral.workflows.language.reading import machine_of  # noqa: PLC0415 - heavy
    from corral.workflows.language.references import variable_references  # noqa: PLC0415 - heavy

    return variable_references(machine_of(document_of(text)))


def described_setup(setup: Setup) -> dict[str, Any]:
    """Role and configurations."""
    return {
        "roleArn": setup.role_arn,
        "loggingConfiguration": described_logging(setup.logging),
        "tracingConfiguration": {"enabled": setup.tracing},
        "encryptionConfiguration": described_encryption(setup.encryption),
    }


def described_logging(logging: Logging) -> dict[str, Any]:
    """What of the executions is logged."""
    destinations = [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}} for arn in logging.destinations]
    return without_nothing(
        {"level": logging.level, "includeExecutionData": logging.include_data, "destinations": destinations or None}
    )


def described_encryption(encryption: Encryption) -> dict[str, Any]:
    """Whose key encrypts."""
    return without_nothing(
        {
            "type": encryption.type,
            "kmsKeyId": encryption.key or None,
            "kmsDataKeyReusePeriodSeconds": encryption.reuse_s,
        }
    )


def logging_in(given: dict[str, Any] | None) -> Logging:
    """A logging configuration. Raises `LoggingInvalid`."""
    if not given:
        return Logging()
    groups = [one.get("cloudWatchLogsLogGroup", {}).get("logGroupArn", "") for one in given.get("destinations") or []]
    if not all(_LOG_GROUP.fullmatch(group) for group in groups):
        raise LoggingInvalid("Invalid Logging Configuration: Log Destination is not a log group.")
    return Logging(
        level=given.get("level", "OFF"),
        include_data=bool(given.get("includeExecutionData", False)),
        destinations=tuple(groups),
    )


def encryption_in(given: dict[str, Any] | None) -> Encryption:
    """An encryption configuration."""
    if not given:
        return Encryption()
    return Encryption(
        type=given["type"], key=given.get("kmsKeyId", ""), reuse_s=given.get("kmsDataKeyReusePeriodSeconds")
    )


def tags_in(given: list[dict[str, str]] | None) -> dict[str, str]:
    """Tags by key. Raises `TooManyTags`."""
    tags = {one["key"]: one.get("value", "") for one in given or [] if "key" in one}
    if len(tags) > TAGS_MAX:
        raise TooManyTags
    return tags


def role_in(arn: str) -> str:
    """A role's ARN: kept and shown, but nothing is done in its name. Raises `ArnInvalid`."""
    if _ROLE.fullmatch(arn) is None:
        raise ArnInvalid(f"Invalid Role Arn: '{arn}'")
    return arn
