"""`corral status`: the servers that run from this folder, and how they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from corral.cli.client import Client
from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import dim, show, show_json, show_table
from corral.cli.project import running_servers, server_url
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.server.found import RunningServer

app = new_app()

_HEALTH_S = 3.0


@app.command()
def status(url: Url = None, api_key: Key = None, as_json: Json = False) -> int:
    """Show the servers that run from this folder. Status 1 when one of them is not well, 3 when none runs."""
    if url is not None:
        found = [{"url": url.rstrip("/"), **_health(url, api_key)}]
    else:
        found = [_described(server, alive, api_key) for server, alive in running_servers()]
    if as_json:
        show_json({"servers": found})
    elif not any(server["health"] != "gone" for server in found):
        raise Failure(
            "No server runs from this folder.",
            "Start one with `corral dev`, or ask another: `corral status --url …`.",
            code="not_running",
            status=Exit.NOT_FOUND,
        )
    else:
        _show(found)
    if not any(server["health"] not in {"gone", "unreachable"} for server in found):
        return Exit.NOT_FOUND
    return Exit.OK if all(server["health"] in {"ok", "gone"} for server in found) else Exit.FAILED


def _described(server: RunningServer, alive: bool, key: str | None) -> dict[str, Any]:
    url = server_url(server)
    if not alive:
        health: dict[str, Any] = {"health": "gone"}
    elif url is None:  # it cannot be asked; its processes are there
        health = {"health": "ok" if server.state == "serving" and server.workers else "unknown"}
    else:
        health = _health(url, key)
    return {"url": url, **msgspec.to_builtins(server), **health}


def _health(url: str, key: str | None) -> dict[str, Any]:
    """What `/health` says; where that asks for a key that nobody gave, what `/readyz` says."""
    client = Client(url, key)
    try:
        for path in ("/health", "/readyz"):
            with waiting(f"asking {url}"), client.call("GET", path, timeout_s=_HEALTH_S) as answer:
                content = answer.json()
            if answer.status in {200, 503} and isinstance(content, dict):
                said = str(content.get("status"))
                shown = {name: content[name] for name in ("in_flight", "load", "functions") if name in content}
                return {"health": said, "parts": content.get("parts", {}), **shown}
    except Failure as failure:
        return {"health": "unreachable", "detail": failure.message}
    return {"health": "unknown"}


def _show(found: list[dict[str, Any]]) -> None:
    show_table(
        ["URL", "ROLE", "HEALTH", "STATE", "WORKERS", "PID", "UP", "TARGET"],
        [
            [
                server["url"] or "-",
                server.get("role", "-"),
                server["health"],
                server.get("state", "-"),
                len(server.get("workers", ())) or "-",
                server.get("pid", "-"),
                _since(server.get("started_at")),
                server.get("target", "-"),
            ]
            for server in found
        ],
    )
    for server in found:
        for name, part in server.get("parts", {}).items():
            if part.get("status") != "ok":
                show(dim(f"{server['url']} {name}: ") + f"{part.get('status')} {part.get('detail', '')}".rstrip())
        for line, load in server.get("load", {}).items():
            served = f"{load['in_flight']} of {load['limit']} places taken, {load['waiting']} calls wait"
            show(dim(f"{server['url']} {line}: ") + served)
        if server.get("functions"):
            show(dim(f"{server['url']} functions: ") + ", ".join(server["functions"]))
        if server["health"] == "unreachable":
            show(dim(f"{server['url']}: ") + server["detail"])


def _since(started_at: float | None) -> str:
    if started_at is None:
        return "-"
    seconds = max(0, int(time.time() - started_at))
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
