"""A hook of schemathesis: of requests that are wrong, or right, in the same way at the same place, the first is sent.

A field that is to be a text is sent as a number, and not as a list, an object, a boolean and null as well.
"""

from __future__ import annotations

from typing import Any

import schemathesis

_seen: set[tuple[object, ...]] = set()


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    about = getattr(case.meta.phase, "data", None)
    if getattr(about, "scenario", None) is None:  # made by chance, not by list
        return True
    way = (case.operation.label, about.scenario, about.description, about.location)
    if way in _seen:
        return False
    _seen.add(way)
    return True
