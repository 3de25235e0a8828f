"""What people may append, in the forms they write it, checked and bounded before it reaches a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from corral.errors import ValidationFailed
from corral.messages import Message, Role, as_parts
from corral.sessions.event import Draft, SessionEvent

EVENT_MAX_BYTES = 1_048_576
"""Largest event, as JSON."""
APPEND_MAX_EVENTS = 1000
"""Most events of one append."""
APPEND_MAX_BYTES = 8 * 1_048_576
"""Largest append, as JSON."""
STATE_MAX_BYTES = 65_536
"""Largest state document, as JSON."""
ID_MAX_CHARS = 256
TTL_S_MAX = 10_000_000_000
"""Three centuries: what lives longer lives for ever."""

_ROLES: frozenset[str] = frozenset(get_args(Role))
_KEYS = frozenset({"role", "content", "actor", "branch", "branch_root", "metadata", "ttl_s"})
_encode = msgspec.json.Encoder().encode

Sayable = Message | SessionEvent | Draft | Mapping[str, Any]


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What an event gets where it says nothing itself."""

    actor: str = ""
    branch: str = "main"
    metadata: dict[str, Any] | None = None
    ttl_s: float | None = None


def drafts_of(said: object, defaults: Defaults) -> list[Draft]:
    """One thing said, or several in order, as events to append. Raises `ValidationFailed` that says which and why."""
    if isinstance(said, Message | SessionEvent | Draft | Mapping):
        drafts = [_draft(said, defaults, "")]
    elif isinstance(said, Sequence) and not isinstance(said, str | bytes):
        if len(said) > APPEND_MAX_EVENTS:
            raise ValidationFailed(
                f"{len(said)} events in one append; at most {APPEND_MAX_EVENTS}: send them in parts."
            )
        drafts = [_draft(one, defaults, f"/{index}") for index, one in enumerate(said)]
    else:
        raise ValidationFailed(f"Append a role and a content, a message, or a list of messages; not {_kind(said)}.")
    _check_sizes(drafts)
    return drafts


def _draft(said: object, defaults: Defaults, pointer: str) -> Draft:
    if isinstance(said, Draft):
        return said
    if isinstance(said, Message):
        given: Mapping[str, Any] = {"role": said.role, "content": said.content, "metadata": said.metadata or None}
    elif isinstance(said, SessionEvent):
        given = {name: getattr(said, name) for name in ("role", "content", "actor", "branch", "metadata")}
    elif isinstance(said, Mapping):
        given = said
    else:
        raise _fault(pointer, f"A message is an object with `role` and `content`, not {_kind(said)}.")
    unknown = sorted(str(name) for name in given.keys() - _KEYS)
    if unknown:
        raise _fault(pointer, f"Unknown: {', '.join(unknown)}. An event takes {', '.join(sorted(_KEYS))}.")
    if "content" not in given:
        raise _fault(f"{pointer}/content", "This field is required.")
    return Draft(
        role=_role(given.get("role"), pointer),
        content=as_parts(given["content"]),
        actor=_text(given, "actor", defaults.actor, pointer),
        branch=_text(given, "branch", defaults.branch, pointer),
        branch_root=_text(given, "branch_root", "", pointer) or None,
        metadata=_metadata(given, defaults, pointer),
        ttl_s=_seconds(given, defaults, pointer),
    )


def _role(role: object, pointer: str) -> Role:
    if not isinstance(role, str) or role not in _ROLES:
        said = "This field is required" if role is None else f"{role!r} is no role"
        raise _fault(f"{pointer}/role", f"{said}: one of {', '.join(get_args(Role))}.")
    return role  # type: ignore[return-value]  # just compared with the roles there are


def _text(given: Mapping[str, Any], name: str, default: str, pointer: str) -> str:
    value = given.get(name)
    if value is None:
        return default
    if name == "actor" and value == "":
        return ""
    return check_id(value, name, f"{pointer}/{name}")


def _metadata(given: Mapping[str, Any], defaults: Defaults, pointer: str) -> dict[str, Any]:
    value = given.get("metadata")
    if value is None:
        value = defaults.metadata or {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _fault(f"{pointer}/metadata", f"Metadata is an object with text keys, not {_kind(value)}.")
    return value


def _seconds(given: Mapping[str, Any], defaults: Defaults, pointer: str) -> float | None:
    value = given.get("ttl_s", defaults.ttl_s)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= TTL_S_MAX:
        raise _fault(f"{pointer}/ttl_s", f"A time to live is a number of seconds above 0, {TTL_S_MAX} at most.")
    return float(value)


def _check_sizes(drafts: Sequence[Draft]) -> None:
    total = 0
    for index, draft in enumerate(drafts):
        size = len(as_json(draft, f"Event {index + 1}"))
        if size > EVENT_MAX_BYTES:
            raise _fault(f"/{index}", f"The event has {size} bytes as JSON; at most {EVENT_MAX_BYTES} are kept.")
        total += size
    if total > APPEND_MAX_BYTES:
        raise ValidationFailed(f"The append has {total} bytes as JSON; at most {APPEND_MAX_BYTES}: send it in parts.")


def check_state(value: object) -> None:
    """Refuse a state document that is not JSON, or too large."""
    size = len(as_json(value, "The state"))
    if size > STATE_MAX_BYTES:
        raise ValidationFailed(
            f"The state has {size} bytes as JSON; at most {STATE_MAX_BYTES} are kept. Append what grows as events."
        )


def check_id(value: object, what: str, pointer: str = "") -> str:
    """An id as it came, or `ValidationFailed`: 1 to 256 characters, none of them a control character."""
    if not isinstance(value, str) or not 1 <= len(value) <= ID_MAX_CHARS:
        said = f"{len(value)} characters" if isinstance(value, str) else _kind(value)
        raise _fault(pointer, f"The {what} is a text of 1 to {ID_MAX_CHARS} characters, not {said}.")
    if not value.isprintable() and any(_is_control(char) for char in value):
        raise _fault(pointer, f"The {what} has a control character: {value!r}.")
    return value


def as_json(value: object, what: str) -> bytes:
    """The value as JSON, or `ValidationFailed` that says what cannot be written so."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValidationFailed(f"{what} cannot be written as JSON: {error}") from None


def _is_control(char: str) -> bool:
    # The two blocks of control characters, and halves of surrogate pairs, which no encoding can carry.
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000  # noqa: PLR2004 - Unicode's own numbers


def _fault(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(message, errors=[{"pointer": pointer, "message": message}] if pointer else None)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
