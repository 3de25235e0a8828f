"""A function's parameters, understood once: what a model may fill in, what is filled in for it, and the schema of both ways."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from corral.context import Context
from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.tools.docstrings import read_docstring

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_REF = "#/$defs/"


class Parameter(NamedTuple):
    """One that a model may fill in."""

    name: str
    hint: Any
    """Its type, with its description as `Meta`."""
    default: Any
    """`inspect.Parameter.empty`: it must be given."""
    positional: bool
    """It cannot be given by name."""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty


class Signature(NamedTuple):
    """What a function takes and returns."""

    description: str
    parameters: tuple[Parameter, ...]
    context: str
    """The parameter that takes the `Context`; empty: none does."""
    call: str
    """The one that takes the `ToolCall`, for its idempotency key."""
    returns: Any
    """The type of its result; `Any` where it does not say."""


def signature_of(name: str, fn: Callable[..., Any], around: Mapping[str, Any]) -> Signature:
    """Look at `fn`. `around` are the names where it is defined, for types that are local there.

    Raises `ConfigError` for what no model could call.
    """
    target = _target(fn)
    doc = read_docstring(fn if inspect.isroutine(fn) else type(fn) if not _described(fn) else fn)
    hints = _Hints(name, target, around)
    context = call = ""
    parameters: list[Parameter] = []
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in _VARIADIC:
            raise ConfigError(
                f"The tool {name!r} takes {parameter}, and a model must know what it may say: name every parameter."
            )
        hint = hints.of(parameter.name, parameter.annotation)
        if _is(hint, Context):
            context = parameter.name
        elif _is(hint, ToolCall):
            call = parameter.name
        else:
            said = doc.parameters.get(parameter.name, "")
            described = Annotated[hint, msgspec.Meta(description=said)] if said else hint
            positional = parameter.kind is parameter.POSITIONAL_ONLY
            parameters.append(Parameter(parameter.name, described, parameter.default, positional))
    returns = hints.of("return", inspect.signature(fn).return_annotation)
    return Signature(doc.said, tuple(parameters), context, call, returns)


def input_schema(name: str, parameters: tuple[Parameter, ...]) -> tuple[Any, dict[str, Any]]:
    """The type that arguments are converted to (a `TypedDict`), and its JSON schema."""
    fields = {one.name: one.hint if one.required else typing.NotRequired[one.hint] for one in parameters}
    kind: Any = typing.TypedDict(f"{name}_input", fields)  # type: ignore[misc]  # made from what was read
    schema = _inlined(schema_of(name, kind))
    schema.pop("title", None)
    schema.setdefault("properties", {})
    schema["additionalProperties"] = False
    for one in parameters:
        if not one.required:
            shown = _shown(one.default)
            if shown is not msgspec.UNSET:
                _property(schema, one.name)["default"] = shown
    # As the function has them: a model reads them in this order.
    schema["properties"] = {one.name: schema["properties"][one.name] for one in parameters}
    if "required" in schema:
        schema["required"] = [one.name for one in parameters if one.required]
    return kind, schema


def schema_of(name: str, kind: Any) -> dict[str, Any]:
    """The JSON schema of a type; pydantic's models included. Raises `ConfigError` for a type that JSON does not know."""
    apart: dict[str, Any] = {}

    def custom(model: Any) -> dict[str, Any]:
        if not hasattr(model, "model_json_schema"):
            raise NotImplementedError
        said: dict[str, Any] = model.model_json_schema(ref_template=_REF + "{model}")
        apart.update(said.pop("$defs", {}))
        return said

    try:
        schema = msgspec.json.schema(kind, schema_hook=custom)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"The tool {name!r} has a type that JSON does not know: {str(error).splitlines()[0]} Say it with str, int, float, "
            "bool, list, dict, Literal, enums, dataclasses, TypedDicts, msgspec structs or pydantic models."
        ) from error
    if apart:
        schema["$defs"] = {**schema.get("$defs", {}), **apart}
    return schema


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """With what stands behind the one reference at the top put there: models are told of an object, not of a reference."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    named = dict(schema["$defs"])
    top = dict(named.pop(reference.removeprefix(_REF)))
    return {**top, "$defs": named} if named else top


def _property(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["properties"][name]
    if "$ref" in found and len(found) == 1:  # older readers ignore what stands beside a reference
        found = schema["properties"][name] = {"anyOf": [found]}
    return found


def _shown(default: Any) -> Any:
    try:
        return msgspec.to_builtins(default, enc_hook=plain)
    except (TypeError, ValueError, NotImplementedError):
        return msgspec.UNSET  # nothing that JSON could say: the function knows


def plain(value: Any) -> Any:
    """Values that msgspec does not know, as it does: pydantic's models."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"A {type(value).__name__} cannot be said in JSON.")
    return dump(mode="json")


def _described(fn: Any) -> bool:
    return "__doc__" in getattr(fn, "__dict__", {})


def _target(fn: Callable[..., Any]) -> Any:
    """The function itself, whose annotations and globals are looked at."""
    fn = inspect.unwrap(fn)
    while hasattr(fn, "func"):  # a partial
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__  # an object that is called like a function
    return getattr(fn, "__func__", fn)


def _is(hint: Any, kind: type) -> bool:
    """Whether a hint is that type, or that type or none."""
    if hint is kind:
        return True
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return kind in typing.get_args(hint)
    return isinstance(hint, type) and issubclass(hint, kind)


class _Hints:
    """Annotations as types, one by one: those of a parameter that is filled in here may be for type checkers alone."""

    def __init__(self, name: str, target: Any, around: Mapping[str, Any]) -> None:
        self._name = name
        self._globals = getattr(target, "__globals__", {})
        self._around = around
        self._said = getattr(target, "__annotations__", {})

    def of(self, name: str, annotation: Any) -> Any:
        annotation = self._said.get(name, annotation)
        if annotation is inspect.Parameter.empty:
            return Any
        if annotation is None:
            return None
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            return typing.get_type_hints(alone, self._globals, dict(self._around), include_extras=True)[name]
        except NameError as error:
            known = str(annotation).strip("'\"").partition("|")[0].strip().rpartition(".")[2]
            if known == "Context":
                return Context
            if known == "ToolCall":
                return ToolCall
            if name == "return":
                return Any
            raise ConfigError(
                f"The tool {self._name!r} has a parameter {name!r} of the type {annotation!r}, and {error}: import it where "
                "the program runs, not for type checkers only."
            ) from error
