"""A session's small JSON document: what an agent wants to find again next turn without reading the conversation."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from corral.errors import StateConflict, ValidationFailed
from corral.sessions.drafts import check_state

if TYPE_CHECKING:
    from corral.sessions.access import Access

_ATTEMPTS = 50
"""How often an update is tried again; each failure means that somebody else's update succeeded."""

Change = Callable[[Any], Any]


class SessionState:
    """Reads and writes the document. Two that write at once are told, if they say which version they read."""

    __slots__ = ("_access", "version")

    def __init__(self, access: Access) -> None:
        """Nothing is read yet."""
        self._access = access
        self.version = 0
        """The version this object last read or wrote; 0: never, or there is none yet."""

    async def get(self, default: Any = None) -> Any:
        """The document, or `default` when none was ever written."""
        state = await self._access.read_state()
        self.version = state.version
        return state.value if state.version else default

    async def set(self, value: Any, *, expected_version: int | None = None) -> int:
        """Replace the document and return its new version.

        With `expected_version` (0: none written yet) raises `StateConflict` when somebody else wrote in between.
        Raises `ValidationFailed` when the value is not JSON or is above 64 KB.
        """
        check_state(value)
        self.version = await self._access.write_state(value, expected_version)
        return self.version

    async def update(self, change: Callable[[Any], Any | Awaitable[Any]], default: Any = None) -> Any:
        """Replace the document by `change(document)`; called again when somebody else wrote in between."""
        for _ in range(_ATTEMPTS):
            read = await self._access.read_state()
            value = change(read.value if read.version else default)
            if inspect.isawaitable(value):
                value = await value
            try:
                await self.set(_changed(value), expected_version=read.version)
            except StateConflict:
                continue
            return value
        raise _too_busy()


class SyncState:
    """`SessionState` for synchronous agents."""

    __slots__ = ("_access", "_state")

    def __init__(self, access: Access) -> None:
        """Nothing is read yet."""
        self._access = access
        self._state = SessionState(access)

    @property
    def version(self) -> int:
        """The version this object last read or wrote; 0: never, or there is none yet."""
        return self._state.version

    def get(self, default: Any = None) -> Any:
        """The document, or `default` when none was ever written."""
        return self._access.home.run_blocking(self._state.get(default))

    def set(self, value: Any, *, expected_version: int | None = None) -> int:
        """Replace the document and return its new version. See `SessionState.set`."""
        return self._access.home.run_blocking(self._state.set(value, expected_version=expected_version))

    def update(self, change: Change, default: Any = None) -> Any:
        """Replace the document by `change(document)`, called in this thread. See `SessionState.update`."""
        for _ in range(_ATTEMPTS):
            read = self._access.home.run_blocking(self._access.read_state())
            value = _changed(change(read.value if read.version else default))
            try:
                self.set(value, expected_version=read.version)
            except StateConflict:
                continue
            return value
        raise _too_busy()


def _changed(value: Any) -> Any:
    if value is None:
        raise ValidationFailed(
            "The change returned nothing: it must return the new state (`state.set(None)` clears it)."
        )
    return value


def _too_busy() -> StateConflict:
    return StateConflict(f"The session's state changed {_ATTEMPTS} times while it was being updated; try again later.")
