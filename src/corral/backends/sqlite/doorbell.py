"""Processes beside one database file wake each other: one byte to a Unix socket after a commit, and who waits looks at once.

A hint and nothing more. It may be lost, or not be there at all (no such sockets here, a folder that cannot be written to):
whoever waits looks by itself every few milliseconds, and a little less often once everybody has seen its bell.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from corral.clock import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES_FOR_S = 0.1
"""How long a list of the others is good for: who came since then is woken later, or finds out by itself."""
_BELLS_MAX = 64
"""More are not rung: each costs the writer a few microseconds."""
_DESCRIPTORS = Path("/proc/self/fd")
"""Where there is one, addresses are short however long the path is: they may have about a hundred characters."""
_RING = b"!"
_RINGS = 4096


class Doorbell:
    """One process's own bell, for one thread that waits, and its hand on those of the others, for one that writes."""

    def __init__(self, database: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Beside the database file is a folder of bells."""
        self._folder = Path(f"{database}-bells")
        self._monotonic = monotonic
        self._name = f"{os.getpid()}-{new_id()[-8:]}"
        self._own: socket.socket | None = None
        self._hung_at = 0.0
        self._hand: socket.socket | None = None
        self._descriptor: int | None = None
        self._names: list[str] = []
        self._listed_at = -_NAMES_FOR_S

    # -- for who waits

    def hang(self) -> None:
        """Be rung from now on."""
        if self._own is not None or not hasattr(socket, "AF_UNIX"):
            return
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            bell.setblocking(False)
            bell.bind(self._address(self._name))
        except OSError:
            bell.close()
        else:
            self._own = bell
            self._hung_at = self._monotonic()

    @property
    def hangs(self) -> bool:
        """Whether anybody can ring."""
        return self._own is not None

    @property
    def is_known(self) -> bool:
        """Whether it has hung for so long that all who write have seen it."""
        return self._own is not None and self._monotonic() - self._hung_at > 2 * _NAMES_FOR_S

    def wait(self, seconds: float) -> None:
        """Until somebody rings, or the time is over."""
        if self._own is None:
            time.sleep(seconds)
        elif select.select([self._own], [], [], seconds)[0]:
            with suppress(OSError):  # until there is nothing left: many rings are one
                while True:
                    self._own.recv(_RINGS)

    def take_down(self) -> None:
        """Be rung no more. Calling it again does nothing."""
        bell, self._own = self._own, None
        if bell is not None:
            bell.close()
            (self._folder / self._name).unlink(missing_ok=True)

    # -- for who writes

    def ring(self) -> None:
        """Wake all others. Never waits: one whose socket is full has been rung often enough."""
        self.ring_known()
        self.ring_new()

    def ring_known(self) -> None:
        """Wake those that were there a moment ago: the quick half of `ring`."""
        for name in self._names:
            self._ring(name)

    def ring_new(self) -> None:
        """Look who is there, now and then, and wake who came since: the half of `ring` that has time."""
        now = self._monotonic()
        if now - self._listed_at >= _NAMES_FOR_S:
            known = set(self._names)
            self._listed_at, self._names = now, self._others()
            for name in self._names:
                if name not in known:
                    self._ring(name)

    def put_down(self) -> None:
        """Ring no more. Calling it again does nothing."""
        hand, self._hand = self._hand, None
        if hand is not None:
            hand.close()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _others(self) -> list[str]:
        try:
            return [bell.name for bell in self._folder.iterdir() if bell.name != self._name][:_BELLS_MAX]
        except OSError:
            return []  # nobody waits

    def _ring(self, name: str) -> None:
        try:
            if self._hand is None:
                self._hand = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._hand.setblocking(False)
            self._hand.sendto(_RING, self._address(name))
        except BlockingIOError:
            return
        except ConnectionRefusedError:  # its process is dead
            with suppress(OSError):
                (self._folder / name).unlink()
            self._listed_at = -_NAMES_FOR_S
        except OSError:  # it was just taken down, or is not ours to ring
            self._listed_at = -_NAMES_FOR_S

    def _address(self, name: str) -> str:
        if self._descriptor is None and _DESCRIPTORS.is_dir():
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        folder = self._folder if self._descriptor is None else _DESCRIPTORS / str(self._descriptor)
        return str(folder / name)
