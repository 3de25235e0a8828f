"""Ask the person at the terminal what a run waits for, and have it go on."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import typer

from corral.cli.agent_watch import Seen, Watcher, how_to_answer, pretty, question_of
from corral.cli.agents_api import AgentsApi
from corral.cli.output import bold, note

_CHOICES = "y: yes, n: no, e: edit the input, l: later"


def is_somebody_there() -> bool:
    """Whether there is a person who can be asked."""
    return sys.stdin.isatty()


def to_its_end(api: AgentsApi, seen: Seen) -> Seen:
    """Ask for each approval and go on, until the run ends or the person would rather answer later."""
    while seen.paused:
        if not seen.approvals and seen.run_id:  # it paused before as well: what it asked then is not told again
            seen.approvals = [
                {**one, "approval": one["id"]}
                for one in api.approvals(run_id=seen.run_id, status=["waiting"], limit=100)["items"]
            ]
        if not is_somebody_there() or not seen.approvals or not _all_answered(api, seen.approvals):
            for line in how_to_answer(seen):
                note(line)
            return seen
        seen = Watcher().watch(api.resume(seen.run_id), "it goes on")
    return seen


def _all_answered(api: AgentsApi, approvals: list[dict[str, Any]]) -> bool:
    """Ask for each, also after one that is left for later: the others can be answered all the same."""
    return [_answered(api, asked) for asked in approvals].count(False) == 0


def _answered(api: AgentsApi, asked: dict[str, Any]) -> bool:
    """False: later."""
    note(f"{bold('May I?')} {question_of(asked)}")
    if asked.get("message"):
        note(str(asked["message"]), faint=True)
    while True:
        choice = typer.prompt(_CHOICES, err=True, default="l", show_default=False).strip().lower()[:1]
        if choice == "l":
            return False
        content = _decision(choice, asked)
        if content is not None:
            api.decide(str(asked["approval"]), content)
            return True


def _decision(choice: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    if choice == "y":
        return {"decision": "approve"}
    if choice == "n":
        why = typer.prompt("Why? The model reads it", err=True, default="", show_default=False)
        return {"decision": "refuse", "note": why} if why else {"decision": "refuse"}
    if choice == "e":
        note(pretty(asked.get("input", {})))
        text = typer.prompt("The input, as JSON on one line", err=True)
        try:
            changed = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            note(f"That is not JSON: {error}.")
            return None
        if isinstance(changed, dict):
            return {"decision": "approve", "input": changed}
        note("The input is an object: name to value.")
    return None
