"""Requests that are counted where they come in, and begin nothing when there were too many: jobs, executions, the gateway, messages."""

from __future__ import annotations

from typing import Self

import msgspec

from corral.context import Context
from corral.errors import CorralError
from corral.limits.rate_headers import headers_of, openai_headers_of
from corral.limits.rates import Admission, Rates
from corral.limits.rules import Visitor, visitor_of
from corral.server.http import Message, Receive, Request, Send


class Counted:
    """Makes a block count as so many requests of its caller: `async with counted(request): …`. Without rates nothing counts."""

    def __init__(self, rates: Rates | None = None, *, as_openai: bool = False) -> None:
        """`as_openai`: the answer says how the limits stand in OpenAI's headers as well."""
        self._rates = rates
        self._as_openai = as_openai
        self.is_on = rates is not None
        """Whether anything counts."""

    async def admit(self, request: Request, visitor: Visitor | None = None, *, times: int = 1) -> Admission | None:
        """Count it, whatever comes of it; none: nothing counts. Raises `RateExceeded`, `LimitsUnavailable`."""
        if self._rates is None:
            return None
        admission = await self._rates.admit(visitor or visitor_of(request.context), times=times, where="door")
        headers = headers_of(admission.stands)
        if self._as_openai:
            headers += openai_headers_of(admission.stands)
        request.response_headers += headers
        return admission

    def __call__(self, request: Request, visitor: Visitor | None = None, *, times: int = 1) -> Counting:
        """`visitor`, where the body says who it is."""
        if self._rates is None:
            return _FREE
        return _Rated(self, request, visitor, times)

    def receiving(self, context: Context, receive: Receive, send: Send) -> Receive:
        """Each message of a WebSocket counts as a request; one that is too many is answered with an error, and not passed on."""
        rates = self._rates
        if rates is None:
            return receive

        async def counted() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                try:
                    await rates.admit(visitor_of(context), where="door")
                except CorralError as error:
                    await send({"type": "websocket.send", "text": _told(error)})
                else:
                    return message

        return counted


class Counting:
    """One such block, where nothing counts."""

    __slots__ = ()

    def undo(self) -> None:
        """It was asked for before, and nothing began."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Nothing was taken."""


_FREE = Counting()


class _Rated(Counting):
    """Where there are rates. What fails in it does not count."""

    __slots__ = ("_admission", "_counted", "_request", "_times", "_visitor")

    def __init__(self, counted: Counted, request: Request, visitor: Visitor | None, times: int) -> None:
        """Made by `Counted`."""
        self._counted = counted
        self._request = request
        self._visitor = visitor
        self._times = times
        self._admission: Admission | None = None

    def undo(self) -> None:
        if self._admission is not None:
            self._admission.undo()

    async def __aenter__(self) -> Self:
        """Raises `RateExceeded`, `LimitsUnavailable`."""
        self._admission = await self._counted.admit(self._request, self._visitor, times=self._times)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, CorralError):
            self.undo()


NOT_COUNTED = Counted()


def _told(error: CorralError) -> str:
    said: dict[str, object] = {"error": error.message, "code": error.code}
    if error.retry_after_s is not None:
        said["retry_after_s"] = round(error.retry_after_s, 3)
    return msgspec.json.encode(said).decode()
