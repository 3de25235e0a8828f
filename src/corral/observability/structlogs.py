"""Lets structlog end where all other lines end, as soon as somebody uses it.

Importing structlog takes a tenth of a second, and most agents do without it: so it is set up when it is first imported.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from corral.observability.redaction import is_secret, redacted
from corral.observability.rendering import Fields, add_exception, begin

Emit = Callable[[Fields], None]


class StructlogSetup:
    """Sets structlog up now, or when it is imported. What a user has configured stays."""

    def __init__(self, level: int, emit: Emit) -> None:
        """`emit` takes the fields of each line that is at least as important as `level`."""
        self._level = level
        self._emit = emit
        self._configured = False

    def start(self) -> None:
        """Set up, or wait. Calling it again does nothing."""
        if "structlog" in sys.modules:
            self._configure()
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Undo it. Calling it again does nothing."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._configured:
            self._configured = False
            sys.modules["structlog"].reset_defaults()

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python asks before it imports a module: for structlog, the usual one and then our set-up."""
        if fullname != "structlog":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._configure)  # type: ignore[assignment]  # a loader by its methods
        return spec

    def _configure(self) -> None:
        import structlog  # noqa: PLC0415 - only where it is in use already

        if structlog.is_configured():
            return
        self._configured = True
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.StackInfoRenderer(),
                _as_arguments,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=lambda *names: _Sink(self._emit, names),
            cache_logger_on_first_use=False,
        )


class _Loader:
    """Loads a module as its own loader does, and then does one thing more."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then()


def _as_arguments(_logger: object, method: str, event: Any) -> tuple[tuple[str, Any], dict[str, Any]]:
    """The last processor: what the sink's method is called with."""
    return (method, event), {}


class _Sink:
    """Where structlog ends."""

    def __init__(self, emit: Emit, names: Sequence[object]) -> None:
        self._emit = emit
        self._name = str(names[0]) if names and names[0] else ""

    def msg(self, method: str, event: dict[str, Any]) -> None:
        error = event.pop("exc_info", None)
        fields = begin(time.time(), method, event.pop("event", ""), self._name)
        for key, value in event.items():
            fields[key] = "[redacted]" if is_secret(key) else redacted(value)
        add_exception(fields, _raised(error))
        self._emit(fields)

    log = debug = info = warn = warning = error = critical = fatal = failure = exception = err = msg


def _raised(given: Any) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None
