"""The events of a call, closed when the block around them is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from corral.messages import ModelEvent


def closing(events: AsyncIterator[ModelEvent]) -> aclosing[AsyncGenerator[ModelEvent, None]]:
    """Who stops early gives back at once what a call holds."""
    return aclosing(cast("AsyncGenerator[ModelEvent, None]", events))
