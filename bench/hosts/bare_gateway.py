"""The least that a gateway in Python does: takes a request, asks the provider, gives its answer back, and looks at neither.

    python bare_gateway.py PORT PROVIDER_PORT

uvicorn with uvloop and httptools in front, Corral's own client behind. What stands between them in a gateway (keys, limits,
caches, routes, prices, budgets, traces) comes on top of this.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from corral.models.transport import Transport

_CHAT = "/v1/chat/completions"
_HEADERS = {"content-type": "application/json"}


class BareGateway:
    """An ASGI app without a framework."""

    def __init__(self, provider: str) -> None:
        """Asks there."""
        self._url = provider + _CHAT
        self._transport = Transport("provider", connect_s=5.0, idle_s=60.0, timeout_s=60.0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        with await self._transport.stream(self._url, body, _HEADERS) as asked:
            kind = asked.headers.get("content-type", "")
            head: dict[str, Any] = {"type": "http.response.start", "status": asked.status}
            head["headers"] = [(b"content-type", kind.encode())]
            if kind.startswith("application/json"):
                whole = await asked.body()
                head["headers"].append((b"content-length", b"%d" % len(whole)))
                await send(head)
                await send({"type": "http.response.body", "body": whole})
                return
            await send(head)
            async for piece in asked:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until told to stop."""
    port, provider = int(sys.argv[1]), f"http://127.0.0.1:{sys.argv[2]}"
    app = BareGateway(provider)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
