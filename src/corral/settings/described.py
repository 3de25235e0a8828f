"""Every setting with its value and where that came from, fit to be shown: secrets are masked."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.settings.check import FIELDS
from corral.settings.load import Loaded
from corral.settings.masking import masked

DEFAULT = "(default)"


class Setting(msgspec.Struct, frozen=True):
    """One setting, as a person may see it."""

    key: str
    value: Any
    source: str
    """`corral.yaml:12`, `CORRAL_SERVER_PORT`, `--port` or `(default)`."""


def described(loaded: Loaded) -> list[Setting]:
    """All settings, in the order of the documentation."""
    found = []
    for key in FIELDS:
        value: Any = loaded.settings
        for name in key.split("."):
            value = getattr(value, name)
        shown = masked(key.rpartition(".")[2], msgspec.to_builtins(value, enc_hook=str))
        found.append(Setting(key, shown, loaded.sources.get(key, DEFAULT)))
    return found
