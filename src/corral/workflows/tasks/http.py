"""`corral:http`: a call of an address that the definition names, never into the house itself."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import msgspec

from corral.errors import OutboundFailed
from corral.outbound.client import Answer, Outbound
from corral.workflows.failing import StateFailed
from corral.workflows.tasks.jobs import job_id_of
from corral.workflows.tasks.task import Task, invalid, members

_OK = range(200, 300)
_CAUSE_MAX = 32_768


class Http:
    """Calls addresses."""

    def __init__(self, outbound: Outbound) -> None:
        """What may be called, and how long that may take, `outbound` knows."""
        self._outbound = outbound

    async def do(self, task: Task) -> dict[str, Any]:
        """`{"StatusCode", "Headers", "ResponseBody"}` of an answer from 200 to 299; every other one fails the task.

        A call that is made again has the same `Idempotency-Key`; it is not the token, which is nobody else's business.
        """
        given = members(task, "method", "url", "headers", "query", "body", required=("url",))
        method = str(given.get("method") or ("POST" if "body" in given else "GET")).upper()
        headers = {str(name): str(value) for name, value in _object(task, "headers").items()}
        named = {name.lower() for name in headers}
        body = b""
        if given.get("body") is not None:
            body, kind = _written(given["body"])
            if "content-type" not in named:
                headers["Content-Type"] = kind
        if "idempotency-key" not in named:
            headers["Idempotency-Key"] = job_id_of(task.token)
        try:
            answer = await self._outbound.ask(method, _url(task, given), body, headers)
        except OutboundFailed as error:
            raise StateFailed("States.Http.Socket", error.message) from error
        return _result(answer)


def _object(task: Task, name: str) -> dict[str, Any]:
    value = task.payload.get(name) or {}
    if not isinstance(value, dict):
        raise invalid(task, f"has {name!r} as a JSON object")
    return value


def _url(task: Task, given: dict[str, Any]) -> str:
    url, query = str(given["url"]), _object(task, "query")
    if not query:
        return url
    before, sharp, fragment = url.partition("#")
    return f"{before}{'&' if '?' in before else '?'}{urlencode(query, doseq=True)}{sharp}{fragment}"


def _written(body: Any) -> tuple[bytes, str]:
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return msgspec.json.encode(body), "application/json"


def _result(answer: Answer) -> dict[str, Any]:
    if not answer.complete:
        raise StateFailed("States.Http.Socket", "The answer broke off, or is longer than a task's result may be.")
    result = {"StatusCode": answer.status, "Headers": answer.headers, "ResponseBody": _read(answer)}
    if answer.status not in _OK:
        cause = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        raise StateFailed(f"States.Http.StatusCode.{answer.status}", cause[:_CAUSE_MAX])
    return result


def _read(answer: Answer) -> Any:
    """JSON where it says that it is JSON; else text."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return answer.body.decode("utf-8", "replace")
    return answer.body.decode("utf-8", "replace")
