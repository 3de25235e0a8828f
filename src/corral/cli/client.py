"""A small HTTP client for Corral's own API, from the standard library: one connection for each call."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

import corral
from corral.cli.failure import NEXT_STEPS, Exit, Failure
from corral.cli.project import local_url
from corral.cli.waiting import waiting

DEFAULT_URL = "http://127.0.0.1:8080"
_CONNECT_S = 5.0
_ANSWER_S = 30.0
_SHORTEST_S = 0.001
"""No time at all would mean not to wait, not even for what is there."""
_READ = 65_536
_UNAUTHENTICATED = 401
_NOT_FOUND = 404
_ERRORS = 400
_SERVER_ERRORS = 500
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")


class ServerEvent(msgspec.Struct, frozen=True):
    """One event of a stream."""

    name: str
    data: Any
    id: str = ""


class Answer:
    """The head of a response; its body is read when asked for."""

    def __init__(self, url: str, response: http.client.HTTPResponse, allow: Callable[[float], None]) -> None:
        """Nothing of the body is read yet. `allow` says how long the next read may take."""
        self._url = url
        self._response = response
        self._allow = allow
        self.status = response.status
        self.headers = response.headers

    @property
    def streams(self) -> bool:
        """Whether events follow."""
        return self.headers.get_content_type() == "text/event-stream"

    def json(self) -> Any:
        """The body as JSON; nothing when it is empty."""
        body = self._body()
        if not body:
            return None
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise _not_corral(self._url) from None

    def lines(self) -> Iterator[bytes]:
        """The body line by line, each as soon as it came."""
        rest = b""
        while chunk := self._chunk(None):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def events(self, within_s: Callable[[], float] | None = None) -> Iterator[ServerEvent]:
        """The events, each as soon as it came. A stream that breaks off raises, and so does one that says nothing.

        `within_s` says how long it may be silent from now: a stream that only says that it is there brings no event.
        """
        name, number, rest = "", "", b""
        data: list[bytes] = []
        while chunk := self._chunk(within_s):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = line.rstrip(b"\r")
                if not text:
                    if data:
                        yield ServerEvent(name or "message", _decoded(b"\n".join(data), self._url), number)
                    name, data = "", []
                elif text.startswith(b"data:"):
                    data.append(text[5:].removeprefix(b" "))
                elif text.startswith(b"event:"):
                    name = text[6:].strip().decode()
                elif text.startswith(b"id:"):
                    number = text[3:].strip().decode()

    def raise_for_status(self) -> None:
        """Raise what the server said went wrong, if anything."""
        if self.status >= _ERRORS:
            raise problem_failure(self._problem(), self.status)

    def _problem(self) -> dict[str, Any]:
        try:
            content = msgspec.json.decode(self._body())
        except msgspec.DecodeError:
            content = None
        return content if isinstance(content, dict) else {}

    def _body(self) -> bytes:
        try:
            return self._response.read()
        except (http.client.HTTPException, OSError) as error:
            raise _cut(error) from None

    def _chunk(self, within_s: Callable[[], float] | None) -> bytes:
        if within_s is not None:
            self._allow(max(_SHORTEST_S, within_s()))
        try:
            return self._response.read1(_READ)
        except (http.client.HTTPException, OSError) as error:
            raise _cut(error) from None


class Client:
    """One server."""

    def __init__(self, url: str, key: str | None = None, *, quiet: bool = False) -> None:
        """Nothing is connected yet. A `quiet` one shows no line while it waits: many may ask at once."""
        parts, host, port = _parsed(url)
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = host
        self._port = port
        self._prefix = parts.path.rstrip("/")
        self._key = None if key is None else header("API key", key)
        self._quiet = quiet

    @contextlib.contextmanager
    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = _ANSWER_S,
    ) -> Iterator[Answer]:
        """Send a request; the connection is closed at the end of the block, whatever happens in it."""
        connection = self._connection()
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self._unreachable(error) from None
            allow = connection.sock.settimeout
            allow(timeout_s)
            try:
                connection.request(method, self._prefix + path, content, self._headers(headers, content))
                response = connection.getresponse()
            except (http.client.HTTPException, OSError) as error:
                raise _cut(error) from None
            yield Answer(self.url, response, allow)
        finally:
            connection.close()

    def ask(
        self,
        method: str,
        path: str,
        content: object = msgspec.UNSET,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> Any:
        """Send JSON, get JSON, raise what the server said went wrong."""
        body = None if content is msgspec.UNSET else msgspec.json.encode(content)
        with (
            contextlib.nullcontext() if self._quiet else waiting(f"asking {self.url}"),
            self.call(method, path, content=body, headers=headers, timeout_s=timeout_s) as answer,
        ):
            answer.raise_for_status()
            return answer.json()

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=_CONNECT_S)

    def _headers(self, given: Mapping[str, str] | None, content: bytes | None) -> dict[str, str]:
        headers = {"Accept": "*/*", "User-Agent": f"corral/{corral.__version__}", **(given or {})}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    def _unreachable(self, error: OSError) -> Failure:
        reason = error.strerror if error.strerror and not isinstance(error, socket.gaierror) else str(error)
        return Failure(
            f"No server answers at {self.url} ({reason or type(error).__name__}).",
            "Start one with `corral dev`, or name another with `--url` (environment CORRAL_URL).",
            code="unreachable",
            status=Exit.NOT_FOUND,
        )


def client_for(url: str | None, key: str | None, *, quiet: bool = False) -> Client:
    """A client of the server that was named, else of the one that runs from this folder, else of the usual address."""
    return Client(url or local_url() or DEFAULT_URL, key, quiet=quiet)


def _parsed(url: str) -> tuple[SplitResult, str, int | None]:
    """A server's URL in parts."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme in {"http", "https"} and parts.hostname and url.isascii() and not _UNSENDABLE.search(url):
            return parts, parts.hostname, port
    raise Failure(
        f"{url!r} is not the URL of a server.",
        f"Write it as {DEFAULT_URL} (`--url`, or the environment variable CORRAL_URL).",
        code="usage",
        status=Exit.USAGE,
    )


