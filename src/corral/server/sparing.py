"""Modules that libraries import and no worker uses: they are loaded when somebody does."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

# What libraries ask of each nevertheless stands in another module.
_SPARED: dict[str, dict[str, str]] = {
    "logging.config": {},  # servers of its own, and pickles
    "uvicorn": {"Config": "uvicorn.config"},  # its command line and its own supervisors; modules within it are as ever
}
_lock = RLock()


class _Spared(ModuleType):
    """Stands for a module until something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Load it: what it defines is found without this from then on."""
        with _lock:  # another thread may be at it, and what is asked for come in a moment
            elsewhere = _SPARED[self.__name__].get(name)
            if elsewhere is not None:
                self.__dict__[name] = getattr(import_module(elsewhere), name)
            elif (spec := self.__dict__.pop("_spared", None)) is not None:
                _load(self, spec)
            try:
                return self.__dict__[name]
            except KeyError:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def _load(module: ModuleType, spec: ModuleSpec) -> None:
    assert spec.loader is not None  # noqa: S101 - those of packages and files have one
    try:
        spec.loader.exec_module(module)
    except BaseException:
        module.__dict__["_spared"] = spec
        raise


def spare() -> None:
    """Called in a process of our own, before the libraries are imported. What has been loaded already stays."""
    for name in _SPARED:
        spec = None if name in sys.modules else find_spec(name)
        if spec is None:
            continue
        module = module_from_spec(spec)
        module.__class__ = _Spared
        module.__dict__["_spared"] = spec
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
