"""Health checks: is the process alive, may it get requests, what does each part say, and the metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from corral.errors import CorralError, StoreOutgrown
from corral.runtime.health import Health
from corral.runtime.pipeline import Door
from corral.server.dialects import CONTRACT
from corral.server.http import Request
from corral.server.routes import Answer, Route

_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
_PING = {
    "type": "object",
    "properties": {
        "status": {"enum": ["Healthy", "HealthyBusy", "Draining"]},
        "time_of_last_update": {"type": "integer", "description": "When the status last changed, seconds since 1970."},
    },
    "required": ["status", "time_of_last_update"],
}
_READY = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ok", "not ready"]},
        "failed": {"type": "array", "items": {"type": "string"}, "description": "The parts that are not ready."},
        "reason": {"type": "string", "description": "What to do about it, where that is no secret."},
    },
    "required": ["status", "failed"],
}
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


class Part(msgspec.Struct, frozen=True):
    """One part of the house as `/health` shows it."""

    status: str
    """`ok`, `starting` or `failed`."""
    detail: str = ""


class Outgrown(Part, frozen=True):
    """The store has become another one; how to go on may be said to whoever asks."""


class HealthRoutes:
    """Handlers of all health checks."""

    def __init__(
        self,
        health: Health,
        door: Door,
        check_store: Callable[[], Awaitable[None]],
        metrics: Callable[[], Awaitable[bytes]],
        *,
        info: Callable[[], dict[str, Any]],
        warmups: Callable[[], Mapping[str, str | None]],
    ) -> None:
        """`info` says what else `/health` shows; `warmups` what is built (none), or why not yet (empty: it goes on)."""
        self._health = health
        self._door = door
        self._check_store = check_store
        self._metrics = metrics
        self._info = info
        self._warmups = warmups

    def routes(self, *, with_metrics: bool) -> list[Route]:
        """All of them."""
        found = [
            Route(
                method="GET",
                path="/ping",
                handler=self.ping,
                dialect=CONTRACT,
                tag="health",
                public=True,
                quiet=True,
                summary="Healthy or busy (AgentCore's container contract)",
                answers={200: Answer("The status", _PING), 503: Answer("The worker is draining", _PING)},
            ),
            Route(
                method="GET",
                path="/livez",
                handler=self.live,
                tag="health",
                public=True,
                quiet=True,
                summary="The process answers",
                answers={200: Answer("Alive", _STATUS)},
            ),
            Route(
                method="GET",
                path="/readyz",
                handler=self.ready,
                tag="health",
                public=True,
                quiet=True,
                summary="Requests are welcome: the store answers and every agent is built",
                answers={200: Answer("Ready", _READY), 503: Answer("Not ready", _READY)},
            ),
            Route(
                method="GET",
                path="/health",
                handler=self.detail,
                tag="health",
                quiet=True,
                summary="What each part says",
                answers={200: Answer("Everything works", _STATUS), 503: Answer("Something does not", _STATUS)},
            ),
        ]
        if with_metrics:
            found.append(
                Route(
                    method="GET",
                    path="/metrics",
                    needs="auditor",
                    handler=self.metrics,
                    tag="health",
                    quiet=True,
                    summary="Metrics of all workers of this server, for Prometheus",
                    answers={200: Answer("Metrics", {"type": "string"}, "text/plain")},
                )
            )
        return found

    async def ping(self, request: Request) -> None:
        """`GET /ping`."""
        content = self._health.ping()
        if self._door.draining:
            await request.respond_json(content | {"status": "Draining"}, 503)
            return
        await request.respond_json(content)

    async def live(self, request: Request) -> None:
        """`GET /livez`."""
        await request.respond_json({"status": "ok"})

    async def ready(self, request: Request) -> None:
        """`GET /readyz`."""
        parts = await self._parts()
        failed = [name for name, part in parts.items() if part.status != "ok"]
        content: dict[str, object] = {"status": "not ready" if failed else "ok", "failed": failed}
        if isinstance(parts["store"], Outgrown):
            content["reason"] = parts["store"].detail
        await request.respond_json(content, 503 if failed else 200)

    async def detail(self, request: Request) -> None:
        """`GET /health`."""
        parts = await self._parts()
        fine = all(part.status == "ok" for part in parts.values())
        content = {"status": "ok" if fine else "failing", **self._info(), "parts": parts, "ping": self._health.ping()}
        await request.respond_json(content, 200 if fine else 503)

    async def metrics(self, request: Request) -> None:
        """`GET /metrics`."""
        await request.respond(200, await self._metrics(), _METRICS)

    async def _parts(self) -> dict[str, Part]:
        parts = {"worker": Part("failed", "draining") if self._door.draining else Part("ok")}
        try:
            await self._check_store()
            parts["store"] = Part("ok")
        except StoreOutgrown as error:
            parts["store"] = Outgrown("failed", error.message)
        except CorralError as error:
            parts["store"] = Part("failed", error.message)
        for name, failure in self._warmups().items():
            if failure is None:
                parts[name] = Part("ok")
            else:
                parts[name] = Part("failed", failure) if failure else Part("starting", "It is still being built.")
        return parts