def header(name: str, value: str) -> str:
    """A text that can stand in a header."""
    if not value.isascii() or not value.isprintable():
        shown = name if name == "API key" else f"{name} {value!r}"
        raise Failure(
            f"The {shown} cannot be sent.", "Keys and ids are plain ASCII in one line.", code="usage", status=Exit.USAGE
        )
    return value


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def problem_failure(problem: Mapping[str, Any], status: int) -> Failure:
    """A problem document as a failure."""
    code = str(problem.get("code") or f"http_{status}")
    message = problem.get("detail") or problem.get("title") or problem.get("error") or f"The server answered {status}."
    errors = problem.get("errors") or []
    request_id = problem.get("request_id")
    told = [error for error in errors if isinstance(error, dict)]
    faults = [_fault(error) for error in told if message not in {error.get("message"), _fault(error)}]
    return Failure(
        "\n  ".join([str(message), *faults]),
        _next_step(problem, status, code),
        code=code,
        status=Exit.NOT_FOUND if status == _NOT_FOUND else Exit.FAILED,
        http_status=status,
        errors=errors,
        request_id=request_id,
    )


def _next_step(problem: Mapping[str, Any], status: int, code: str) -> str:
    at = f", at request {problem['request_id']}" if problem.get("request_id") else ""
    if status == _UNAUTHENTICATED:
        return "Give a key that is let in with `--api-key`, or set CORRAL_API_KEY."
    if not problem:
        return "If that is not Corral, name the right server with `--url` (environment CORRAL_URL)."
    if code == "agent_error":
        return f"The server's log has the traceback{at}."
    known = NEXT_STEPS.get(code) or ("Try again in a moment." if problem.get("retryable") else "")
    if known or problem.get("errors"):  # which say themselves what is expected
        return known
    if status < _SERVER_ERRORS:
        return "The server's /openapi.json says what it has, and what it expects."
    return f"The server's log says more{at}."


def _fault(error: Mapping[str, Any]) -> str:
    return f"{error.get('pointer') or '(all)'}: {error.get('message', '')}"


def _decoded(data: bytes, url: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        raise _not_corral(url) from None


def _not_corral(url: str) -> Failure:
    return Failure(
        f"What answers at {url} is not Corral.",
        "Name the right server with `--url` (environment CORRAL_URL); `corral status` lists those that run here.",
        code="not_corral",
    )


def _cut(error: Exception) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure(
            "The server did not answer in time.",
            "Allow more with `--timeout`, and see what the server is doing with `corral status`.",
            code="timeout",
        )
    return Failure(
        "The connection broke before the answer was complete.",
        "The server may have been stopped: look at its log, then try again.",
        code="connection_lost",
    )
