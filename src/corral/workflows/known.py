"""Large values that this process has written or read not long ago: the next state is about to ask for them.

They are found by their names, and names by the very object: what is handed on unchanged is neither encoded nor written again.
Nobody changes a value once it is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

_BYTES_MAX = 32_000_000


class KnownValues:
    """The ones that were wanted last, as many as there is room for."""

    def __init__(self) -> None:
        """None yet."""
        self._known: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()
        self._names: dict[tuple[str, str], dict[int, str]] = {}
        """By tenant and folder: which object has which name. An object stays itself for as long as it is known."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether a name of a tenant is known."""
        return key in self._known

    def get(self, tenant: str, name: str) -> tuple[Any, int] | None:
        """A value and how many bytes it has."""
        return self._known.get((tenant, name))

    def add(self, tenant: str, name: str, value: Any, size: int) -> None:
        """Keep a value at hand."""
        key = (tenant, name)
        if key in self._known:
            self._known.move_to_end(key)
            return
        self._known[key] = (value, size)
        self._names.setdefault((tenant, _folder_of(name)), {})[id(value)] = name
        self.size += size
        while self.size > _BYTES_MAX and len(self._known) > 1:
            self._remove(next(iter(self._known)))

    def forget(self, tenant: str, names: Iterable[str]) -> None:
        """These are not kept anywhere."""
        for name in names:
            if (tenant, name) in self._known:
                self._remove((tenant, name))

    def names(self, tenant: str, folder: str) -> dict[int, str]:
        """Under which names the objects of a folder are known, by `id`."""
        return self._names.get((tenant, folder), {})

    def _remove(self, key: tuple[str, str]) -> None:
        value, size = self._known.pop(key)
        self.size -= size
        folder = (key[0], _folder_of(key[1]))
        names = self._names[folder]
        del names[id(value)]
        if not names:
            del self._names[folder]


def _folder_of(name: str) -> str:
    return name[: name.rindex("/") + 1]
