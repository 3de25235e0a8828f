"""What a rule asks of arguments. What cannot be judged counts against the call, whichever way the rule decides."""

from __future__ import annotations

import math
import re
import warnings
from re import _constants, _parser  # type: ignore[attr-defined]  # the parser of `re` itself: nothing else knows all of its words
from typing import Any, Literal

from corral.errors import ConfigError
from corral.settings.policy_sections import ConditionSettings
from corral.tools.paths import Place

Verdict = Literal["holds", "fails", "unclear"]

TEXT_MAX = 300
"""Longer text is not compared with an expression."""
_PATTERN_MAX = 500
_ENDLESS_MAX = 3
_WAYS_MAX = 20_000_000
_MANY = 16
"""A repetition that may go further than this is one without end."""
_REPEATS = frozenset({_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT})
_SAID = ("equals", "one_of", "prefix", "matches", "at_most", "at_least")


class Condition:
    """One condition of one rule."""

    __slots__ = ("_pattern", "_place", "_said")

    def __init__(self, said: ConditionSettings) -> None:
        """Raises `ConfigError` for one that could never be judged."""
        if all(getattr(said, name) is None for name in _SAID):
            raise ConfigError(f"A condition on {said.at!r} says nothing: say one of {', '.join(_SAID)}.")
        self._said = said
        self._place = Place(said.at)
        self._pattern = None if said.matches is None else bounded_pattern(said.matches)

    def fits(self, arguments: dict[str, Any], *, allowing: bool) -> str:
        """Why it does not apply, or nothing if it does.

        A rule that allows wants everything at that place to be as it says, and to be there. One that denies, or asks a person,
        applies as soon as one thing there is so, or cannot be judged: of another type, or too long.
        """
        values = self._place.values(arguments)
        if not values:
            return f"there is no `{self._place.text}`"
        verdicts = [self._judged(value) for value in values]
        if allowing:
            wrong = next((value for value, verdict in zip(values, verdicts, strict=True) if verdict != "holds"), None)
            applies = all(verdict == "holds" for verdict in verdicts)
        else:
            wrong = values[0]
            applies = any(verdict != "fails" for verdict in verdicts)
        return "" if applies else f"`{self._place.text}` is {_short(wrong)}: {self}"

    def _judged(self, value: Any) -> Verdict:
        said = self._said
        verdicts: list[Verdict] = []
        if said.equals is not None:
            verdicts.append(_equal(value, said.equals))
        if said.one_of is not None:
            verdicts.append(_any(_equal(value, one) for one in said.one_of))
        if said.prefix is not None:
            verdicts.append(_yes(value.startswith(said.prefix)) if isinstance(value, str) else "unclear")
        if self._pattern is not None:
            judged = isinstance(value, str) and len(value) <= TEXT_MAX
            verdicts.append(_yes(self._pattern.fullmatch(value) is not None) if judged else "unclear")
        if said.at_most is not None:
            verdicts.append(_yes(value <= said.at_most) if _is_number(value) else "unclear")
        if said.at_least is not None:
            verdicts.append(_yes(value >= said.at_least) if _is_number(value) else "unclear")
        if "fails" in verdicts:
            return "fails"
        return "unclear" if "unclear" in verdicts else "holds"

    def __str__(self) -> str:
        said = self._said
        words = {
            "equals": f"is {said.equals!r}",
            "one_of": f"is one of {said.one_of!r}",
            "prefix": f"begins with {said.prefix!r}",
            "matches": f"matches {said.matches!r}",
            "at_most": f"is at most {said.at_most or 0:g}",
            "at_least": f"is at least {said.at_least or 0:g}",
        }
        parts = [text for name, text in words.items() if getattr(said, name) is not None]
        return f"the rule is for calls where it {' and '.join(parts)}"


def bounded_pattern(text: str) -> re.Pattern[str]:
    """An expression whose search ends soon, whatever text it meets. Raises `ConfigError` for any other.

    Nothing that may end in several ways is repeated without end, nothing refers back, and all ways to read a text of 300
    characters are few enough to be tried.
    """
    if len(text) > _PATTERN_MAX:
        raise ConfigError(f"The expression {text[:40]!r}… is longer than {_PATTERN_MAX} characters.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what will mean something else one day means too little today
            parsed, compiled = _parser.parse(text), re.compile(text)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ConfigError(f"{text!r} is no regular expression: {error}.") from None
    endless, choices = _ways(parsed, text)
    if endless > _ENDLESS_MAX or TEXT_MAX**endless / math.factorial(endless) * choices > _WAYS_MAX:
        raise ConfigError(
            f"The expression {text!r} leaves too much open: a hostile text could keep it busy. Use fewer `*`, `+`, `?` and `|` (three "
            "`*` or `+` at most), say `prefix` or `one_of`, or split it."
        )
    return compiled


def _ways(parsed: Any, text: str) -> tuple[int, float]:
    """How many repetitions without end there are, and in how many ways the rest can be read."""
    endless, choices = 0, 1.0
    for kind, detail in parsed:
        if kind in {_constants.GROUPREF, _constants.GROUPREF_EXISTS}:
            raise ConfigError(
                f"The expression {text!r} refers back to a group, which may take very long: say it without."
            )
        inside = [_ways(part, text) for part in _parts(detail)]
        within = sum(one[0] for one in inside)
        open_ways = math.prod(one[1] for one in inside)
        if kind in _REPEATS:
            least, most = int(detail[0]), int(detail[1])
            if most > _MANY:
                if within or open_ways > 1:
                    raise ConfigError(
                        f"The expression {text!r} repeats what may itself end in several ways, such as `(a+)+` or `(a|ab)*`, which "
                        "may take very long: say it without."
                    )
                within = 1
            else:
                within *= most
                open_ways = min(open_ways**most * (most - least + 1), _WAYS_MAX * 2.0)
        elif kind is _constants.BRANCH:
            open_ways *= len(inside)
        endless += within
        choices = min(choices * open_ways, _WAYS_MAX * 2.0)
    return endless, choices


def _parts(detail: Any) -> list[Any]:
    if isinstance(detail, _parser.SubPattern):
        return [detail]
    if isinstance(detail, tuple | list):
        return [part for one in detail for part in _parts(one)]
    return []


def _equal(value: Any, wanted: Any) -> Verdict:
    if _is_number(wanted) and _is_number(value):
        return _yes(value == wanted)
    return _yes(value == wanted) if type(value) is type(wanted) else "unclear"


def _any(verdicts: Any) -> Verdict:
    found = set(verdicts)
    if "holds" in found:
        return "holds"
    return "fails" if "fails" in found or not found else "unclear"


def _yes(holds: bool) -> Verdict:
    return "holds" if holds else "fails"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - not a number is not itself


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - enough to recognise it
