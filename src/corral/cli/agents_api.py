"""What the verbs about agents ask of a server."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from corral.cli.client import Answer, Client, client_for, header, problem_failure, segment
from corral.cli.failure import Failure

_RUN = "X-Run-Id"
"""Names the run that is kept: there is one where a single agent works."""


class AgentsApi:
    """Agents, their runs and approvals, through the API."""

    def __init__(self, client: Client, *, user: str | None = None) -> None:
        """`user` is who speaks and answers."""
        self._client = client
        self._user = user
        self.url = client.url

    # -- agents

    def agents(self) -> list[dict[str, Any]]:
        """`GET /v1/agents`."""
        found: list[dict[str, Any]] = self._get("/v1/agents")["agents"]
        return found

    def agent(self, name: str) -> dict[str, Any]:
        """`GET /v1/agents/{name}`."""
        return self._get(f"/v1/agents/{segment(name)}")

    def run(
        self, agent: str, prompt: str, *, session: str | None, variables: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """`POST /v1/agents/{name}/runs`: its events."""
        content: dict[str, Any] = {"prompt": prompt, "stream": True}
        if variables:
            content["variables"] = dict(variables)
        return self._events(f"/v1/agents/{segment(agent)}/runs", content, session=session)

    # -- runs

    def runs(self, **query: object) -> dict[str, Any]:
        """`GET /v1/runs`."""
        return self._get("/v1/runs", **query)

    def run_info(self, run_id: str) -> dict[str, Any]:
        """`GET /v1/runs/{id}`."""
        return self._get(_run(run_id))

    def entries(self, run_id: str) -> list[dict[str, Any]]:
        """`GET /v1/runs/{id}/entries`, all of them."""
        found: list[dict[str, Any]] = []
        while page := self._get(f"{_run(run_id)}/entries", after=len(found), limit=1000)["items"]:
            found += page
        return found

    def resume(self, run_id: str) -> Iterator[dict[str, Any]]:
        """`POST /v1/runs/{id}/resume`: its events."""
        return self._events(f"{_run(run_id)}/resume", {"stream": True}, session=None)

    def cancel(self, run_id: str) -> dict[str, Any]:
        """`POST /v1/runs/{id}/cancel`."""
        answer: dict[str, Any] = self._client.ask("POST", f"{_run(run_id)}/cancel", headers=self._headers(None))
        return answer

    def fork(self, run_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /v1/runs/{id}/fork`."""
        answer: dict[str, Any] = self._client.ask("POST", f"{_run(run_id)}/fork", content, headers=self._headers(None))
        return answer

    # -- approvals

    def approvals(self, **query: object) -> dict[str, Any]:
        """`GET /v1/approvals`."""
        return self._get("/v1/approvals", **query)

    def approval(self, approval_id: str) -> dict[str, Any]:
        """`GET /v1/approvals/{id}`."""
        return self._get(f"/v1/approvals/{segment(approval_id)}")

    def link(self, approval_id: str) -> dict[str, Any]:
        """`POST /v1/approvals/{id}/link`."""
        path = f"/v1/approvals/{segment(approval_id)}/link"
        answer: dict[str, Any] = self._client.ask("POST", path, headers=self._headers(None))
        return answer

    def decide(self, approval_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /v1/approvals/{id}`. Who answers is named: a decision without a name helps nobody later."""
        headers = self._headers(None)
        headers.setdefault("X-User-Id", _me())
        path = f"/v1/approvals/{segment(approval_id)}"
        answer: dict[str, Any] = self._client.ask("POST", path, content, headers=headers)
        return answer

    # -- inside

    def _headers(self, session: str | None) -> dict[str, str]:
        named = {"X-Session-Id": session, "X-User-Id": self._user}
        return {name: header(name, value) for name, value in named.items() if value}

    def _get(self, path: str, **query: object) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None and value != []}
        path = f"{path}?{urlencode(given, doseq=True)}" if given else path
        answer: dict[str, Any] = self._client.ask("GET", path, headers=self._headers(None))
        return answer

    def _events(self, path: str, content: Mapping[str, Any], *, session: str | None) -> Iterator[dict[str, Any]]:
        body, headers = msgspec.json.encode(content), self._headers(session)
        with self._client.call("POST", path, content=body, headers=headers, timeout_s=None) as answer:
            answer.raise_for_status()
            yield from _told(answer)


def agents_api(url: str | None, key: str | None, *, user: str | None = None) -> AgentsApi:
    """The server that was named, or runs from this folder, or may be at the usual address."""
    return AgentsApi(client_for(url, key), user=user)


def _told(answer: Answer) -> Iterator[dict[str, Any]]:
    """What happened in the run. A stream without a last word was cut, which is an error."""
    for event in answer.events():
        if event.name == "message" and isinstance(event.data, dict):
            yield event.data if _RUN in answer.headers else _unkept(event.data)
        elif event.name == "done":
            return
        elif event.name == "error":
            problem = event.data if isinstance(event.data, dict) else {}
            raise problem_failure(problem, int(problem.get("status") or 500))
    raise Failure(
        "The stream ended before the run was over.",
        "`corral runs list` shows it: what was interrupted goes on with `corral runs resume RUN`.",
        code="stream_cut",
    )


def _unkept(event: dict[str, Any]) -> dict[str, Any]:
    """The last event of a team that is done has no id: what it names was kept by nobody."""
    return event | {"run_id": ""} if event.get("type") == "finished" and event.get("reason") != "paused" else event


def _run(run_id: str) -> str:
    return f"/v1/runs/{segment(run_id)}"


def _me() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a process without a user's name, as in many containers
        return "unnamed"
    return name if name.isascii() and name.isprintable() else "unnamed"
