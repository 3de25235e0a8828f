"""`corral invoke`: run an agent on a server and print what it says, as it says it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from corral.cli.client import Answer, client_for, header, problem_failure, segment
from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import show_json, write
from corral.cli.waiting import Waiting, waiting

app = new_app()

_MARGIN_S = 10.0
"""The server ends a run that takes too long by itself; only if it does not, the client gives up."""

Policy = Literal["enqueue", "reject", "interrupt", "rollback"]


@app.command()
def invoke(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    prompt: Annotated[
        str | None, typer.Argument(help="What to say, sent as {“prompt”: …}; - reads it from stdin.")
    ] = None,
    agent: Annotated[str, typer.Option("--agent", "-a", help="Which agent of the app.")] = "main",
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="Go on with this session, or begin it.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Who speaks.")] = None,
    payload: Annotated[
        str | None, typer.Option("--payload", "-p", metavar="JSON", help="Send this JSON instead; - reads stdin.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Send the JSON in this file; - reads stdin.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Longest run in seconds; the server's own by default.")
    ] = None,
    on_conflict: Annotated[
        Policy | None, typer.Option("--on-conflict", help="When another request has the session's turn.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an agent and print its reply as it comes. Without a prompt, JSON is read from what is piped in.

    With --json the whole reply is one document: `reply`, or `pieces` and `text` of a stream.
    """
    content = _content(prompt, payload, file)
    client = client_for(url, api_key)
    headers = {
        "X-Session-Id": session,
        "X-User-Id": user,
        "X-On-Conflict": on_conflict,
        "X-Timeout-S": None if timeout is None else f"{timeout:g}",
    }
    with (
        waiting(f"{agent} is at work") as wait,
        client.call(
            "POST",
            f"/v1/agents/{segment(agent)}/invocations",
            content=content,
            headers={name: header(name, value) for name, value in headers.items() if value},
            timeout_s=None if timeout is None else timeout + _MARGIN_S,
        ) as answer,
    ):
        answer.raise_for_status()
        about = {"agent": agent, "session_id": session, "url": client.url}
        if answer.streams:
            _stream(_pieces(answer, about), about, wait, as_json=as_json)
        else:
            _reply(answer, about, wait, as_json=as_json)


def _content(prompt: str | None, payload: str | None, file: str | None) -> bytes:
    """What to send, as it is sent."""
    try:
        return msgspec.json.encode(_payload(prompt, payload, file))
    except UnicodeError:
        raise _usage("What there is to send is not UTF-8.", "Save it as UTF-8, or set your terminal to that.") from None
    except RecursionError:
        raise _usage("What there is to send is nested too deeply.", "No agent takes that many levels.") from None


def _payload(prompt: str | None, payload: str | None, file: str | None) -> Any:
    given = [
        name for name, value in (("PROMPT", prompt), ("--payload", payload), ("--file", file)) if value is not None
    ]
    if len(given) > 1:
        raise _usage(f"{' and '.join(given)} say twice what to send.", "Give one of them.")
    if not given and not sys.stdin.isatty():
        payload = "-"
    elif not given:
        raise _nothing()
    if prompt is not None:
        return {"prompt": sys.stdin.read().strip() if prompt == "-" else prompt}
    text, where = (payload, "--payload") if payload is not None else _read(str(file))
    if text == "-":
        text, where = sys.stdin.read(), "stdin"
        if not given and not text.strip():
            raise _nothing()
    try:
        return msgspec.json.decode(text or "")
    except msgspec.DecodeError as error:
        raise _usage(
            f"{where} is not JSON: {error}.",
            'JSON looks like {"prompt": "Hello"}, quotes included; `corral invoke -` sends text from stdin.',
        ) from None


def _nothing() -> Failure:
    return _usage("There is nothing to send.", 'Give a prompt (`corral invoke "Hello"`), --payload, --file, or stdin.')


def _read(file: str) -> tuple[str, str]:
    if file == "-":
        return "-", "stdin"
    try:
        return Path(file).read_text(encoding="utf-8"), file
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _usage(f"{file} cannot be read: {reason}.", "Name a file that holds JSON.") from None


def _usage(message: str, hint: str) -> Failure:
    return Failure(message, hint, code="usage", status=Exit.USAGE)


def _reply(answer: Answer, about: dict[str, Any], wait: Waiting | None, *, as_json: bool) -> None:
    reply = answer.json()
    _end(wait)
    if as_json:
        show_json({**about, "request_id": answer.headers.get("x-request-id"), "reply": reply})
    else:
        write(_line(_as_text(reply)))


def _stream(found: Iterator[Any], about: dict[str, Any], wait: Waiting | None, *, as_json: bool) -> None:
    if as_json:
        pieces = list(found)
        _end(wait)
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        show_json({**about, "pieces": pieces, "text": text})
        return
    last = "\n"
    try:
        for piece in found:
            _end(wait)  # from here on the reply itself shows that something happens
            text = piece if isinstance(piece, str) else f"{_fresh(last)}{_compact(piece)}\n"
            if text:
                last = text
                write(text)
    finally:
        if not last.endswith("\n") and not isinstance(sys.exception(), BrokenPipeError):
            write("\n")


def _pieces(answer: Answer, about: dict[str, Any]) -> Iterator[Any]:
    """What the agent yielded. A stream without a last word was cut, which is an error."""
    for event in answer.events():
        if event.name == "message":
            yield event.data
        elif event.name == "done":
            about["request_id"] = event.data.get("request_id") if isinstance(event.data, dict) else None
            return
        elif event.name == "error":
            problem = event.data if isinstance(event.data, dict) else {}
            raise problem_failure(problem, int(problem.get("status") or 500))
    raise Failure(
        "The stream ended before the agent was done.",
        "The server may have been stopped: look at its log, then try again.",
        code="stream_cut",
    )


def _end(wait: Waiting | None) -> None:
    if wait is not None:
        wait.end()


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _fresh(last: str) -> str:
    return "" if last.endswith("\n") else "\n"
