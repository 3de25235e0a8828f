"""Checks values against the settings' types, and collects every fault with its place."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.settings.expansion import Expanded, expanded
from corral.settings.section import Section
from corral.settings.sections import Settings


class Value(msgspec.Struct, frozen=True):
    """A value and where it was written: `corral.yaml:12`, `CORRAL_SERVER_PORT`, `--port`."""

    value: Any
    source: str
    text: bool = False
    """From the environment or a flag: everything is text there, and `8080` may stand for a number."""
    places: Mapping[str, str] = {}
    """Where the parts of lists and tables were written, by dotted key: `security.api_keys[0].tenant`."""
    literal: bool = False
    """It came out of a variable itself: a `${` in it is only text."""


def _fields() -> dict[str, Any]:
    """Type by dotted key of every setting."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(Settings, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, Section):
            inner = typing.get_type_hints(hint, include_extras=True)
            found |= {f"{name}.{key}": inner_hint for key, inner_hint in inner.items()}
        else:
            found[name] = hint
    return found


def _within(key: str, hint: Any) -> list[str]:
    """The settings that are parts of one, by dotted key; `NAME` stands for names and numbers of one's own."""
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in {list, dict} and parts:
        return _within(f"{key}.NAME" if len(parts) > 1 else f"{key}[0]", parts[-1])
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return []
    found = []
    for name, inner in typing.get_type_hints(kind, include_extras=True).items():
        found += [f"{key}.{name}", *_within(f"{key}.{name}", inner)]
    return found


FIELDS = _fields()
SECTIONS = frozenset(key.partition(".")[0] for key in FIELDS if "." in key)
_DEEPER = [inner for key, hint in FIELDS.items() for inner in _within(key, hint)]

_NO_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})


class Checker:
    """Takes raw values, hands back good ones, remembers what was wrong with the others."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """`env` is where `${VAR}` is looked up."""
        self._env = env
        self._faults: list[dict[str, object]] = []
        self.variables: set[str] = set()
        """The names of all variables that values have named."""

    def fault(self, source: str, key: str, message: str) -> None:
        """Remember one."""
        self._faults.append({"source": source, "key": key, "message": message})

    def checked(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The good ones among these, converted to their types."""
        good: dict[str, Value] = {}
        for key, given in values.items():
            if key not in FIELDS:
                self.fault(given.source, key, unknown_key(key))
                continue
            before = len(self._faults)
            try:
                value = self._taken(given, key, given.value, FIELDS[key])
            except RecursionError:  # JSON in a variable; files are measured as they are read
                self.fault(given.source, key, "This is nested too deeply.")
            if len(self._faults) == before:
                good[key] = Value(value, given.source)
        return good

    def _taken(self, given: Value, key: str, value: Any, kind: Any) -> Any:
        """The value as its type. What is wrong in it is noted, each fault with its own place, and the rest goes on."""
        try:
            shape = _shape(kind)
            if shape is None:
                value = value if given.literal else expanded(value, self._variable)
                return _converted(value, kind, lax=given.text)
            given, value = self._unpacked(given, value)
            if not isinstance(value, shape):
                raise ValueError(_expected_shape(shape, value))  # noqa: TRY301, TRY004 - noted as all other faults are
        except ValueError as error:
            self.fault(given.places.get(key, given.source), key, str(error))
            return None
        return self._parts(given, key, value, kind)

    def _unpacked(self, given: Value, value: Any) -> tuple[Value, Any]:
        """A list or a table. In the environment it is JSON, whether this is a variable or only names one."""
        if not isinstance(value, str) or given.literal:
            return given, value
        if given.text and value.startswith(("[", "{")):
            return given, _from_json(value)
        text = expanded(value, self._variable)
        if given.text or isinstance(text, Expanded):
            return msgspec.structs.replace(given, literal=True), _from_json(str(text))
        return given, text

    def _parts(self, given: Value, key: str, value: Any, kind: Any) -> Any:
        if isinstance(value, list):
            (part,) = typing.get_args(kind)
            return [self._taken(given, f"{key}[{at}]", item, part) for at, item in enumerate(value)]
        if isinstance(kind, type):
            return self._struct(given, key, value, kind)
        part = typing.get_args(kind)[1]
        return {name: self._taken(given, f"{key}.{name}", item, part) for name, item in value.items()}

    def _struct(self, given: Value, key: str, value: dict[Any, Any], kind: type[Section]) -> Section | None:
        before = len(self._faults)
        hints = typing.get_type_hints(kind, include_extras=True)
        taken = {}
        for name, item in value.items():
            if name in hints:
                taken[name] = self._taken(given, f"{key}.{name}", item, hints[name])
            else:
                hint = _meant(str(name), list(hints), key.partition(".")[0])
                self.fault(
                    given.places.get(f"{key}.{name}", given.source), f"{key}.{name}", f"There is no such key.{hint}"
                )
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in value:
                self.fault(given.places.get(key, given.source), key, f"It needs `{field.name}`.")
        return kind(**taken) if len(self._faults) == before else None

    def _variable(self, name: str) -> str | None:
        self.variables.add(name)
        return self._env.get(name)

    def raise_faults(self) -> None:
        """Raise one error that lists every fault there was."""
        if self._faults:
            lines = [f"{fault['source']}: {fault['key']}: {fault['message']}" for fault in self._faults]
            raise ConfigError("\n".join(lines), errors=self._faults)


