"""What the intrinsic functions do, each by itself. What they refuse is an `IntrinsicRefused`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import random
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from corral.workflows.language.path_reading import same

TEXT_MAX = 1_048_576
"""Characters that one function may make."""
CODED_MAX = 10_000
RANGE_MAX = 1_000
MANY = 1_000
ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


class IntrinsicRefused(Exception):
    """A function cannot do this with these arguments."""

    def __init__(self, reason: str, call: str = "") -> None:
        """`call`: how it is written in the definition."""
        self.call = call
        super().__init__(reason)


class Template(msgspec.Struct, frozen=True):
    """Text in single quotes: as text, and as what stands between its `{}`."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, written: str) -> Template:
        r"""Of text with escapes: `\{` is a brace and no place for a value."""
        parts, whole, at = [""], [], 0
        while at < len(written):
            one = written[at]
            if one == "\\" and at + 1 < len(written):
                one = written[at + 1]
                at += 1
            elif written.startswith("{}", at):
                parts.append("")
                whole.append("{}")
                at += 2
                continue
            parts[-1] += one
            whole.append(one)
            at += 1
        return cls("".join(whole), tuple(parts))


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, Template) else value


def _text(value: Any, what: str) -> str:
    value = _plain(value)
    if not isinstance(value, str):
        raise IntrinsicRefused(f"{what} must be a string")
    return value


def _array(value: Any, what: str = "The first argument") -> list[Any]:
    if not isinstance(value, list):
        raise IntrinsicRefused(f"{what} must be an array")
    return value


def _whole(value: Any, what: str) -> int:
    """A number, rounded to the nearest whole one; halves go up."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise IntrinsicRefused(f"{what} must be a number")
    return value if isinstance(value, int) else math.floor(value + 0.5)


def _json(value: Any) -> str:
    """JSON, stopped where it grows too long: the same value may stand in it many times."""
    made: list[str] = []
    size = 0
    for chunk in _ENCODER.iterencode(_plain(value)):
        size += len(chunk)
        if size > TEXT_MAX:
            raise IntrinsicRefused(f"The result is longer than {TEXT_MAX} characters")
        made.append(chunk)
    return "".join(made)


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def _format(template: Any, *values: Any) -> str:
    read = template if isinstance(template, Template) else Template.of(_text(template, "The first argument"))
    if len(read.parts) - 1 != len(values):
        raise IntrinsicRefused(
            f"The number of arguments ({len(values)}) does not match the occurrences of {{}} ({len(read.parts) - 1})"
        )
    made = _Text()
    made.add(read.parts[0])
    for value, part in zip(values, read.parts[1:], strict=True):
        made.add_value(_plain(value))
        made.add(part)
    return "".join(made.parts)


class _Text:
    """Text that grows up to a limit, with values written as the reference service writes them: `{a=1, b=[x, y]}`."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        self._size += len(text)
        if self._size > TEXT_MAX:
            raise IntrinsicRefused(f"The result is longer than {TEXT_MAX} characters")
        self.parts.append(text)

    def add_value(self, value: Any) -> None:
        if isinstance(value, str):
            self.add(value)
        elif isinstance(value, dict):
            self._add_all("{", ((f"{key}=", one) for key, one in value.items()), "}")
        elif isinstance(value, list):
            self._add_all("[", (("", one) for one in value), "]")
        else:
            self.add(json.dumps(value))

    def _add_all(self, opening: str, members: Any, closing: str) -> None:
        self.add(opening)
        for number, (name, value) in enumerate(members):
            self.add(f", {name}" if number else name)
            self.add_value(value)
        self.add(closing)


