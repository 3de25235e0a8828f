"""Follow an execution to its end: its history as it is written, and what its tasks say, over as many connections as that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from corral.cli.agent_watch import pretty
from corral.cli.client import ServerEvent, problem_failure
from corral.cli.execution_shown import line_of
from corral.cli.failure import Exit, Failure
from corral.cli.output import bold, dim, note, show, show_json
from corral.cli.workflows_api import WorkflowsApi

_OPEN = frozenset({"running", "pending_redrive"})
_PAUSE_S = 0.2
_PAUSE_MAX_S = 5.0
_PATIENCE_S = 120.0
"""How long a server may be away that was there when the following began."""
_PASSING = frozenset({"connection_lost", "unreachable", "timeout"})
_SERVER_ERRORS = 500


def followed(
    api: WorkflowsApi,
    execution_id: str,
    *,
    after: str = "",
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[ServerEvent]:
    """Each event once, across connections that break, down to the last one: that is named by how the execution ended."""
    pause_s, away_since, heard = _PAUSE_S, now(), False
    while True:
        try:
            for event in api.events(execution_id, after=after):
                heard, pause_s, away_since = True, _PAUSE_S, now()
                after = event.id or after
                if event.name == "error":
                    problem = event.data if isinstance(event.data, dict) else {}
                    raise problem_failure(problem, int(problem.get("status") or 0))
                yield event
                if event.name not in {"history", "progress"}:
                    return
            heard = True
            if after.endswith(".end"):
                return
        except Failure as failure:
            passes = failure.code in _PASSING or failure.details.get("http_status", 0) >= _SERVER_ERRORS
            if not heard or not passes or now() - away_since > _PATIENCE_S:
                raise
        sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)


def to_its_end(api: WorkflowsApi, execution_id: str, *, as_json: bool, quiet: bool = False, after: str = "") -> int:
    """Show what happens, and what came of it. The exit status says whether it succeeded."""
    began: float | None = None
    for event in followed(api, execution_id, after=after):
        if as_json or quiet or not isinstance(event.data, dict):
            continue
        if event.name == "history":
            began = began if began is not None else event.data["at"]
            show(line_of(event.data, began))
        elif event.name == "progress":
            note(f"{event.data['state']}: {_said(event.data['data'])}", faint=True)
    ended = api.execution(execution_id)
    if as_json:
        show_json(ended)
    else:
        show_ended(ended)
    return Exit.OK if ended["status"] == "succeeded" else Exit.FAILED


def show_ended(ended: dict[str, Any]) -> None:
    """How it stands."""
    if ended["status"] == "succeeded":
        show(f"{bold('succeeded')}\n{pretty(ended.get('output'))}")
    elif ended["status"] in _OPEN:
        show(f"{bold(ended['status'])}")
    else:
        show(f"{bold(ended['status'])}  {ended['error'] or ''}")
        if ended["cause"]:
            show(f"  {dim(ended['cause'])}")


def _said(data: Any) -> str:
    return data if isinstance(data, str) else pretty(data)
