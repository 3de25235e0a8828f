"""Workflows and executions as the API shows them, and what requests about them ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import parse_qsl

import msgspec

from corral.errors import ValidationFailed
from corral.jobs.request import check_fields, fault
from corral.server.http import Request, parse_json
from corral.server.job_query import PAGE, PAGE_MAX, text_moment, whole_number, word
from corral.workflows.arns import Arns
from corral.workflows.desk import WorkflowDraft
from corral.workflows.execution import ExecutionInfo
from corral.workflows.language.fault import Fault
from corral.workflows.machine.run import ExecutionStatus, HistoryEvent
from corral.workflows.state_machine import StateMachine, Version
from corral.workflows.store import ExecutionQuery

STATUSES: tuple[str, ...] = tuple(status.lower() for status in get_args(ExecutionStatus))
ERROR_MAX = 256
CAUSE_MAX = 32_768
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_CURSOR_MAX = 1024
_TAGS_MAX, _TAG_NAME_MAX, _TAG_MAX = 50, 128, 256
_DESCRIPTION_MAX = 256
_AFTER_MAX = 10**12
END_MARK = ".end"
"""Behind the number of the last event: the id of how an execution ended."""

_encode = msgspec.json.encode
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


# -- asked ------------------------------------------------------------------------------------------------------------------


async def body_of(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    """The body as an object of known fields; none at all is an empty one."""
    body = await request.body()
    return check_fields(parse_json(body, request.json_depth_max) if body else {}, known)


def draft_asked(body: dict[str, Any], name: str) -> WorkflowDraft:
    """A workflow as somebody wants it."""
    definition, kind, publish = body.get("definition"), body.get("kind"), body.get("publish", False)
    if not isinstance(definition, str | dict) or (not definition and isinstance(definition, str)):
        raise fault("/definition", "`definition` is a state machine: an object, or text in JSON or YAML.")
    if "kind" in body and kind not in ("STANDARD", "EXPRESS"):
        raise fault("/kind", "`kind` is STANDARD or EXPRESS.")
    if not isinstance(publish, bool):
        raise fault("/publish", "`publish` is true or false.")
    description = description_asked(body)
    if description and not publish:
        raise fault("/description", "`description` is that of a version: say `publish` as well, or leave it away.")
    return WorkflowDraft(
        name=name,
        definition=definition,
        kind=kind,
        tags=_tags(body.get("tags", {})),
        publish=publish,
        description=description,
    )


def description_asked(body: dict[str, Any]) -> str:
    """What is said of a version."""
    description = body.get("description", "")
    if not isinstance(description, str) or len(description) > _DESCRIPTION_MAX:
        raise fault("/description", f"`description` is a text of at most {_DESCRIPTION_MAX} characters.")
    return description


def name_asked(body: dict[str, Any], *, required: bool) -> str:
    """A name for something that is to be made."""
    name = body.get("name")
    if (name is None and "name" not in body and not required) or (isinstance(name, str) and _NAME.fullmatch(name)):
        return name or ""
    raise fault("/name", "`name` has letters, digits, '_', '-' and '.', at most 80 of them.")


def _tags(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > _TAGS_MAX:
        raise fault("/tags", f"`tags` is an object of at most {_TAGS_MAX} texts.")
    for name, value in given.items():
        if not 0 < len(name) <= _TAG_NAME_MAX or not isinstance(value, str) or len(value) > _TAG_MAX:
            raise fault(
                "/tags", f"A tag is a text of at most {_TAG_MAX} characters, under a name of 1 to {_TAG_NAME_MAX}."
            )
    return given


def page_asked(request: Request) -> tuple[int, str | None]:
    """How many items, and after which cursor."""
    given = check_fields(dict(request.query), ("limit", "cursor"))
    return whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX), cursor_of(given)


def cursor_of(given: Mapping[str, str]) -> str | None:
    """The cursor in a query."""
    cursor = given.get("cursor")
    if cursor is not None and not 0 < len(cursor) <= _CURSOR_MAX:
        raise ValidationFailed("`cursor` is the `next_cursor` of a page.")
    return cursor


def executions_asked(request: Request, arns: Arns) -> ExecutionQuery:
    """The query of `GET /v1/executions`. `status` may come several times, or with commas between."""
    raw: bytes = request.scope.get("query_string", b"")
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []
    known = ("status", "workflow", "name", "map_run", "since", "until", "limit", "cursor")
    given = check_fields(dict(pairs), known)
    statuses = [part for name, text in pairs if name == "status" for part in text.split(",")]
    for status in statuses:
        if status not in STATUSES:
            raise fault("/status", f"`status` is one of {', '.join(STATUSES)}, not {status[:40]!r}.")
    workflow = word("workflow", given.get("workflow"))
    name, _, qualifier = (workflow or "").partition(":")
    query = ExecutionQuery(
        machine_arn=arns.state_machine(name) if workflow else None,
        map_run_arn=word("map_run", given.get("map_run")),
        statuses=tuple(msgspec.convert(status.upper(), ExecutionStatus) for status in dict.fromkeys(statuses)),
        name=word("name", given.get("name")),
        since=text_moment(given, "since"),
        until=text_moment(given, "until"),
        limit=whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX),
        cursor=cursor_of(given),
    )
    if not qualifier:
        return query
    arn = arns.state_machine(name, qualifier)
    return msgspec.structs.replace(query, **{"version_arn" if qualifier.isdigit() else "alias_arn": arn})


def history_asked(request: Request) -> tuple[int | None, int, bool]:
    """After which event, how many, and whether the latest come first."""
    given = check_fields(dict(request.query), ("after", "limit", "reverse"))
    after = whole_number(given, "after", 0, low=0, high=_AFTER_MAX) if "after" in given else None
    reverse = given.get("reverse", "false")
    if reverse not in {"true", "false"}:
        raise fault("/reverse", "`reverse` is true or false.")
    return after, whole_number(given, "limit", PAGE, low=1, high=PAGE_MAX), reverse == "true"


def text_asked(body: dict[str, Any], name: str, length_max: int) -> str | None:
    """A text that may be left away."""
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > length_max):
        raise fault(f"/{name}", f"`{name}` is a text of at most {length_max} characters.")
    return value


# -- shown ------------------------------------------------------------------------------------------------------------------


def shown_workflow(machine: StateMachine, arns: Arns) -> dict[str, Any]:
    """A workflow, without what it does."""
    return {
        "name": machine.name,
        "arn": arns.state_machine(machine.name),
        "kind": machine.setup.kind,
        "status": "deleting" if machine.is_deleting else "active",
        "revision": machine.shown_revision,
        "versions": machine.numbers(),
        "aliases": {
            alias.name: {str(route.version): route.weight for route in alias.routes}
            for alias in machine.aliases.values()
        },
        "tags": machine.tags,
        "created_at": machine.created_at,
        "updated_at": machine.updated_at,
    }


def shown_version(version: Version) -> dict[str, Any]:
    """What was published."""
    return {
        "version": version.number,
        "description": version.description,
        "created_at": version.created_at,
        "kind": version.setup.kind,
    }


def shown_fault(one: Fault) -> dict[str, Any]:
    """What is wrong with a definition."""
    return {
        "severity": one.severity,
        "code": one.code,
        "message": one.message,
        "pointer": one.pointer,
        "hint": one.hint,
    }


def shown_execution(info: ExecutionInfo) -> dict[str, Any]:
    """An execution; one that was asked for by itself with its input, and its output once it has succeeded."""
    version = info.version_arn.rpartition(":")[2]
    view: dict[str, Any] = {
        "id": info.id,
        "arn": info.arn,
        "name": info.name,
        "workflow": info.machine_name,
        "version": int(version) if version else None,
        "alias": info.alias_arn.rpartition(":")[2] or None,
        "kind": info.kind,
        "status": info.status.lower(),
        "started_at": info.started_at,
        "stopped_at": info.stopped_at,
        "error": info.error,
        "cause": info.cause,
        "redrives": info.redrives,
        "redriven_at": info.redriven_at,
        "events": info.events,
        "map_run": info.map_run_arn or None,
        "parent_id": info.parent or None,
    }
    if info.input is not msgspec.UNSET:
        view["input"] = info.input
    if info.output is not msgspec.UNSET:
        view["output"] = info.output
    return view


def shown_event(event: HistoryEvent) -> dict[str, Any]:
    """One line of a history."""
    return msgspec.structs.asdict(event)


def frame(name: str, data: Any, event_id: str = "") -> bytes:
    """A server-sent event, with an id where it can be gone on behind it."""
    text: bytes = _encode(data)
    if b"\n" in text or b"\r" in text:
        text = text.translate(_LINE_ENDS)
    head = b"id: %s\n" % event_id.encode() if event_id else b""
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), text)
