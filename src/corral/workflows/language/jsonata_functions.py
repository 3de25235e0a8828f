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
import re
import uuid
from collections.abc import Callable
from typing import Any

from corral.workflows.language import regexes
from corral.workflows.language.intrinsic_functions import ALGORITHMS
from corral.workflows.language.jsonata_bounds import ITEMS_MAX, too_big
from corral.workflows.language.jsonata_library import Functions, JException, Jsonata, Signature, Utils

PARSED_MAX = 262_144
PICTURE_MAX = 256
EXACT = 10**21
WORDS_MAX = 10**21

_WIDE = re.compile(r",[^\]]*\d{4}")


def number_of(value: Any) -> Any:
    """A result that is a number: whole ones as integers, and never one that JSON does not have."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise JException("D1001", 0, "NaN" if math.isnan(value) else "Infinity")
        if value.is_integer() and abs(value) < EXACT:
            return int(value)
    return value


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1."""
    if left is right:
        return True
    if left != right:
        return False
    if isinstance(left, dict):
        return all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool)


def text_of(value: Any, *, pretty: bool = False) -> str:
    """A value as text: JSON with numbers of fifteen digits, and nothing for what is undefined or a function."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        Jsonata.CURRENT.jsonata.bounds.weigh(value)
    indent, separators = (2, (",", ": ")) if pretty else (None, (",", ":"))
    return json.dumps(_written(value), ensure_ascii=False, indent=indent, separators=separators)


def _written(value: Any) -> Any:
    if isinstance(value, float):
        return number_of(float(f"{value:.15g}"))
    if isinstance(value, dict):
        return {key: _written(one) for key, one in value.items()}
    if isinstance(value, list):
        return [None if one is None else _written(one) for one in value]
    if value is Utils.NULL_VALUE:
        return None
    return value if isinstance(value, str | int) else ""


class Native(Jsonata.JFunction):  # type: ignore[misc]  # the library has no types
    """A function that is not written in JSONata."""

    def __init__(self, name: str, signature: Any, call: Callable[..., Any], count: int) -> None:
        """`count`: how many arguments `call` takes."""
        super().__init__(None, None)
        self.function_name = name
        self.signature = signature
        self._call = call
        self._count = count

    def call(self, input: Any, args: Any) -> Any:  # noqa: A002, ARG002 — the library's name
        """Call it."""
        bounds = Jsonata.CURRENT.jsonata.bounds
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


def _run() -> Any:
    return Jsonata.CURRENT.jsonata


def _given(*values: Any) -> None:
    """Null is no text and no number."""
    if any(value is Utils.NULL_VALUE for value in values):
        raise JException("T0410", -1, 1, "")


def _string(value: Any, pretty: Any) -> Any:
    if isinstance(value, Utils.JList) and value.outer_wrapper:
        value = value[0]
    return None if value is None else text_of(value, pretty=bool(pretty) and pretty is not Utils.NULL_VALUE)


def _lowercase(text: Any) -> Any:
    _given(text)
    return None if text is None else text.lower()


def _pad(text: Any, width: Any, filler: Any) -> Any:
    _given(text, width, filler)
    if text is None or width is None:
        return text
    missing = abs(int(width)) - len(text)
    if missing <= 0:
        return text
    _run().bounds.text(abs(int(width)))
    filler = filler or " "
    padding = (filler * (missing // len(filler) + 1))[:missing]
    return padding + text if width < 0 else text + padding


def _join(texts: Any, separator: Any) -> Any:
    _given(separator)
    if texts is None:
        return None
    separator = separator or ""
    if any(not isinstance(one, str) for one in texts):
        raise JException("T0412", -1, 1, "join", "s")
    _run().bounds.text(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def _split(text: Any, separator: Any, limit: Any) -> Any:
    _given(text, limit)
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise JException("D3020", -1, text)
    most = ITEMS_MAX if limit is None else int(limit)
    if isinstance(separator, str):
        pieces = list(text[: most + 1]) if not separator else text.split(separator, min(most, ITEMS_MAX) + 1)
    else:
        pieces = separator.split(text, min(most, ITEMS_MAX) + 1)
    pieces = pieces if limit is None else pieces[:most]
    _run().bounds.items(len(pieces))
    return pieces


def _pattern(given: Any) -> regexes.Pattern:
    if not isinstance(given, regexes.Pattern):
        raise JException("T1010", -1, "match")
    return given


def _match(text: Any, pattern: Any, limit: Any) -> Any:
    _given(text, limit)
    if text is None:
        return None
    if limit is not None and limit < 0:
        raise JException("D3040", -1, limit)
    found = Utils.create_sequence()
    for number, match in enumerate(_pattern(pattern).finditer(text)):
        if limit is not None and number >= limit:
            break
        groups = [group if group is not None else "" for group in match.groups()]
        one = {"match": match.group(), "index": match.start(), "groups": groups}
        _run().bounds.made(one)
        found.append(one)
    return found


def _contains(text: Any, token: Any) -> Any:
    if text is None or text is Utils.NULL_VALUE:
        return None
    return token in text if isinstance(token, str) else _pattern(token).search(text) is not None


def _replace(text: Any, pattern: Any, replacement: Any, limit: Any) -> Any:
    _given(text, limit)
    if text is None:
        return None
    if pattern == "":
        raise JException("D3010", -1)
    if limit is not None and limit < 0:
        raise JException("D3011", -1)
    if limit is not None and int(limit) == 0:
        return text
    bounds, size = _run().bounds, len(text)

    def counted(made: str) -> str:
        nonlocal size
        size += len(made)
        if size > PARSED_MAX * 4:
            raise too_big("a text grows too long")
        return made

    count = -1 if limit is None else int(limit)
    if isinstance(pattern, str):
        if not isinstance(replacement, str):
            raise JException("D3012", -1)
        times = text.count(pattern) if count < 0 else min(count, text.count(pattern))
        bounds.text(len(text) + times * max(0, len(replacement) - len(pattern)))
        return text.replace(pattern, replacement, count)
    return _pattern(pattern).sub(lambda match: counted(_replaced(match, replacement)), text, max(count, 0))


def _replaced(match: regexes.Match, replacement: Any) -> str:
    if isinstance(replacement, str):
        return (
            _DOLLAR.sub(lambda found: _dollar(found.group(1), match), replacement)
            if "$" in replacement
            else replacement
        )
    groups = [group if group is not None else "" for group in match.groups()]
    told = {"match": match.group(), "start": match.start(), "end": match.end(), "groups": groups}
    result = Functions.func_apply(replacement, [told])
    if not isinstance(result, str):
        raise JException("D3012", -1)
    return result


_DOLLAR = re.compile(r"\$(\$|\d{1,4})")


def _dollar(text: str, match: regexes.Match) -> str:
    """`$$` is a dollar, `$0` the match, `$12` the twelfth group, or the first and a 2 where there are fewer."""
    if text == "$":
        return "$"
    many = len(match.groups())
    for end in range(len(text), 0, -1):
        number = int(text[:end])
        if number <= many:
            return (match.group(number) or "") + text[end:]
    return text[1:]


def _number(value: Any) -> Any:
    _given(value)
    if not isinstance(value, str):
        return int(value) if isinstance(value, bool) else value
    if _NUMBER.fullmatch(value):
        return number_of(float(value))
    radix = {"0x": 16, "0b": 2, "0o": 8}.get(value[:2].lower())
    if radix is None or len(value) > PICTURE_MAX or not value[2:].isalnum():
        raise JException("D3030", -1, value)
    try:
        return number_of(float(int(value[2:], radix)))
    except ValueError:
        raise JException("D3030", -1, value) from None


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[Ee][-+]?[0-9]{1,4})?")


def _zip(*arrays: Any) -> Any:
    if any(one is None for one in arrays):
        return []
    count = min(map(len, arrays), default=0)
    _run().bounds.items(count * len(arrays), each=40)
    return [list(row) for row in zip(*arrays, strict=False)]


def _append(first: Any, second: Any) -> Any:
    if isinstance(first, list) or isinstance(second, list):
        size = sum(len(one) if isinstance(one, list) else 1 for one in (first, second))
        _run().bounds.items(size)
    return Functions.append(first, second)


def _spread(value: Any) -> Any:
    found = Utils.create_sequence()
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            if not isinstance(value, list):
                return value
            found.append(one)
            continue
        _run().bounds.items(len(one), each=280)
        found.extend({key: inner} for key, inner in one.items())
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
            _run().bounds.look_at_clock()
        kept.setdefault(
            (str if isinstance(value, str) else dict if isinstance(value, list | dict) else type(None), key), value
        )
    return Utils.create_sequence_from_iter(kept.values())


def _sort(values: Any, comparator: Any) -> Any:
    if comparator is None and values is not None and len(values) > 1:
        kinds = {str if isinstance(one, str) else float if Utils.is_numeric(one) else None for one in values}
        if len(kinds) > 1 or None in kinds:
            raise JException("D3070", -1)
    return Functions.sort(values, comparator)


def _shuffle(values: Any) -> Any:
    if values is None:
        return None
    chance = _run().chance
    return [
        value for _place, _number, value in sorted((chance(), number, value) for number, value in enumerate(values))
    ]


def cloned(value: Any) -> Any:
    """A copy that shares nothing that can be changed."""
    if isinstance(value, dict):
        return {key: cloned(one) for key, one in value.items()}
    return [cloned(one) for one in value] if isinstance(value, list) else value


def _power(base: Any, exponent: Any) -> Any:
    _given(base, exponent)
    if base is None or exponent is None:
        return None
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        raise JException("D3061", -1, base, exponent) from None


def _format_integer(value: Any, picture: Any) -> Any:
    _picture(picture)
    if value is not None and abs(value) > WORDS_MAX:
        raise JException("D3137", -1, "$formatInteger takes numbers up to 1e21")
    return Functions.format_integer(value, picture)


def _format_number(value: Any, picture: Any, options: Any) -> Any:
    _picture(picture)
    for name, option in (options or {}).items():
        long = name in {"NaN", "infinity"}
        if not isinstance(option, str) or len(option) > (PICTURE_MAX if long else 1) or not option:
            raise JException("D3137", -1, f"$formatNumber: the option {name!r} must be one character")
    return Functions.format_number(value, picture, options)


def _picture(*texts: Any) -> None:
    """Pictures of numbers and dates, and what is read by them, are short."""
    for text in texts:
        if isinstance(text, str) and (len(text) > PICTURE_MAX or _WIDE.search(text)):
            raise JException("D3137", -1, f"A picture, and what is read by it, has at most {PICTURE_MAX} characters")


def _pictured(call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*given: Any) -> Any:
        _picture(*given)
        return call(*given)

    return guarded


def _to_millis(text: Any, picture: Any) -> Any:
    if picture is None and isinstance(text, str):
        try:
            return Functions.datetime_to_millis(text, None)
        except ValueError:
            raise JException("D3110", -1, text) from None
    return Functions.datetime_to_millis(text, picture)


def _partition(values: Any, size: Any) -> Any:
    if values is None or size is None:
        return None
    every = int(size)
    if every <= 0:
        raise JException("D3137", -1, "The second argument of $partition must be a positive number")
    _run().bounds.items(len(values) // every + 1, each=80)
    return [values[at : at + every] for at in range(0, len(values), every)]


def _range(first: Any, last: Any, step: Any) -> Any:
    if first is None or last is None or step is None:
        return None
    if step == 0:
        raise JException("D3137", -1, "The third argument of $range must not be zero")
    count = max(0, math.floor((last - first) / step) + 1)
    _run().bounds.items(count, each=40)
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
        return float(_run().chance())
    return random.Random(seed).random()  # noqa: S311 — the same seed is to give the same number


def _uuid() -> str:
    bits = 0
    for _part in range(4):
        bits = bits << 32 | int(_run().chance() * 2**32)
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


def with_nulls(value: Any) -> Any:
    """A document as the library wants it: null is a value of its own, and `None` is undefined. Copied only where it has nulls."""
    if isinstance(value, dict):
        changed = {key: one for key, old in value.items() if (one := with_nulls(old)) is not old}
        return {**value, **changed} if changed else value
    if isinstance(value, list):
        made = [with_nulls(one) for one in value]
        return made if any(one is not old for one, old in zip(made, value, strict=True)) else value
    return Utils.NULL_VALUE if value is None else value


_OWN: dict[str, tuple[str, Callable[..., Any], int]] = {
    "string": ("<x-b?:s>", _string, 2),
    "lowercase": ("<s-:s>", _lowercase, 1),
    "pad": ("<s-ns?:s>", _pad, 3),
    "join": ("<a<s>s?:s>", _join, 2),
    "split": ("<s-(sf)n?:a<s>>", _split, 3),
    "match": ("<s-f<s:o>n?:a<o>>", _match, 3),
    "contains": ("<s-(sf):b>", _contains, 2),
    "replace": ("<s-(sf)(sf)n?:s>", _replace, 4),
    "number": ("<(nsb)-:n>", _number, 1),
    "zip": ("<a+>", _zip, 0),
    "append": ("<xx:a>", _append, 2),
    "spread": ("<x-:a<o>>", _spread, 1),
    "distinct": ("<x:x>", _distinct, 1),
    "sort": ("<af?:a>", _sort, 2),
    "power": ("<n-n:n>", _power, 2),
    "shuffle": ("<a:a>", _shuffle, 1),
    "clone": ("<(oa)-:o>", cloned, 1),
    "formatNumber": ("<n-so?:s>", _format_number, 3),
    "formatInteger": ("<n-s:s>", _format_integer, 2),
    "parseInteger": ("<s-s:n>", _pictured(Functions.parse_integer), 2),
    "toMillis": ("<s-s?:n>", _pictured(_to_millis), 2),
    "fromMillis": ("<n-s?s?:s>", _pictured(Functions.datetime_from_millis), 3),
    "now": ("<s?s?:s>", _pictured(Functions.now), 2),
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
