"""How long: the seconds and timestamps of Wait, and the time limits of tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from corral.workflows.failing import QUERY_EVALUATION, RUNTIME, StateFailed
from corral.workflows.language import jsonata, paths
from corral.workflows.language.definition import Language, Number, Wait
from corral.workflows.language.scope import Scope

SECONDS_MAX = 99_999_999
"""More than three years: nobody waits longer."""

_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", flags=re.ASCII)


def moment_of(text: Any) -> float | None:
    """Seconds since 1970 of an RFC 3339 timestamp with a capital T and a zone; none: it is not one."""
    found = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    whole, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        if zone != "Z":
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            offset = timedelta(hours=hours, minutes=minutes)
            at = at - offset if zone[0] == "+" else at + offset
        return at.timestamp() + float(fraction or 0)
    except (ValueError, OverflowError):
        return None


def until(state: Wait, scope: Scope, language: Language, now: float) -> float:
    """When a Wait ends. Raises `StateFailed`."""
    if state.seconds is not None:
        return now + _seconds(state.seconds, scope, language)
    if state.seconds_path is not None:
        return now + _seconds_at(state.seconds_path, scope)
    if state.timestamp_path is not None:
        return _moment_at(state.timestamp_path, scope)
    text: Any = state.timestamp
    if language == "JSONata" and jsonata.is_expression(text):
        text = jsonata.evaluate(text, scope, field="Timestamp", expected="string")
    at = moment_of(text)
    if at is None:
        raise StateFailed(
            QUERY_EVALUATION,
            f"The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: {shown(text)}",
            prefixed=True,
            evaluation=True,
            location="Timestamp",
        )
    return at


def _seconds(given: Number, scope: Scope, language: Language) -> float:
    if not isinstance(given, str):
        return _bearable(given)
    found: Any = given
    if language == "JSONata" and jsonata.is_expression(given):
        found = jsonata.evaluate(given, scope, field="Seconds", expected="number")
    if not _is_whole(found):
        raise _unusable(f"The Seconds field cannot be parsed as a long value: {shown(found)}")
    if found < 0:
        raise _unusable(f"The Seconds field cannot be negative: {shown(found)}")
    return _bearable(found)


def _seconds_at(path: str, scope: Scope) -> float:
    found = _value_at("SecondsPath", path, scope)
    if not _is_whole(found):
        raise StateFailed(
            RUNTIME,
            f"The SecondsPath parameter cannot be parsed as a long value: {path} == {shown(found)}",
            prefixed=True,
        )
    if found < 0:
        raise StateFailed(
            RUNTIME,
            f"The SecondsPath parameter references a negative value: {path} == {shown(found)}",
            prefixed=True,
        )
    return _bearable(found)


def _moment_at(path: str, scope: Scope) -> float:
    found = _value_at("TimestampPath", path, scope)
    at = moment_of(found)
    if at is None:
        raise StateFailed(
            RUNTIME,
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: "
            f"{path} == {shown(found)}",
            prefixed=True,
        )
    return at


def _value_at(field: str, path: str, scope: Scope) -> Any:
    try:
        return paths.find(path, scope)
    except StateFailed as failure:
        raise StateFailed(
            RUNTIME, f"The {field} parameter does not reference an input value: {path}", prefixed=True
        ) from failure


def _bearable(seconds: float) -> float:
    if seconds > SECONDS_MAX:
        raise StateFailed(RUNTIME, "Wait state delay is too long.", prefixed=True)
    return seconds


def limit(field: str, given: Number | None, path: str | None, scope: Scope, language: Language) -> float | None:
    """`TimeoutSeconds` or `HeartbeatSeconds`; none: there is no limit. Raises `StateFailed`."""
    if path is not None:
        found = paths.find(path, scope)
        if not _is_whole(found) or found <= 0:
            raise StateFailed(
                RUNTIME,
                f'The {field}Path field refers to value "{shown(found)}" which is not a valid positive integer: {path}',
                prefixed=True,
            )
        return float(min(found, SECONDS_MAX))
    if isinstance(given, str):
        found = given
        if language == "JSONata" and jsonata.is_expression(given):
            found = jsonata.evaluate(given, scope, field=field, expected="number")
        if not _is_whole(found) or found <= 0:
            raise _unusable(f"The {field} field is not a positive integer: {shown(found)}", field)
        return float(min(found, SECONDS_MAX))
    return None if given is None else float(given)


def _is_whole(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and found == found // 1


def _unusable(cause: str, field: str = "Seconds") -> StateFailed:
    return StateFailed(QUERY_EVALUATION, cause, prefixed=True, evaluation=True, location=field)


def shown(value: Any) -> str:
    """A value as messages show it: JSON without spaces, text without quotes."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
