"""What every section of the settings is made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from corral.settings.masking import masked

# No longer than clocks and databases can count: about thirty years.
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Pause = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the settings: frozen, strict about unknown keys, and shown without its secrets."""

    def __repr__(self) -> str:
        parts = [f"{name}={masked(name, getattr(self, name))!r}" for name in self.__struct_fields__]
        return f"{type(self).__name__}({', '.join(parts)})"
