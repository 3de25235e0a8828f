"""What all suites share: the two stores, and short ways to say something in a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from corral.sessions.event import Draft, EventQuery, SessionKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from corral.backends.stores import Stores
    from corral.messages import Role
    from corral.sessions.event import SessionEvent

KEY = SessionKey("acme", "s-1")
PATIENCE_S = 20.0


class Contract:
    """A suite for one port. The fixtures are the backend's to provide."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def stores(self) -> Stores:
        """Started stores without any data."""
        raise NotImplementedError

    @pytest.fixture
    def other_stores(self) -> Stores:
        """A second instance on the same data, as another process would have."""
        raise NotImplementedError


def said(text: str, role: Role = "user", **more: Any) -> Draft:
    """A draft with one text part."""
    return Draft(role=role, content=[{"type": "text", "text": text}], **more)


async def texts(stores: Stores, key: SessionKey = KEY, **query: Any) -> list[str]:
    """What a session says, oldest first."""
    page = await stores.sessions.events(key, EventQuery(**{"limit": 1000, **query}))
    return [event.text for event in reversed(page.items)]


async def listed(stores: Stores, key: SessionKey = KEY) -> list[SessionEvent]:
    """All events of a session, oldest first."""
    page = await stores.sessions.events(key, EventQuery(limit=10_000))
    return page.items[::-1]


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that another thread or process brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():  # noqa: ASYNC110 - another process brings it about, and sets no event of ours
            await asyncio.sleep(0.005)
