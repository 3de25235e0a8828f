"""Events of a memory as events of a session, and back: the native API and AgentCore's read the same ones.

The session of an actor in a memory is named `MEMORY.ACTOR.SESSION`: a point is in none of the three. What the native event
has no word for (the time it speaks of, what may be learnt from it) is kept under a name that no caller can use.
"""

from __future__ import annotations

from typing import Any

from corral.errors import ValidationFailed
from corral.memory.resources import MemoryResource
from corral.messages import Role
from corral.sessions.event import Draft, EventQuery, SessionEvent, SessionKey

MAIN = "main"
OWN = "#agentcore"
"""The key of the metadata under which we keep our own; `#` is in no key of a caller's."""

_DAY_S = 86_400.0
_ROLES: dict[str, Role] = {"USER": "user", "ASSISTANT": "assistant", "TOOL": "tool", "OTHER": "other"}


def key_of(tenant: str, memory_id: str, actor_id: str, session_id: str) -> SessionKey:
    """Where the events of an actor's session in a memory are."""
    return SessionKey(tenant, f"{memory_id}.{actor_id}.{session_id}")


def prefix_of(memory_id: str, actor_id: str | None = None) -> str:
    """How the names of all sessions of a memory, or of an actor in it, begin."""
    return f"{memory_id}." if actor_id is None else f"{memory_id}.{actor_id}."


def root_of(event: SessionEvent) -> str:
    """Where the branch of an event leaves its parent; empty: nobody said."""
    return str(event.metadata.get(OWN, {}).get("root", ""))


def draft_of(memory: MemoryResource, body: dict[str, Any], root: str = "") -> Draft:
    """An event as it is appended; `root` is where its branch left its parent, if that was said before."""
    own: dict[str, Any] = {"at": body["eventTimestamp"]}
    branch = body.get("branch", {})
    root = branch.get("rootEventId") or root
    if root:
        own["root"] = root
    if body.get("extractionMode"):
        own["skip"] = True
    variables = body.get("extractionConfig", {}).get("namespaceVariables")
    if variables:
        own["variables"] = variables
    labels = {name: value["stringValue"] for name, value in body.get("metadata", {}).items()}
    payload = body["payload"]
    roles = {_role(part) for part in payload}
    return Draft(
        role=roles.pop() if len(roles) == 1 else "other",
        content=[_part(part) for part in payload],
        actor=body["actorId"],
        branch=branch.get("name", MAIN),
        branch_root=branch.get("rootEventId"),
        metadata={**labels, OWN: own},
        ttl_s=memory.event_expiry_days * _DAY_S,
    )


def _role(part: dict[str, Any]) -> Role:
    said = part.get("conversational")
    return "other" if said is None else _ROLES[said["role"]]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """One part each; whose words they are is said with them, since an event may hold both sides of a conversation."""
    if "conversational" in part:
        return {"type": "text", "text": part["conversational"]["content"]["text"], "role": _role(part)}
    if "blob" in part:
        return {"type": "json", "json": part["blob"], "as": "blob"}
    return {"type": "json", "json": part["json"]["content"]}


def shown(
    memory_id: str, actor_id: str, session_id: str, event: SessionEvent, *, payload: bool = True
) -> dict[str, Any]:
    """An event as the service answers it."""
    own = event.metadata.get(OWN, {})
    answer: dict[str, Any] = {
        "memoryId": memory_id,
        "actorId": actor_id,
        "sessionId": session_id,
        "eventId": event.id,
        "eventTimestamp": own.get("at", event.created_at),
        "payload": [_payload(event, part) for part in event.content] if payload else [],
    }
    labels = {name: {"stringValue": value} for name, value in event.metadata.items() if isinstance(value, str)}
    if labels:
        answer["metadata"] = labels
    if event.branch != MAIN:
        root = root_of(event)
        answer["branch"] = {"name": event.branch, **({"rootEventId": root} if root else {})}
    return answer


def _payload(event: SessionEvent, part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        role = part.get("role", event.role)
        said = next((name for name, word in _ROLES.items() if word == role), "OTHER")
        return {"conversational": {"content": {"text": part.get("text", "")}, "role": said}}
    if part.get("type") == "json" and part.get("as") == "blob":
        return {"blob": part["json"]}
    return {"json": {"content": part.get("json", part)}}


def query_of(body: dict[str, Any], *, limit: int) -> EventQuery:
    """Which events a list asks for."""
    asked = body.get("filter", {})
    branch = asked.get("branch", {})
    equal: dict[str, str] = {}
    has: list[str] = []
    lacks: list[str] = []
    for condition in asked.get("eventMetadata", ()):
        key = condition["left"]["metadataKey"]
        value = condition.get("right", {}).get("metadataValue", {}).get("stringValue")
        if condition["operator"] == "EQUALS_TO":
            if value is None:
                raise ValidationFailed(f"EQUALS_TO compares {key!r} with a value: give it in `right`.")
            if equal.setdefault(key, value) != value:
                lacks.append(key)  # it cannot be equal to both: nothing is found
        else:
            (has if condition["operator"] == "EXISTS" else lacks).append(key)
    return EventQuery(
        limit=limit,
        cursor=body.get("nextToken"),
        branch=branch.get("name"),
        include_parents=bool(branch.get("includeParentBranches", False)),
        metadata=equal,
        has=tuple(has),
        lacks=tuple(lacks),
    )
