"""The same on AgentCore's own runtime, as its users start it. `reference_host.py PORT [stream]`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from bedrock_agentcore.runtime import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


async def echo(payload: Any) -> Any:
    """Say it again."""
    return payload


async def stream(payload: Any) -> AsyncIterator[Any]:  # noqa: ARG001 - an agent takes a payload
    """Count to a hundred."""
    for number in range(100):
        yield {"token": number}


app.entrypoint(stream if "stream" in sys.argv else echo)
app.run(port=int(sys.argv[1]))
