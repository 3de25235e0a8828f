"""The functions of JSONata as they are called here: each looks at the clock, and what it makes is weighed.

Most are the library's. Replaced are those that could make much out of little in one go, those that were wrong, and those that need
chance or the clock; added are the ones that workflows have besides: `$partition`, `$range`, `$hash`, `$random`, `$uuid`, `$parse`.
`$eval` is not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import uuid
from collections.abc import Callable
from typing import Any

from corral.workflows.language import jsonata_text
from corral.workflows.language.intrinsic_functions import ALGORITHMS
from corral.workflows.language.jsonata_bounds import too_big
from corral.workflows.language.jsonata_library import Functions, JException, Jsonata, Signature, Utils
from corral.workflows.language.jsonata_values import cloned, number_of, refuse_nulls, running, text_of, with_nulls

PARSED_MAX = 262_144


class Native(Jsonata.JFunction):  # type: ignore[misc]  # the library has no types
    """A function that is not written in JSONata."""

    def __init__(self, name: str, signature: Any, call: Callable[..., Any], count: int) -> None:
        """`count`: how many arguments `call` takes."""
        super().__init__(None, None)
        self.function_name = name
        self.signature = signature
        self._call = call
        self._count = count

    def call(self, input: Any, args: Any) -> Any:  # noqa: A002, ARG002 - the library's name
        """Call it."""
        bounds = running().bounds
        bounds.step()
        bounds.look_at_clock()
        given = [*args, *[None] * (self._count - len(args))]
        result = self._call(*given)
        if isinstance(result, float):
            return number_of(result)
        bounds.made(result)
        return result

    def get_number_of_args(self) -> int:
        """For calls with some arguments left open."""
        return self._count


def _zip(*arrays: Any) -> Any:
    if any(one is None for one in arrays):
        return []
    count = min(map(len, arrays), default=0)
    running().bounds.items(count * len(arrays), each=40)
    return [list(row) for row in zip(*arrays, strict=False)]


def _append(first: Any, second: Any) -> Any:
    if isinstance(first, list) or isinstance(second, list):
        size = sum(len(one) if isinstance(one, list) else 1 for one in (first, second))
        running().bounds.items(size)
    return Functions.append(first, second)


def _spread(value: Any) -> Any:
    if isinstance(value, dict):
        running().bounds.items(len(value), each=280)
        return Utils.create_sequence_from_iter({key: one} for key, one in value.items())
    if not isinstance(value, list):
        return value
    if not value:
        return Utils.create_sequence()
    found: list[Any] = []
    for one in value:
        inner = _spread(one)
        found += inner if isinstance(inner, list) else [inner]
    return found


def _distinct(values: Any) -> Any:
    if not isinstance(values, list) or len(values) <= 1:
        return values
    kept: dict[tuple[type, str], Any] = {}
    size = 0
    for number, value in enumerate(values):
        key = (
            text_of(value)
            if isinstance(value, list | dict)
            else value
            if isinstance(value, str)
            else repr(number_of(value))
        )
        size += len(key)
        if size > PARSED_MAX * 8:
            raise too_big("an array is too large to be compared")
        if not number & 63:
            running().bounds.look_at_clock()
        kept.setdefault(
            (str if isinstance(value, str) else dict if isinstance(value, list | dict) else type(None), key), value
        )
    return Utils.create_sequence_from_iter(kept.values()) if Utils.is_sequence(values) else list(kept.values())


def _sort(values: Any, comparator: Any) -> Any:
    if comparator is None and values is not None and len(values) > 1:
        kinds = {str if isinstance(one, str) else float if Utils.is_numeric(one) else None for one in values}
        if len(kinds) > 1 or None in kinds:
            raise JException("D3070", -1)
    return Functions.sort(values, comparator)


def _shuffle(values: Any) -> Any:
    if values is None:
        return None
    chance = running().chance
    return [
        value for _place, _number, value in sorted((chance(), number, value) for number, value in enumerate(values))
    ]


def _power(base: Any, exponent: Any) -> Any:
    refuse_nulls(base, exponent)
    if base is None or exponent is None:
        return None
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        raise JException("D3061", -1, base, exponent) from None


def _partition(values: Any, size: Any) -> Any:
    if values is None or size is None:
        return None
    every = int(size)
    if every <= 0:
        raise JException("D3137", -1, "The second argument of $partition must be a positive number")
    running().bounds.items(len(values) // every + 1, each=80)
    return [values[at : at + every] for at in range(0, len(values), every)]


def _range(first: Any, last: Any, step: Any) -> Any:
    if first is None or last is None or step is None:
        return None
    if step == 0:
        raise JException("D3137", -1, "The third argument of $range must not be zero")
    count = max(0, math.floor((last - first) / step) + 1)
    running().bounds.items(count, each=40)
    return [number_of(first + number * step) for number in range(count)]


def _hash(text: Any, algorithm: Any) -> Any:
    if text is None:
        return None
    named = ALGORITHMS.get(algorithm)
    if named is None:
        raise JException("D3137", -1, f"The second argument of $hash must be one of {', '.join(ALGORITHMS)}")
    return hashlib.new(named, text.encode(), usedforsecurity=False).hexdigest()


def _random(seed: Any) -> float:
    if seed is None:
        return float(running().chance())
    return random.Random(seed).random()  # noqa: S311 - the same seed is to give the same number


def _uuid() -> str:
    bits = 0
    for _part in range(4):
        bits = bits << 32 | int(running().chance() * 2**32)
    return str(uuid.UUID(int=bits, version=4))


def _parse(text: Any) -> Any:
    if text is None:
        return None
    if len(text) > PARSED_MAX:
        raise too_big(f"$parse takes at most {PARSED_MAX} characters")
    try:
        return with_nulls(json.loads(text, parse_constant=_no_constant))
    except ValueError:
        raise JException("D3137", -1, "The argument of $parse is not valid JSON") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_OWN: dict[str, tuple[str, Callable[..., Any], int]] = {
    "string": ("<x-b?:s>", jsonata_text.as_string, 2),
    "lowercase": ("<s-:s>", jsonata_text.lowercase, 1),
    "pad": ("<s-ns?:s>", jsonata_text.pad, 3),
    "join": ("<a<s>s?:s>", jsonata_text.join, 2),
    "split": ("<s-(sf)n?:a<s>>", jsonata_text.split, 3),
    "match": ("<s-f<s:o>n?:a<o>>", jsonata_text.match_all, 3),
    "contains": ("<s-(sf):b>", jsonata_text.contains, 2),
    "replace": ("<s-(sf)(sf)n?:s>", jsonata_text.replace, 4),
    "number": ("<(nsb)-:n>", jsonata_text.as_number, 1),
    "zip": ("<a+>", _zip, 0),
    "append": ("<xx:a>", _append, 2),
    "spread": ("<x-:a<o>>", _spread, 1),
    "distinct": ("<x:x>", _distinct, 1),
    "sort": ("<af?:a>", _sort, 2),
    "power": ("<n-n:n>", _power, 2),
    "shuffle": ("<a:a>", _shuffle, 1),
    "clone": ("<(oa)-:o>", cloned, 1),
    "formatNumber": ("<n-so?:s>", jsonata_text.format_number, 3),
    "formatInteger": ("<n-s:s>", jsonata_text.format_integer, 2),
    "parseInteger": ("<s-s:n>", jsonata_text.pictured(Functions.parse_integer), 2),
    "toMillis": ("<s-s?:n>", jsonata_text.pictured(jsonata_text.to_millis), 2),
    "fromMillis": ("<n-s?s?:s>", jsonata_text.pictured(Functions.datetime_from_millis), 3),
    "now": ("<s?s?:s>", jsonata_text.pictured(Functions.now), 2),
    "partition": ("<an:a>", _partition, 2),
    "range": ("<nnn:a>", _range, 3),
    "hash": ("<s-s:s>", _hash, 2),
    "random": ("<(ns)?:n>", _random, 1),
    "uuid": ("<:s>", _uuid, 0),
    "parse": ("<s-:x>", _parse, 1),
}


def _frame() -> Any:
    frame = Jsonata.Frame(None)
    for name, function in Jsonata.static_frame.bindings.items():
        if name != "eval" and name not in _OWN:
            frame.bind(name, Native(name, function.signature, function.method, function.nargs))
    for name, (signature, call, count) in _OWN.items():
        frame.bind(name, Native(name, Signature(signature, name), call, count))
    return frame


FRAME = _frame()
"""Every function, by name: the outermost frame of each evaluation."""
