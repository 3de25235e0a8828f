"""What the verbs about workflows, executions and events ask of a server. All answers are as the API gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from corral.cli.client import Client, ServerEvent, client_for, header, segment

_SILENT_S = 60.0
"""A stream says something more often than this, if only that it is there."""
_MARGIN_S = 30.0
_NO_CONTENT = 204
_PAGE = 1000


class WorkflowsApi:
    """The workflows of one server."""

    def __init__(self, client: Client) -> None:
        """Asks `client`."""
        self.url = client.url
        self._client = client

    # -- definitions

    def workflows(self, **query: object) -> dict[str, Any]:
        """`GET /v1/workflows`."""
        return self._get("/v1/workflows", **query)

    def workflow(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """`GET /v1/workflows/{name}`."""
        return self._get(_workflow(name), version=version)

    def create(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /v1/workflows`."""
        return self._ask("POST", "/v1/workflows", content)

    def save(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """`PUT /v1/workflows/{name}`."""
        return self._ask("PUT", _workflow(name), content)

    def delete(self, name: str) -> bool:
        """`DELETE /v1/workflows/{name}`. False: it goes with the last of its executions."""
        return self._client.ask("DELETE", _workflow(name)) is None

    def versions(self, name: str) -> list[dict[str, Any]]:
        """`GET /v1/workflows/{name}/versions`."""
        found: list[dict[str, Any]] = self._get(f"{_workflow(name)}/versions")["items"]
        return found

    def publish(self, name: str, description: str) -> dict[str, Any]:
        """`POST /v1/workflows/{name}/versions`."""
        return self._ask("POST", f"{_workflow(name)}/versions", {"description": description})

    def graph(self, name: str, **query: object) -> str:
        """`GET /v1/workflows/{name}/graph`."""
        with self._client.call("GET", _with(f"{_workflow(name)}/graph", query)) as answer:
            answer.raise_for_status()
            return b"\n".join(answer.lines()).decode()

    # -- executions

    def begin(
        self, workflow: str, content: Mapping[str, Any], *, key: str | None, wait_s: float | None = None
    ) -> dict[str, Any]:
        """`POST /v1/workflows/{name}/executions`."""
        headers = {} if key is None else {"Idempotency-Key": header("idempotency key", key)}
        path = _with(f"{_workflow(workflow)}/executions", {"wait": None if wait_s is None else f"{wait_s:g}s"})
        answer: dict[str, Any] = self._client.ask(
            "POST", path, content, headers=headers, timeout_s=(wait_s or 0) + _MARGIN_S
        )
        return answer

    def executions(self, **query: object) -> dict[str, Any]:
        """`GET /v1/executions`."""
        return self._get("/v1/executions", **query)

    def execution(self, execution_id: str) -> dict[str, Any]:
        """`GET /v1/executions/{id}`."""
        return self._get(_execution(execution_id))

    def history(self, execution_id: str, *, limit: int | None = None, reverse: bool = False) -> list[dict[str, Any]]:
        """`GET /v1/executions/{id}/history`: all of it, or so many of its events."""
        found: list[dict[str, Any]] = []
        after: int | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            query = {"after": after, "limit": size, "reverse": "true" if reverse else None}
            page = self._get(f"{_execution(execution_id)}/history", **query)
            found += page["items"]
            after = page["next_after"]
            if after is None:
                break
        return found

    def events(self, execution_id: str, *, after: str) -> Iterator[ServerEvent]:
        """`GET /v1/executions/{id}/events`: those after the one with the id `after`, then live."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        path = f"{_execution(execution_id)}/events"
        with self._client.call("GET", path, headers=headers, timeout_s=_SILENT_S) as answer:
            answer.raise_for_status()
            if answer.status != _NO_CONTENT:
                yield from answer.events(lambda: _SILENT_S)

    def act(self, execution_id: str, action: str, content: object = msgspec.UNSET) -> dict[str, Any]:
        """`POST /v1/executions/{id}/stop`, `…/redrive`, `…/fork`."""
        return self._ask("POST", f"{_execution(execution_id)}/{action}", content)

    # -- events

    def publish_event(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /v1/events`."""
        return self._ask("POST", "/v1/events", content)

    def match(self, pattern: object, event: object) -> bool:
        """`POST /v1/events/match`."""
        return bool(self._ask("POST", "/v1/events/match", {"pattern": pattern, "event": event})["matches"])

    def rules(self, **query: object) -> list[dict[str, Any]]:
        """`GET /v1/events/rules`."""
        found: list[dict[str, Any]] = self._get("/v1/events/rules", **query)["items"]
        return found

    def rule(self, name: str) -> dict[str, Any]:
        """`GET /v1/events/rules/{name}`."""
        return self._get(f"/v1/events/rules/{segment(name)}")

    def save_rule(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """`PUT /v1/events/rules/{name}`."""
        return self._ask("PUT", f"/v1/events/rules/{segment(name)}", content)

    def remove_rule(self, name: str) -> None:
        """`DELETE /v1/events/rules/{name}`."""
        self._client.ask("DELETE", f"/v1/events/rules/{segment(name)}")

    # -- inside

    def _ask(self, method: str, path: str, content: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.ask(method, path, content)
        return answer

    def _get(self, path: str, **query: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.ask("GET", _with(path, query))
        return answer


def workflows_api(url: str | None, key: str | None) -> WorkflowsApi:
    """The server that was named, or runs from this folder, or may be at the usual address."""
    return WorkflowsApi(client_for(url, key))


def _with(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None and value != []}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _workflow(name: str) -> str:
    return f"/v1/workflows/{segment(name)}"


def _execution(execution_id: str) -> str:
    return f"/v1/executions/{segment(execution_id)}"
