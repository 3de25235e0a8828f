"""The loop's lag, and who blocks it."""

from __future__ import annotations

import logging
import sys
import threading
import time

import pytest

from corral import clock
from corral.observability.blocking import _NOT_THE_USERS, LoopWatch, users_frame


class Listener(logging.Handler):
    """Hears what is said, and lets the test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.said.set()

    def block_until_said(self) -> None:
        """Hold up the loop until the watch has said so."""
        end = time.monotonic() + 10
        while not self.said.is_set() and time.monotonic() < end:
            pass


class Turned:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    monotonic = now


@pytest.fixture
def listener():
    listener = Listener()
    logger = logging.getLogger("corral.observability")
    logger.addHandler(listener)
    yield listener
    logger.removeHandler(listener)


async def test_the_place_that_blocks_is_named_once(listener):
    watch = LoopWatch(threshold_s=0.05)
    watch.start()
    watch.start()
    try:
        listener.block_until_said()
        (message,) = listener.messages
        line = Listener.block_until_said.__code__.co_firstlineno
        assert any(f"{__file__}:{line + n}, in Listener.block_until_said, blocks" in message for n in range(6))
        assert watch.lag_s > 0.05
        watch._say(sys._getframe())
        watch._say(sys._getframe())
        watch._say(None)
        assert len(listener.messages) == 2
    finally:
        watch.stop()
        watch.stop()
    assert watch.lag_s == 0


async def test_how_late_the_loop_was_stays_visible_for_a_while():
    turned = Turned()
    watch = LoopWatch(report=False, clock=turned)
    watch.start()
    assert watch.lag_s == 0
    turned.at += 3.5  # due after half a second, and not come yet
    assert watch.lag_s == 3
    watch._beat()
    assert watch.lag_s == 3
    for seconds, lag in ((9.5, 9), (5, 9), (5, 9), (0.5, 9), (10, 9.5), (0.5, 9.5), (9.5, 9.5)):
        turned.at += seconds
        watch._beat()
        assert watch.lag_s == lag
    watch.stop()


def test_frames_that_are_not_the_users_are_skipped():
    here = sys._getframe()
    assert users_frame(None) is None
    assert users_frame(here) is here
    assert clock.__file__.startswith(_NOT_THE_USERS)
    assert logging.__file__.startswith(_NOT_THE_USERS)
    assert not clock.__file__.replace("/corral/", "/corral_shop/").startswith(_NOT_THE_USERS)
