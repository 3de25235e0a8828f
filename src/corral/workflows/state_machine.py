"""State machines as they are declared: what they do, how they are logged, their versions and the names of those."""

from __future__ import annotations

from typing import Literal

import msgspec

from corral.workflows.machine.run import Kind

Level = Literal["ALL", "ERROR", "FATAL", "OFF"]
INITIAL = "INITIAL"
"""The revision of a state machine that was never changed, where somebody names it."""


class Logging(msgspec.Struct, frozen=True, kw_only=True):
    """What of its executions is logged, and where. Kept for those who ask for it: our own logs are the operator's business."""

    level: Level = "OFF"
    include_data: bool = False
    destinations: tuple[str, ...] = ()
    """ARNs of log groups."""


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key encrypts. Kept for those who ask for it: the store's encryption is the operator's business."""

    type: Literal["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"] = "AWS_OWNED_KEY"
    key: str = ""
    reuse_s: int | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a state machine is, and what a version of it keeps for ever."""

    digest: str
    """Of the definition."""
    role_arn: str = ""
    kind: Kind = "STANDARD"
    logging: Logging = Logging()
    tracing: bool = False
    encryption: Encryption = Encryption()


class Weighted(msgspec.Struct, frozen=True):
    """A share of the executions goes to a version."""

    version: int
    weight: int


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name for one version, or for two of which chance takes one."""

    name: str
    routes: tuple[Weighted, ...]
    description: str = ""
    created_at: float
    updated_at: float


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A state machine as it was when this was published."""

    number: int
    setup: Setup
    revision_id: str = ""
    description: str = ""
    created_at: float


class StateMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A state machine as it is now."""

    name: str
    setup: Setup
    created_at: float
    updated_at: float
    """When what it does was last changed."""
    revision_id: str = ""
    """Changes with every change of what it does; empty until the first one."""
    is_deleting: bool = False
    versions: dict[str, float] = {}
    """By number, when they were published."""
    last_version: int = 0
    """Numbers are never given twice."""
    published: str = ""
    """The revision that the last version was made of."""
    aliases: dict[str, Alias] = {}
    tags: dict[str, str] = {}
    stamp: int = 0
    """The store's own revision: of changes at the same time, one happens."""

    def numbers(self) -> list[int]:
        """The versions there are, the latest first."""
        return sorted(map(int, self.versions), reverse=True)

    @property
    def shown_revision(self) -> str:
        """The revision's name, `INITIAL` for the first."""
        return self.revision_id or INITIAL


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Work that somebody outside asks for."""

    name: str
    created_at: float
    encryption: Encryption = Encryption()
    tags: dict[str, str] = {}
    stamp: int = 0


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What an ARN stands for in this moment: what an execution begins with."""

    name: str
    machine_arn: str
    setup: Setup
    version_arn: str = ""
    alias_arn: str = ""
    revision_id: str = ""
    is_deleting: bool = False
