"""Arguments as a model gave them, checked and converted once; what does not fit is said so that the model can mend it."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from corral.tools.signature import Parameter, input_schema

_FAULTS_MAX = 10


class Misfit(Exception):
    """These arguments do not fit."""

    def __init__(self, faults: list[str]) -> None:
        """One sentence for each fault."""
        super().__init__(" ".join(faults))
        self.faults = faults


class Arguments:
    """What one tool takes."""

    __slots__ = ("_by_name", "_kind", "_names", "schema")

    def __init__(self, name: str, parameters: tuple[Parameter, ...]) -> None:
        """Raises `ConfigError` for types that JSON does not know."""
        kind, self.schema = input_schema(name, parameters)
        # Inside of a struct: msgspec remembers how a struct is read, and finds out anew how a `TypedDict` is.
        self._kind: Any = msgspec.defstruct(f"{name}_arguments", [("given", kind)])
        self._by_name = {one.name: one for one in parameters}
        self._names = frozenset(self._by_name)

    def read(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the function takes them; those that were not given are left out. Raises `Misfit`."""
        if given.keys() <= self._names:
            try:
                read: dict[str, Any] = msgspec.convert(
                    {"given": given}, self._kind, strict=False, dec_hook=_custom
                ).given
            except msgspec.ValidationError:
                return self._one_by_one(given)
            return read
        return self._one_by_one(given)

    def _one_by_one(self, given: dict[str, Any]) -> dict[str, Any]:
        """One after the other: msgspec stops at the first fault, and who is to mend them wants them all."""
        faults: list[str] = []
        read: dict[str, Any] = {}
        for name, parameter in self._by_name.items():
            if name in given:
                try:
                    read[name] = _converted(given[name], parameter.hint)
                except msgspec.ValidationError as error:
                    faults.append(_sentence(name, str(error)))
            elif parameter.required:
                faults.append(f"`{name}` is missing.")
        for name in given:
            if name not in self._names:
                near = difflib.get_close_matches(name, self._names, 1)
                faults.append(f"There is no `{name}`" + (f": did you mean `{near[0]}`?" if near else "."))
        if faults:
            raise Misfit(faults[:_FAULTS_MAX])
        return read


def _converted(value: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=_custom)
    except msgspec.ValidationError:
        if not isinstance(value, str) or value.lstrip()[:1] not in {"{", "["}:
            raise
        # Some models write objects and lists inside of a string.
        try:
            inside = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError):
            inside = None
        if inside is None:
            raise
        return msgspec.convert(inside, hint, strict=False, dec_hook=_custom)


def _custom(kind: Any, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"{kind!r} is a type that JSON does not know.")
    if isinstance(value, kind):
        return value
    try:
        return validate(value)
    except ValueError as error:
        details = error.errors() if hasattr(error, "errors") else []
        said = "; ".join(f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in details)
        raise ValueError(said or str(error)) from None


def _sentence(name: str, said: str) -> str:
    """`Expected `int`, got `str` - at `$.b[0]`` as a sentence about an argument."""
    message, _, where = said.partition(" - at `$")
    return f"`{name}{where.rstrip('`')}`: {message.rstrip('.')}."


def bound(parameters: tuple[Parameter, ...], read: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as they are handed over: in order where they have no names, by name else."""
    positional: list[Any] = []
    named = dict(read)
    for one in parameters:
        if not one.positional:
            break
        positional.append(named.pop(one.name, one.default))
    return positional, named
