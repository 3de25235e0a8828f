"""Values that fit a JSON schema, filled from a text as far as it says anything about them."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

from corral.models.sim import reading

_DEPTH_MAX = 12
_ITEMS_MAX = 3
_SPECIAL = frozenset(("enum", "const", "format", "pattern", "anyOf", "oneOf"))
"""What makes a text more than any text."""
_FORMATS: dict[str, str] = {
    "date": "2030-01-15",
    "time": "09:30:00Z",
    "date-time": "2030-01-15T09:30:00Z",
    "duration": "P1DT2H",
    "email": "ada@example.com",
    "hostname": "shop.example.com",
    "ipv4": "192.0.2.10",
    "ipv6": "2001:db8::10",
    "uri": "https://shop.example.com/",
    "url": "https://shop.example.com/",
    "uuid": "6f1d3c52-8a4e-4b0e-9a57-2f6f0c1f8b3d",
}
_PATTERN_TRIES = (
    "A1",
    "AB-1234",
    "ORD-1042",
    "2030-01-15",
    "09:30",
    "ada@example.com",
    "#1042",
    "+4930123456",
    "v1.2.3",
    "#a1b2c3",
    "EUR",
    "DE",
    "en",
    "1.5",
    "abc_def",
    "abc-def",
    "https://shop.example.com/",
    "6f1d3c52-8a4e-4b0e-9a57-2f6f0c1f8b3d",
)
_LONG_TEXT = (
    "summary",
    "answer",
    "text",
    "reason",
    "explanation",
    "description",
    "message",
    "content",
    "comment",
    "reply",
    "response",
    "rationale",
    "thought",
)
_REFERENCES = ("order", "ticket", "invoice", "case", "parcel", "reference", "id", "number")
_PLACES = ("city", "location", "place", "country", "destination", "where", "address", "town", "region")


class Fitting:
    """Fills one schema. The same schema, text and chance: the same value."""

    def __init__(
        self,
        schema: dict[str, Any],
        text: str,
        chance: random.Random,
        prose: Callable[[], str],
        *,
        sparse: bool = False,
    ) -> None:
        """`prose` writes what fields for longer texts are filled with. `sparse`: what is not required is left out."""
        self._root = schema
        self._text = text
        self._chance = chance
        self._prose = prose
        self._sparse = sparse
        self._numbers = reading.numbers_of(text)

    def value(self) -> Any:
        """The value."""
        return self._fit(self._root, "", 0)

    def _fit(self, schema: Any, name: str, depth: int) -> Any:  # noqa: PLR0911 - one for each type
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._chosen(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                rest = {k: v for k, v in schema.items() if k != key}
                return self._fit(_merged(rest, self._one_of(schema[key], depth)), name, depth + 1)
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind == "string":
            return self._string(schema, name)
        if kind in {"number", "integer"}:
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return self._boolean(name, str(schema.get("description", "")))
        return None

    def _resolved(self, schema: Any, depth: int) -> dict[str, Any]:
        if not isinstance(schema, dict):  # `true` takes everything
            return {"type": "string"}
        found: dict[str, Any] = schema
        for _ in range(_DEPTH_MAX):
            if "$ref" in found:
                target = self._target(str(found["$ref"]))
                found = _merged(target, {key: value for key, value in found.items() if key != "$ref"})
            elif found.get("allOf"):
                rest = {key: value for key, value in found.items() if key != "allOf"}
                for part in found["allOf"]:
                    rest = _merged(rest, self._resolved(part, depth + 1) if depth < _DEPTH_MAX else {})
                found = rest
            else:
                break
        return found

    def _target(self, reference: str) -> dict[str, Any]:
        node: Any = self._root
        for step in reference.removeprefix("#").split("/"):
            if step:
                node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
        return node if isinstance(node, dict) else {}

    def _one_of(self, choices: list[Any], depth: int) -> dict[str, Any]:
        resolved = [self._resolved(choice, depth) for choice in choices]
        real = [choice for choice in resolved if _kind(choice) != "null"]
        if depth >= _DEPTH_MAX or not real:
            return resolved[-1] if not real else next((c for c in resolved if _kind(c) == "null"), real[0])
        named = [" ".join(map(str, (c.get("title", ""), c.get("description", "")))) for c in real]
        best, score = reading.nearest(named, self._text)
        return real[named.index(best)] if score else real[0]

    def _chosen(self, choices: list[Any]) -> Any:
        best, score = reading.nearest([str(choice) for choice in choices], self._text)
        if score:
            return next(choice for choice in choices if str(choice) == best)
        said = reading.mood_of(self._text)
        for choice in choices:
            if isinstance(choice, str) and choice.lower() == said:
                return choice
        return self._chance.choice([choice for choice in choices if choice is not None] or choices)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        value = {
            name: self._fit(inner, name, depth + 1)
            for name, inner in properties.items()
            if name in required
            or (not (self._sparse and required) and depth < _DEPTH_MAX // 2 and "default" not in _plain(inner))
        }
        for name in required:
            value.setdefault(name, self._fit(schema.get("additionalProperties", True), name, depth + 1))
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and not properties and depth < _DEPTH_MAX // 2:
            value.update({word: self._fit(extra, word, depth + 1) for word in self._key_words()[:2]})
        for number in range(len(value), int(schema.get("minProperties", 0))):
            value[f"key_{number + 1}"] = self._fit(extra if isinstance(extra, dict) else True, "", depth + 1)
        return value

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", _ITEMS_MAX + 1_000))
        wanted = min(max(least, 1 if depth > 2 else 2), most)  # noqa: PLR2004 - deeper lists are shorter
        if depth >= _DEPTH_MAX:
            wanted = least
        first = [self._fit(inner, name, depth + 1) for inner in schema.get("prefixItems", ())]
        inner = schema.get("items", True)
        plain = self._resolved(inner, depth)
        if _kind(plain) == "string" and not _SPECIAL.intersection(plain):
            listed = self._key_words()[: max(wanted, min(_ITEMS_MAX, most))]
            listed = [self._sized(word, plain) for word in listed]
        else:
            listed = []
        items = [*first, *listed]
        while len(items) < wanted and inner is not False:
            items.append(self._fit(inner, name, depth + 1))
        if schema.get("uniqueItems"):
            items = self._unique(items, plain, least)
        return items[:most]

    def _unique(self, items: list[Any], inner: dict[str, Any], least: int) -> list[Any]:
        unique = [item for n, item in enumerate(items) if item not in items[:n]]
        spare = [choice for choice in inner.get("enum", ()) if choice not in unique]
        number = 0
        while len(unique) < least and number < least + len(spare) + 1_000:
            number += 1
            kind = _kind(inner)
            more = spare.pop(0) if spare else (f"{kind}_{number}" if kind == "string" else _lowest(inner) + number)
            if more not in unique:
                unique.append(more)
        return unique

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if form := schema.get("format"):
            return self._formatted(str(form))
        if pattern := schema.get("pattern"):
            return self._patterned(str(pattern), schema)
        return self._sized(self._said(name.lower(), str(schema.get("description", "")).lower()), schema)

    def _formatted(self, form: str) -> str:
        found = {
            "email": reading.emails_of,
            "uri": reading.urls_of,
            "url": reading.urls_of,
            "date": reading.dates_of,
        }.get(form, _nothing)(self._text)
        return found[0] if found else _FORMATS.get(form, "example")

    def _patterned(self, pattern: str, schema: dict[str, Any]) -> str:
        reference = reading.reference_of(self._text)
        said = [reference, *reading.names_of(self._text), *self._text.split()[:200], *_PATTERN_TRIES]
        said += [digit * length for digit in ("1", "a", "A") for length in range(1, 40)]
        try:
            fits = re.compile(pattern)
        except re.error:
            return self._sized("example", schema)
        return next((word for word in said if word and fits.search(word) and _within(word, schema)), "example")

    def _said(self, name: str, description: str) -> str:  # noqa: PLR0911 - one for each sort of name
        """What the text says about a field of that name."""
        text, hint = self._text, f"{name} {description}"
        if "mail" in name and (found := reading.emails_of(text)):
            return found[0]
        if ("url" in name or "link" in name) and (found := reading.urls_of(text)):
            return found[0]
        if "date" in name or name in {"day", "when"}:
            return next(iter(reading.dates_of(text)), "2030-01-15")
        if "query" in name or "question" in name or name in {"q", "search", "prompt", "input"}:
            return (
                next(iter(reading.quotes_of(text)), "")
                or " ".join(self._key_words()[:6])
                or text.strip()[:80]
                or "anything"
            )
        if any(word in name for word in _LONG_TEXT):
            return self._prose()
        if any(word in hint for word in _PLACES) and (names := reading.names_of(text)):
            return names[0]
        if any(word in name.split("_") for word in _REFERENCES) and (reference := reading.reference_of(text)):
            return (
                "".join(char for char in reference if not char.isspace()).lstrip("#")
                if " " not in reference
                else reference.split()[-1].lstrip("#")
            )
        if quotes := reading.quotes_of(text):
            return quotes[0]
        if names := reading.names_of(text):
            return names[-1] if "name" in name else names[0]
        return " ".join(self._key_words()[:3]) or name or "example"

    def _sized(self, text: str, schema: dict[str, Any]) -> str:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        while len(text) < least:
            text += f" {text or 'and so on'}"
        return text if most is None else text[: int(most)]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float | int:
        low, high = _lowest(schema), _highest(schema)
        step = schema.get("multipleOf") or (1 if whole else 0)
        for number in self._numbers:
            if low <= number <= high and (not step or math.isclose(number % step, 0, abs_tol=1e-9)):
                return int(number) if whole or number == int(number) else number
        top = min(high, max(low + 10, 10))
        value = self._chance.uniform(low if low > -1e9 else min(0, top), top)  # noqa: PLR2004 - there is no lower bound
        if step:
            value = (
                math.ceil(low / step) * step
                if math.floor(value / step) * step < low
                else math.floor(value / step) * step
            )
        else:
            value = round(value, 2) if low <= round(value, 2) <= high else value
        return int(value) if whole else value

    def _boolean(self, name: str, description: str) -> bool:
        _, score = reading.nearest([f"{name.replace('_', ' ')} {description}"], self._text)
        return bool(score) if score else self._chance.random() < 0.5  # noqa: PLR2004 - heads or tails

    def _key_words(self) -> list[str]:
        return reading.key_words(self._text)


def _nothing(_text: str) -> list[str]:
    return []


def _plain(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return "number"
    return "string"


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both: what they say about the same properties, and what both require."""
    both = one | other
    if "properties" in one and "properties" in other:
        both["properties"] = one["properties"] | other["properties"]
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *other["required"]]
    return both


def _within(text: str, schema: dict[str, Any]) -> bool:
    return int(schema.get("minLength", 0)) <= len(text) <= int(schema.get("maxLength", len(text)))


def _lowest(schema: dict[str, Any]) -> float:
    low, above = schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf)
    if above >= low and above != -math.inf:
        low = above + (1 if _kind(schema) == "integer" else 1e-6)
    return float(low) if low != -math.inf else (-math.inf if _highest(schema) < 0 else 0.0)


def _highest(schema: dict[str, Any]) -> float:
    high, below = schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf)
    if below <= high and below != math.inf:
        high = below - (1 if _kind(schema) == "integer" else 1e-6)
    return float(high)
