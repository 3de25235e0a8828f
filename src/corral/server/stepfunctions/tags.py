"""Tags of state machines and activities."""

from __future__ import annotations

from typing import Any

from corral.server.stepfunctions.operations import Asked, Work
from corral.server.stepfunctions.shown import tags_in
from corral.workflows.tagging import Tagging


class Tags:
    """Set, remove and list."""

    def __init__(self, tagging: Tagging) -> None:
        """`tagging` finds what an ARN names."""
        self._tagging = tagging

    def operations(self) -> dict[str, Work]:
        """All of them."""
        return {
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.listed,
        }

    async def tag(self, asked: Asked) -> dict[str, Any]:
        """Set some."""
        await self._tagging.tag(asked.tenant, asked.body["resourceArn"], tags_in(asked.body["tags"]))
        return {}

    async def untag(self, asked: Asked) -> dict[str, Any]:
        """Remove some."""
        await self._tagging.untag(asked.tenant, asked.body["resourceArn"], asked.body["tagKeys"])
        return {}

    async def listed(self, asked: Asked) -> dict[str, Any]:
        """All of something."""
        tags = await self._tagging.tags(asked.tenant, asked.body["resourceArn"])
        return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
