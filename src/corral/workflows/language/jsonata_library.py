"""The library that reads and evaluates JSONata, as it is used here. Import it from here only, and only where it is needed.

Three things of it are put right where it is loaded: it raises Python's recursion limit for the whole process, which is set back;
it makes regular expressions from date pictures, which others wrote: they are matched in bounded time like all others; and it takes
null for what is missing where functions are called with it.
"""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

from corral.workflows.language import regexes

_limit = sys.getrecursionlimit()

from jsonata import datetimeutils as _dates  # noqa: E402 - between reading the limit and setting it back
from jsonata.functions import Functions  # noqa: E402 - as above
from jsonata.jexception import JException  # noqa: E402 - as above
from jsonata.jsonata import Jsonata  # noqa: E402 - as above
from jsonata.parser import Parser  # noqa: E402 - as above
from jsonata.signature import Signature  # noqa: E402 - as above
from jsonata.utils import Utils  # noqa: E402 - as above

sys.setrecursionlimit(_limit)

__all__ = ["Functions", "JException", "Jsonata", "Parser", "Signature", "Utils"]


def _compile(pattern: str, flags: int = 0) -> Any:
    """Patterns with flags are made of pictures; those without are the library's own."""
    return regexes.compiled(pattern, ignore_case=True) if flags else re.compile(pattern)


_dates.re = SimpleNamespace(
    compile=_compile,
    split=re.split,
    sub=lambda _special, _replacement, literal: re.escape(literal),
    IGNORECASE=re.IGNORECASE,
)


_symbol_of = Signature.get_symbol
Signature.get_symbol = lambda self, value: "l" if value is Utils.NULL_VALUE else _symbol_of(self, value)
