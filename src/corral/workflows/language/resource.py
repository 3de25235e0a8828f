"""What a Task's `Resource` names: who does the work, and how its end is awaited."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Service = Literal["lambda", "activity", "states", "agent", "tool", "function", "http", "job", "approval"]
Pattern = Literal["", "sync", "sync:2", "waitForTaskToken"]
PATTERNS: tuple[Pattern, ...] = ("", "sync", "sync:2", "waitForTaskToken")

_OWN = re.compile(r"corral:(?P<service>agent|tool|function|job):(?P<name>[^\s:.]+)(?:\.(?P<pattern>waitForTaskToken))?")
_ALONE = re.compile(r"corral:(?P<service>http|approval)(?:\.(?P<pattern>waitForTaskToken))?")
_FUNCTION = re.compile(r"arn:aws[\w-]*:lambda:[\w-]*:[\w-]*:function:(?P<name>[\w-]+)(?::(?P<qualifier>[\w$-]+))?")
_ACTIVITY = re.compile(r"arn:aws[\w-]*:states:[\w-]*:\d*:activity:(?P<name>[^\s:]+)")
_SERVICE = re.compile(
    r"arn:aws[\w-]*:states:[\w-]*:\d*:(?P<service>lambda|states):(?P<action>invoke|startExecution)"
    r"(?:\.(?P<pattern>sync|sync:2|waitForTaskToken))?"
)


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A `Resource`, taken apart."""

    text: str
    """As it is written."""
    service: Service
    action: str = ""
    """Of an integration such as `arn:aws:states:::lambda:invoke`: `invoke`. Empty: the resource is itself the function or the activity."""
    name: str = ""
    """The function's, activity's, agent's or tool's."""
    pattern: Pattern = ""
    """How the end is awaited."""

    @property
    def is_integration(self) -> bool:
        """Whether its events are `Task…` ones: only plain functions and activities have events of their own."""
        return not ((self.service == "lambda" and not self.action) or self.service == "activity")


def resource_of(text: str) -> Resource | None:
    """Take a `Resource` apart; none: nobody here does that."""
    for form in (_OWN, _ALONE, _FUNCTION, _ACTIVITY, _SERVICE):
        found = form.fullmatch(text)
        if found is None:
            continue
        parts = found.groupdict()
        pattern = parts.get("pattern") or ""
        if form is _FUNCTION:
            return Resource(text=text, service="lambda", name=parts["name"])
        if form is _ACTIVITY:
            return Resource(text=text, service="activity", name=parts["name"])
        if form is _SERVICE:
            right = {"lambda": "invoke", "states": "startExecution"}[parts["service"]]
            waits = parts["service"] == "lambda" and pattern.startswith("sync")
            if parts["action"] != right or waits:
                return None
        return msgspec.convert(
            {
                "text": text,
                "service": parts["service"],
                "action": parts.get("action") or "",
                "name": parts.get("name") or "",
                "pattern": pattern,
            },
            Resource,
        )
    return None
