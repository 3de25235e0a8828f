"""How long a provider asks to be left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The wait in seconds, from `retry-after-ms` or `retry-after` (seconds, or a date); none: nothing that makes sense was said.

    `now` is seconds since 1970.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    if said is None:
        return None
    seconds = _number(said)
    if seconds is not None:
        return seconds
    try:
        return max(parsedate_to_datetime(said).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None


def until_s(moment: str | None, now: float) -> float | None:
    """Seconds until a moment written as RFC 3339; none: there is no such moment."""
    if not moment:
        return None
    try:
        return max(datetime.fromisoformat(moment).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None


def _number(said: str | None) -> float | None:
    try:
        value = float(said) if said else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
