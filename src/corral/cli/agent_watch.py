"""A run as it happens, on a terminal: what is said goes to stdout, what is done beside it to stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from corral.cli.output import note, write
from corral.cli.waiting import Waiting, waiting

_SHORT = 100
_ASKED_AGAIN = "approval_required"


class Seen(msgspec.Struct):
    """What was seen of a run until it ended or paused."""

    run_id: str = ""
    status: str = ""
    output: Any = None
    approvals: list[dict[str, Any]] = []
    steps: int = 0
    tool_calls: int = 0
    usage: dict[str, Any] = {}
    cost_usd: float | None = None
    events: list[dict[str, Any]] = []

    @property
    def paused(self) -> bool:
        """Whether it waits for people."""
        return self.status == "paused"

    def as_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        shown = msgspec.structs.asdict(self)
        del shown["events"]
        return shown


class Watcher:
    """Shows events one by one."""

    def __init__(self, *, quiet: bool = False) -> None:
        """`quiet`: nothing is shown, and all is remembered."""
        self._quiet = quiet
        self._last = "\n"
        self._said = False
        self._wait: Waiting | None = None
        self.seen = Seen()

    def watch(self, events: Iterable[dict[str, Any]], what: str) -> Seen:
        """Show a run to its end. What went wrong raises, once what was said stands on a line of its own."""
        with contextlib.ExitStack() as stack:
            if not self._quiet:
                self._wait = stack.enter_context(waiting(what))
            try:
                for event in events:
                    self._take(event)
            finally:
                self._end_wait()
                self._fresh_line()
        return self.seen

    def _take(self, event: dict[str, Any]) -> None:
        seen, kind = self.seen, event.get("type")
        seen.events.append(event)
        match kind:
            case "text":
                self._say(str(event.get("text", "")))
            case "tool_started":
                self._beside(f"→ {event.get('name')} {_brief(event.get('input', {}))}")
            case "tool_finished":
                self._beside(_finished(event))
            case "hand_off":
                reason = f": {event['reason']}" if event.get("reason") else ""
                self._beside(f"⇒ {event.get('to')} goes on{reason}")
            case "approval":
                seen.approvals.append(event)
            case "finished":
                self._finished(event)

    def _finished(self, event: dict[str, Any]) -> None:
        seen = self.seen
        seen.run_id, seen.status = str(event.get("run_id", "")), str(event.get("reason", "done"))
        seen.output = event.get("output")
        seen.steps, seen.tool_calls = int(event.get("steps", 0)), int(event.get("tool_calls", 0))
        seen.usage, seen.cost_usd = event.get("usage", {}), event.get("cost_usd")
        if not self._said and seen.output is not None:
            self._say(seen.output if isinstance(seen.output, str) else pretty(seen.output))

    def _say(self, text: str) -> None:
        if self._quiet or not text:
            return
        self._end_wait()
        self._said, self._last = True, text
        write(text)

    def _beside(self, text: str) -> None:
        if self._quiet:
            return
        self._end_wait()
        self._fresh_line()
        note(text, faint=True)

    def _fresh_line(self) -> None:
        if not self._last.endswith("\n"):
            self._last = "\n"
            write("\n")

    def _end_wait(self) -> None:
        if self._wait is not None:
            self._wait.end()
            self._wait = None


def told(seen: Seen) -> str:
    """What it took, in a line."""
    usage = seen.usage
    tokens = sum(int(usage.get(name, 0)) for name in ("input", "cache_read", "cache_write", "output", "reasoning"))
    cost = "" if seen.cost_usd is None else f", ${seen.cost_usd:.4f}"
    run = f" · run {seen.run_id}" if seen.run_id else ""
    return f"{_counted(seen.steps, 'step')}, {_counted(seen.tool_calls, 'tool call')}, {tokens} tokens{cost}{run}"


def how_to_answer(seen: Seen) -> Iterator[str]:
    """What to do about a run that waits."""
    for asked in seen.approvals:
        yield f"It waits for a person: {question_of(asked)}"
        yield f"  corral approvals approve {asked.get('approval')}   (or refuse)"
    if seen.run_id:
        yield f"  corral runs resume {seen.run_id}"


def question_of(asked: dict[str, Any]) -> str:
    """What is asked, in a line."""
    return f"{asked.get('tool')} {_brief(asked.get('input', {}))}"


def _finished(event: dict[str, Any]) -> str:
    error = event.get("error")
    if error == _ASKED_AGAIN:
        return f"← {event.get('name')} waits for a person"
    took = f"{float(event.get('duration_s', 0)):.2f} s"
    if error:
        return f"← {event.get('name')} failed: {error} ({took})"
    cached = f", {event['cached']}" if event.get("cached") else ""
    return f"← {event.get('name')} {_content(event.get('content', []))} ({took}{cached})"


def _content(parts: list[dict[str, Any]]) -> str:
    return _short(" ".join(str(part.get("text", "")) for part in parts))


def _brief(value: Any) -> str:
    return _short(msgspec.json.encode(value).decode())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else line[: _SHORT - 1] + "…"


def pretty(value: Any) -> str:
    """A value as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