def _shape(kind: Any) -> type | None:
    """`list` or `dict` for what has parts, none for what is one value."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return dict
    origin = typing.get_origin(kind)
    return origin if origin in {list, dict} else None


def _expected_shape(shape: type, value: Any) -> str:
    name = "list" if shape is list else "table"
    text = f"Expected a {name}, got `{type(value).__name__}`."
    return f"{text} In a variable it is written as JSON." if isinstance(value, str) else text


def _from_json(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"Expected JSON, because this setting is a list or a table: {error}") from None
    except UnicodeEncodeError:
        raise ValueError("This is not UTF-8.") from None


def _converted(value: Any, kind: Any, *, lax: bool) -> Any:
    if isinstance(value, Expanded):
        value, lax = str(value), True
    try:
        found = msgspec.convert(value, kind, strict=not lax)
    except msgspec.ValidationError as error:
        said = str(error)
        advice = _allowed(value, kind) if "Invalid enum value" in said else _advice(value, said, lax=lax)
        raise ValueError(f"{said}{advice}") from None
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError("Expected a finite number.")
    return found


def _allowed(value: str, kind: Any) -> str:
    """The words that a type takes, and the one that was likely meant."""
    words = _words_of(kind)
    return f". There is: {', '.join(words)}.{nearest(value, words)}"


def _words_of(kind: Any) -> list[str]:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return [str(part) for part in parts]
    return [word for part in parts for word in _words_of(part)]


def _advice(value: Any, said: str, *, lax: bool) -> str:
    """What to do about it, where YAML or an empty variable is likely the reason."""
    if "matching regex" in said:
        return ". It may not be empty, or hold spaces or other than plain characters."
    if "`str`, got `" in said:
        return '. In YAML, put quotes around a text such as "true" or "12".'
    if not isinstance(value, str) or "got `str`" not in said:
        return ""
    if not value and lax:
        return ". It is empty: give it a value, or unset it for the default."
    if "`bool`" in said:
        return ". Write `true` or `false`." if lax or value.lower() in _NO_BOOLEANS else ""
    return "" if lax else ". Write a number in plain digits, without quotes."


def unknown_key(key: str) -> str:
    """What to say about a key that does not exist: the nearest one that does."""
    section, _, name = key.rpartition(".")
    if section and section not in SECTIONS:
        return "There is no such section." + nearest(section, sorted(SECTIONS))
    siblings = [known.rpartition(".")[2] for known in FIELDS if known.rpartition(".")[0] == section]
    if not section:
        siblings += sorted(SECTIONS)
    return f"There is no such setting.{_meant(name, siblings, section)}"


def _meant(name: str, siblings: list[str], section: str) -> str:
    """A slip of the finger beside it, the very name elsewhere, of the same section first, else what is least unlike."""
    known = sorted((*FIELDS, *_DEEPER), key=lambda key: not key.startswith(f"{section}."))
    elsewhere = [key for key in known if key.rpartition(".")[2] == name]
    return nearest(name, siblings, alike=0.8) or nearest(name, elsewhere[:1], alike=0.0) or nearest(name, siblings)


def nearest(name: str, names: list[str], *, alike: float = 0.5) -> str:
    """`Did you mean …?`, if there is a name that was likely meant."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=alike)
    return f" Did you mean `{near[0]}`?" if near else ""