def _string_to_json(text: Any) -> Any:
    written = _text(text, "The argument")
    if not written.strip():
        return None
    try:
        return json.loads(written, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise IntrinsicRefused("The argument must be a valid JSON string") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _array_of(*values: Any) -> list[Any]:
    return [_plain(value) for value in values]


def _partition(values: Any, size: Any) -> list[list[Any]]:
    whole, every = _array(values), _whole(size, "The second argument")
    if every <= 0:
        raise IntrinsicRefused("The second argument must be a positive, non-zero number")
    return [whole[at : at + every] for at in range(0, len(whole), every)]


def _range(first: Any, last: Any, step: Any) -> list[int]:
    begin, end = _whole(first, "The first argument"), _whole(last, "The second argument")
    by = _whole(step, "The third argument")
    if by == 0:
        raise IntrinsicRefused("The third argument must not be zero")
    if (end - begin) // by >= RANGE_MAX:
        raise IntrinsicRefused(f"An array has at most {RANGE_MAX} elements")
    return list(range(begin, end + (1 if by > 0 else -1), by))


def _item(values: Any, index: Any) -> Any:
    whole, at = _array(values), _whole(index, "The second argument")
    if not 0 <= at < len(whole):
        raise IntrinsicRefused(f"The index {at} is out of bounds for an array of {len(whole)} elements")
    return whole[at]


def _unique(values: Any) -> list[Any]:
    made: dict[str, Any] = {}
    size = 0
    for value in _array(values):
        key = _json(value)
        size += len(key)
        if size > TEXT_MAX:
            raise IntrinsicRefused(f"The array is longer than {TEXT_MAX} characters")
        made.setdefault(key, value)
    return list(made.values())


def _base64_encode(text: Any) -> str:
    return base64.b64encode(_coded(text).encode()).decode()


def _base64_decode(text: Any) -> str:
    try:
        return base64.b64decode(_coded(text), validate=True).decode()
    except (binascii.Error, ValueError):
        raise IntrinsicRefused("The argument must be a valid Base64 string") from None


def _coded(text: Any) -> str:
    given = _text(text, "The argument")
    if len(given) > CODED_MAX:
        raise IntrinsicRefused(f"The argument must have at most {CODED_MAX} characters")
    return given


def _hash(value: Any, algorithm: Any) -> str:
    named = ALGORITHMS.get(_text(algorithm, "The second argument"))
    if named is None:
        raise IntrinsicRefused(f"The second argument must be one of {', '.join(ALGORITHMS)}")
    value = _plain(value)
    text = value if isinstance(value, str) else _json(value)
    if len(text) > CODED_MAX:
        raise IntrinsicRefused(f"The first argument must have at most {CODED_MAX} characters")
    return hashlib.new(named, text.encode(), usedforsecurity=False).hexdigest()


def _merge(first: Any, second: Any, deep: Any) -> dict[str, Any]:
    if not isinstance(first, dict) or not isinstance(second, dict):
        raise IntrinsicRefused("The first and the second argument must be JSON objects")
    if deep is not False:
        raise IntrinsicRefused("The third argument must be false: only shallow merging is supported")
    return {**first, **second}


def _add(first: Any, second: Any) -> int:
    return _whole(first, "The first argument") + _whole(second, "The second argument")


def _random(first: Any, last: Any, seed: Any = None, *, chance: Callable[[], float]) -> int:
    least, most = _whole(first, "The first argument"), _whole(last, "The second argument")
    if least >= most:
        raise IntrinsicRefused("The first argument must be less than the second")
    if seed is not None:
        return random.Random(_whole(seed, "The third argument")).randrange(least, most)  # noqa: S311 - not for secrets
    return min(least + int(chance() * (most - least)), most - 1)


def _split(text: Any, splitters: Any) -> list[str]:
    given, ends = _text(text, "The first argument"), set(_text(splitters, "The second argument"))
    made, begin = [], 0
    for at, one in enumerate(given):
        if one in ends:
            if at > begin:
                made.append(given[begin:at])
            begin = at + 1
    return [*made, given[begin:]] if begin < len(given) else made


def _uuid(*, chance: Callable[[], float]) -> str:
    bits = 0
    for _part in range(4):
        bits = bits << 32 | int(chance() * 2**32)
    return str(uuid.UUID(int=bits, version=4))


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "Format": (_format, 1, MANY),
    "StringToJson": (_string_to_json, 1, 1),
    "JsonToString": (_json, 1, 1),
    "Array": (_array_of, 0, MANY),
    "ArrayPartition": (_partition, 2, 2),
    "ArrayContains": (lambda values, one: any(same(value, _plain(one)) for value in _array(values)), 2, 2),
    "ArrayRange": (_range, 3, 3),
    "ArrayGetItem": (_item, 2, 2),
    "ArrayLength": (lambda values: len(_array(values, "The argument")), 1, 1),
    "ArrayUnique": (_unique, 1, 1),
    "Base64Encode": (_base64_encode, 1, 1),
    "Base64Decode": (_base64_decode, 1, 1),
    "Hash": (_hash, 2, 2),
    "JsonMerge": (_merge, 3, 3),
    "MathRandom": (_random, 2, 3),
    "MathAdd": (_add, 2, 2),
    "StringSplit": (_split, 2, 2),
    "UUID": (_uuid, 0, 0),
}
"""Each function, and how many arguments it takes at least and at most."""
