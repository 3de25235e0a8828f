"""Numbered, forward-only changes of the schema, read from `migrations/0001_….sql` of an engine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from corral.errors import ConfigError, StoreOutgrown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema. A name that begins with `fence_` tells running programs of before that they cannot go on with it."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What this step was when it was applied: a step that went out is never changed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path) -> list[Migration]:
    """The steps in a folder, in order; numbers run from 1 without a gap."""
    steps = []
    for expected, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        number, _, name = path.stem.partition("_")
        if int(number) != expected:
            raise ValueError(f"{path.name}: expected migration {expected:04d}")
        steps.append(Migration(expected, name, path.read_text(encoding="utf-8")))
    return steps


def pending(steps: Sequence[Migration], applied: Mapping[int, str], url: str) -> list[Migration]:
    """The steps still to apply, given version and checksum of those applied. Refuses a database that is not ours."""
    newest = max(applied, default=0)
    if newest > len(steps):
        raise ConfigError(
            f"The database at {url} has schema version {newest}, and this program knows {len(steps)}: "
            "upgrade Corral, or point `store.url` at another database."
        )
    for step in steps[:newest]:
        if applied.get(step.version) != step.checksum:
            raise ConfigError(
                f"Migration {step.version:04d}_{step.name} of the database at {url} is not the one this program has: "
                "it was applied by a different build. Point `store.url` at another database, or restore the build."
            )
    return list(steps[newest:])


def check_known(steps: Sequence[Migration], version: int) -> None:
    """Raise `StoreOutgrown` where a database that was opened before has had a fence put up since, which is its step `version`."""
    if version > len(steps):
        raise StoreOutgrown(
            f"A newer version of Corral has changed the store: this process knows its schema up to version {len(steps)}, and "
            f"cannot go on with version {version}. Replace this process by one of the new version."
        )
