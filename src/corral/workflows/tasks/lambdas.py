"""Functions as tasks call them: by a Lambda ARN, through `lambda:invoke`, and by a name of ours."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.context import Context
from corral.workflows.failing import StateFailed
from corral.workflows.functions import LATEST, Function, Functions
from corral.workflows.tasks.task import FunctionFailed, Say, Task, members

CallFunction = Callable[[Function, Any, Context, Say], Awaitable[Any]]
"""Calls it and returns JSON. Raises `FunctionFailed`."""
CallLater = Callable[[Function, Any, Task], Awaitable[None]]
"""Has it called once this task is over; durable when it returns."""

_NAMED = re.compile(
    r"(?:arn:aws[\w-]*:lambda:[\w-]*:\d*:function:|\d{12}:function:|function:)?(?P<name>[\w-]+)(?::(?P<qualifier>[\w$-]+))?"
)
_LOG_BYTES = 4096


class Lambdas:
    """Stands in for AWS Lambda: what it hosts are the app's functions."""

    def __init__(
        self,
        functions: Functions,
        call: CallFunction,
        call_later: CallLater,
        *,
        region: str,
        account: str,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Region and account are those of ARNs."""
        self._functions = functions
        self._call = call
        self._call_later = call_later
        self._prefix = f"arn:aws:lambda:{region}:{account}:function:"
        self._clock = clock

    async def do(self, task: Task) -> Any:
        """`arn:aws:lambda:…:function:NAME` with the payload as it is, or `arn:aws:states:::lambda:invoke`."""
        if task.resource.action:
            return await self._invoke(task)
        function = self._find(task.resource.name, "")
        return await self._called(function, task.payload, task, compact=False)

    async def own(self, task: Task) -> Any:
        """`corral:function:NAME`."""
        function = self._functions.find(task.resource.name)
        if function is None:
            raise StateFailed("Corral.FunctionNotFound", f"{self._functions.near(task.resource.name)}.")
        return await self._called(function, task.payload, task)

    def _find(self, name: str, qualifier: str) -> Function:
        function = self._functions.find(name)
        if function is None:
            raise StateFailed(
                "Lambda.ResourceNotFoundException",
                f"Function not found: {self._prefix}{name}:{qualifier or LATEST} (Service: AWSLambda; Status Code: 404; "
                f"Error Code: ResourceNotFoundException; Request ID: {new_id()}; Proxy: null)",
            )
        return function

    async def _called(self, function: Function, payload: Any, task: Task, *, compact: bool = True) -> Any:
        try:
            return await self._call(function, payload, task.context, task.say)
        except FunctionFailed as failed:
            raise StateFailed(failed.error, failed.cause(task.context.request_id, compact=compact)) from failed

    async def _invoke(self, task: Task) -> dict[str, Any]:
        given = members(task)
        asked = given.get("FunctionName")
        found = _NAMED.fullmatch(asked) if isinstance(asked, str) else None
        if found is None:
            raise StateFailed(
                "Lambda.ValidationException", f"FunctionName is a function's name or ARN, not {str(asked)[:200]!r}."
            )
        kind = given.get("InvocationType") or "RequestResponse"
        if kind not in {"RequestResponse", "Event", "DryRun"}:
            raise StateFailed(
                "Lambda.ValidationException",
                f"InvocationType is RequestResponse, Event or DryRun, not {str(kind)[:100]!r}.",
            )
        function = self._find(found["name"], str(given.get("Qualifier") or found["qualifier"] or ""))
        if kind == "DryRun":
            return self._answer(204, "", b"", task)
        payload = _event(given.get("Payload"))
        if kind == "Event":  # nobody waits for what it says
            await self._call_later(function, payload, task)
            return self._answer(202, "", b"", task)
        result = await self._called(function, payload, task)
        answer = self._answer(200, result, msgspec.json.encode(result), task)
        if given.get("LogType") == "Tail":
            lines = f"START RequestId: {task.context.request_id} Version: {LATEST}\nEND RequestId: {task.context.request_id}\n"
            answer["LogResult"] = base64.b64encode(lines.encode()[-_LOG_BYTES:]).decode()
        return answer

    def _answer(self, status: int, payload: Any, body: bytes, task: Task) -> dict[str, Any]:
        request_id = task.context.request_id
        headers = {
            "X-Amz-Executed-Version": LATEST,
            "x-amzn-Remapped-Content-Length": "0",
            "Connection": "keep-alive",
            "x-amzn-RequestId": request_id,
            "Content-Length": str(len(body)),
            "Date": formatdate(self._clock.now(), usegmt=True),
            "X-Amzn-Trace-Id": _trace_of(task),
            "Content-Type": "application/json",
        }
        return {
            "ExecutedVersion": LATEST,
            "Payload": payload,
            "SdkHttpMetadata": http_metadata(headers, status),
            "SdkResponseMetadata": {"RequestId": request_id},
            "StatusCode": status,
        }


def _event(payload: Any) -> Any:
    """What the function gets: a payload that is text is JSON already, as the body of a request is; none is an empty object."""
    if payload is None:  # a request without a body
        return {}
    if not isinstance(payload, str):
        return payload
    try:
        return msgspec.json.decode(payload) if payload else {}
    except (msgspec.DecodeError, UnicodeError):
        raise StateFailed(
            "Lambda.InvalidRequestContentException",
            f"Could not parse request body into json: Could not parse payload into json: {payload[:200]!r} (Service: "
            f"AWSLambda; Status Code: 400; Error Code: InvalidRequestContentException; Request ID: {new_id()}; Proxy: null)",
        ) from None


def function_named(functions: Functions, payload: Any) -> Function | None:
    """Which function a payload of `lambda:invoke` is for."""
    given = payload.get("FunctionName") if isinstance(payload, dict) else None
    found = _NAMED.fullmatch(given) if isinstance(given, str) else None
    return None if found is None else functions.find(found["name"])


def http_metadata(headers: dict[str, str], status: int = 200) -> dict[str, Any]:
    """What the SDK of an integration says of the answer it got."""
    return {
        "AllHttpHeaders": {name: [value] for name, value in headers.items()},
        "HttpHeaders": headers,
        "HttpStatusCode": status,
    }


def _trace_of(task: Task) -> str:
    context = task.context
    trace, sampled = context.trace_id or "0" * 32, int(context.sampled)
    return f"root=1-{trace[:8]}-{trace[8:]};parent={context.span_id or '0' * 16};sampled={sampled}"
