"""Keeps messages invisible to others for as long as they are worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from corral.jobs.bridges.port import Message, MessageQueue, ShutOutError, TryAgainError

_BEATS = 3
"""Beats in one visibility time: two may fail before a message is lost."""


class Holding:
    """The messages at work, and the thread that extends their time."""

    def __init__(self, source: MessageQueue, visibility_s: float, say: Callable[[str], None]) -> None:
        """Nothing is held yet."""
        self._source = source
        self._pause_s = visibility_s / _BEATS
        self._say = say
        self._held: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="corral-bridge-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to extend."""
        self._thread.start()

    def stop(self) -> list[Message]:
        """Extend no more; what is still held."""
        self._over.set()
        self._thread.join()
        return self.take_all()

    def add(self, messages: Iterable[Message]) -> None:
        """Hold these as well."""
        with self._lock:
            self._held |= {message.receipt: message for message in messages}

    def drop(self, messages: Iterable[Message]) -> None:
        """Hold these no more."""
        with self._lock:
            for message in messages:
                self._held.pop(message.receipt, None)

    def take_all(self) -> list[Message]:
        """All that are held; from now on none is."""
        with self._lock:
            found = list(self._held.values())
            self._held.clear()
        return found

    def _beat(self) -> None:
        while not self._over.wait(self._pause_s):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                lost = self._source.extend(held)
            except (TryAgainError, ShutOutError) as error:
                self._say(f"Messages could not be kept for longer: {error}")
                continue
            for message in lost:
                self._say(f"Message {message.id} is not ours any more; it will come again, and find its job.")
            self.drop(lost)
