"""What an expression can see."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Scope(msgspec.Struct, kw_only=True):
    """Everything an expression of one state can see. Values are plain JSON and are never changed in place."""

    input: Any = None
    """JSONPath: `$`. JSONata: `$states.input`."""
    context: Mapping[str, Any] = {}
    """JSONPath: `$$`. JSONata: `$states.context`."""
    variables: Mapping[str, Any] = {}
    """`$name`, outer scopes included."""
    result: Any = msgspec.UNSET
    """JSONata: `$states.result`, where there is one."""
    error_output: Any = msgspec.UNSET
    """JSONata: `$states.errorOutput`, in a Catch."""
    chance: Callable[[], float] = random.SystemRandom().random
    """From 0 to 1, for what is random on purpose: `States.MathRandom`, `$uuid()`. Nobody can guess the next one."""
    clock: Callable[[], float] = time.time
    """For `$now()` and `$millis()`."""
