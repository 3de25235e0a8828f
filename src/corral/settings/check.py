"""Checks single values against the settings' types, and collects every fault with its place."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.settings.sections import Section, Settings

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{([^}]*)\}?")


class Value(msgspec.Struct, frozen=True):
    """A value and where it was written: `corral.yaml:12`, `CORRAL_SERVER_PORT`, `--port`."""

    value: Any
    source: str
    text: bool = False
    """From the environment or a flag: everything is text there, and `8080` may stand for a number."""


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


FIELDS = _fields()
SECTIONS = frozenset(key.partition(".")[0] for key in FIELDS if "." in key)


class Checker:
    """Takes raw values, hands back good ones, remembers what was wrong with the others."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """`env` is where `${VAR}` is looked up."""
        self._env = env
        self._faults: list[dict[str, object]] = []

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
            try:
                value = self._expanded(given.value)
                good[key] = Value(_converted(value, FIELDS[key], lax=given.text), given.source)
            except (msgspec.ValidationError, ValueError) as error:
                self.fault(given.source, key, str(error))
        return good

    def _expanded(self, value: Any) -> Any:
        """`${VAR}` and `${VAR:-default}` in every text; `$${` is a plain `${`."""
        if isinstance(value, dict):
            return {self._expanded(name): self._expanded(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._expanded(part) for part in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        whole = _VARIABLE.fullmatch(value)
        text = _VARIABLE.sub(self._variable, value)
        # `port: ${PORT}` means the number: a value that is nothing but a variable is read as the environment is.
        return FromVariable(text) if whole is not None and not value.startswith("$$") else text

    def _variable(self, match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[3] if match[2] else None
        if name is None:
            raise ValueError(
                f"{match[0]!r} is not a variable: write ${{NAME}} or ${{NAME:-default}}, or $${{ for the text."
            )
        found = self._env.get(name)
        if found is None or (found == "" and default is not None):
            if default is None:
                raise ValueError(f"The environment variable {name} is not set; set it, or write ${{{name}:-default}}.")
            return default
        return found

    def raise_faults(self) -> None:
        """Raise one error that lists every fault there was."""
        if self._faults:
            lines = [f"{fault['source']}: {fault['key']}: {fault['message']}" for fault in self._faults]
            raise ConfigError("\n".join(lines), errors=self._faults)


class FromVariable(str):
    """Text out of the environment, which may stand for a number or a boolean."""

    __slots__ = ()


def _converted(value: Any, kind: Any, *, lax: bool) -> Any:
    if isinstance(value, str) and (lax or isinstance(value, FromVariable)):
        value = str(value)
        if _is_compound(kind) and value[:1] in "[{":
            try:
                value = msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise ValueError(f"Expected JSON, because this setting is a list or a table: {error}") from None
        return msgspec.convert(value, kind, strict=False)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if isinstance(value, bool) and "got `bool`" in str(error):
            raise ValueError(f'{error}. In YAML, put quotes around a text such as "true".') from None
        raise


def _is_compound(kind: Any) -> bool:
    return typing.get_origin(kind) in {list, dict}


def unknown_key(key: str) -> str:
    """What to say about a key that does not exist: the nearest one that does."""
    section, _, name = key.rpartition(".")
    if section and section not in SECTIONS:
        return "There is no such section." + _nearest(section, sorted(SECTIONS))
    siblings = [known.rpartition(".")[2] for known in FIELDS if known.rpartition(".")[0] == section]
    if not section:
        siblings += sorted(SECTIONS)
    hint = _nearest(name, siblings)
    if not hint:
        elsewhere = [known for known in FIELDS if known.rpartition(".")[2] == name]
        hint = f" Did you mean `{elsewhere[0]}`?" if elsewhere else ""
    return f"There is no such setting.{hint}"


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean `{near[0]}`?" if near else ""
