"""The loop's lag, and who blocks it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time

from corral.observability.blocking import LoopWatch, users_frame


def hold_up(said: threading.Event) -> None:
    """Block the loop until the watch has said so."""
    end = time.monotonic() + 10
    while not said.is_set() and time.monotonic() < end:
        pass


class Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.said.set()


async def test_the_place_that_blocks_is_named_once():
    listener = Listener()
    logger = logging.getLogger("corral.observability")
    logger.addHandler(listener)
    watch = LoopWatch(threshold_s=0.05)
    watch.start()
    watch.start()
    try:
        hold_up(listener.said)
        assert len(listener.messages) == 1
        assert __file__ in listener.messages[0]
        assert "blocks the event loop" in listener.messages[0]
        async with asyncio.timeout(10):
            while watch.lag_s < 0.01:  # noqa: ASYNC110 - the loop coming round is the event
                await asyncio.sleep(0)
    finally:
        watch.stop()
        watch.stop()
        logger.removeHandler(listener)


def test_frames_that_are_not_the_users_are_skipped():
    assert users_frame(None) is None
    assert users_frame(sys._getframe())[0] == __file__
