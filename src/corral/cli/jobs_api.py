"""What the verbs about jobs ask of a server. All answers are as the API gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from corral.cli.client import Client, ServerEvent, client_for, header, segment

_SILENT_S = 60.0
"""A stream says something more often than this, if only that it is there."""
_NO_CONTENT = 204
_ID_CHARS = 36


class JobsApi:
    """The jobs of one server."""

    def __init__(self, client: Client) -> None:
        """Asks `client`."""
        self.url = client.url
        self._client = client

    # -- one job

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """`POST /v1/jobs`."""
        submitted: dict[str, Any] = self._client.ask("POST", "/v1/jobs", request, headers=_keyed(idempotency_key))
        return submitted

    def job(self, job_id: str, *, wait_s: float | None = None) -> dict[str, Any]:
        """`GET /v1/jobs/{id}`: as it is, or as soon as it has ended, but after `wait_s` at the latest."""
        return self._get(_path(job_id), wait=None if wait_s is None else f"{wait_s:g}s")

    def whole_id(self, text: str) -> str:
        """The id of the job whose id is this, or is the only one that begins so."""
        return text if len(text) == _ID_CHARS else str(self.job(text)["id"])

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """`GET /v1/jobs/{id}/attempts`."""
        found: list[dict[str, Any]] = self._get(_path(job_id) + "/attempts")["items"]
        return found

    def callbacks(self, job_id: str) -> list[dict[str, Any]]:
        """`GET /v1/jobs/{id}/callbacks`."""
        found: list[dict[str, Any]] = self._get(_path(job_id) + "/callbacks")["items"]
        return found

    def events(
        self, job_id: str, *, after: str, left_s: Callable[[], float] = lambda: _SILENT_S
    ) -> Iterator[ServerEvent]:
        """`GET /v1/jobs/{id}/events`: those after the one with the id `after`, then live. Ends where the stream does.

        `left_s` says how long anybody will still listen: a job may be silent for longer.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self._client.call("GET", _path(job_id) + "/events", headers=headers, timeout_s=_SILENT_S) as answer:
            answer.raise_for_status()
            if answer.status != _NO_CONTENT:
                yield from answer.events(lambda: min(_SILENT_S, left_s()))

    def act(self, job_id: str, action: str, content: object = msgspec.UNSET) -> dict[str, Any]:
        """`POST /v1/jobs/{id}/cancel`, `…/retry`, `…/discard`."""
        answer: dict[str, Any] = self._client.ask("POST", f"{_path(job_id)}/{action}", content)
        return answer

    def signal(self, job_id: str, name: str, value: object) -> dict[str, Any] | None:
        """`POST /v1/jobs/{id}/signals/{name}`."""
        answer: dict[str, Any] | None = self._client.ask("POST", f"{_path(job_id)}/signals/{segment(name)}", value)
        return answer

    # -- many

    def jobs(self, **query: object) -> dict[str, Any]:
        """`GET /v1/jobs`."""
        return self._get("/v1/jobs", **query)

    def act_on_many(self, action: str, query: Mapping[str, object]) -> dict[str, Any]:
        """`POST /v1/jobs/cancel`, `/redrive`, `/discard`, with a filter."""
        answer: dict[str, Any] = self._client.ask("POST", f"/v1/jobs/{action}", dict(query))
        return answer

    def submit_batch(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """`POST /v1/jobs/batches`."""
        answer: dict[str, Any] = self._client.ask("POST", "/v1/jobs/batches", request, headers=_keyed(idempotency_key))
        return answer

    def batch(self, batch_id: str) -> dict[str, Any]:
        """`GET /v1/jobs/batches/{id}`."""
        return self._get(f"/v1/jobs/batches/{segment(batch_id)}")

    def queues(self) -> dict[str, Any]:
        """`GET /v1/queues`."""
        return self._get("/v1/queues")

    # -- schedules

    def schedules(self) -> list[dict[str, Any]]:
        """`GET /v1/schedules`."""
        found: list[dict[str, Any]] = self._get("/v1/schedules")["items"]
        return found

    def save_schedule(self, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """`PUT /v1/schedules/{name}`."""
        answer: dict[str, Any] = self._client.ask("PUT", f"/v1/schedules/{segment(name)}", content)
        return answer

    def remove_schedule(self, name: str) -> None:
        """`DELETE /v1/schedules/{name}`."""
        self._client.ask("DELETE", f"/v1/schedules/{segment(name)}")

    def _get(self, path: str, **query: object) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None and value != ()}
        answer: dict[str, Any] = self._client.ask("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path)
        return answer


def jobs_api(url: str | None, key: str | None) -> JobsApi:
    """The server that was named, or runs from this folder, or may be at the usual address."""
    return JobsApi(client_for(url, key))


def _path(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}"


def _keyed(idempotency_key: str | None) -> dict[str, str]:
    return {} if idempotency_key is None else {"Idempotency-Key": header("idempotency key", idempotency_key)}
