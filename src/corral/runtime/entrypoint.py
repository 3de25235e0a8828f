"""A user's callable, understood once: how to call it, and what it wants to be called with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from corral.context import Context
from corral.errors import ConfigError
from corral.runtime.payload import PayloadType, payload_type

Kind = Literal["async", "sync", "async_stream", "sync_stream"]

_CONTEXT_NAMES = frozenset({"Context", "RequestContext"})


class Entrypoint:
    """One named agent: its callable, its kind, and whether it takes the context."""

    __slots__ = ("description", "fn", "kind", "name", "payload", "takes_context")

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        """Look at `fn` once, so that a call costs no inspection."""
        self.name = name
        self.fn = fn
        self.kind = kind_of(fn)
        self.takes_context = wants_context(name, fn)
        self.payload: PayloadType | None = payload_type(fn)
        self.description = inspect.getdoc(_unwrapped(fn)) or ""

    @property
    def streams(self) -> bool:
        """Whether every answer is a stream (others may still return a generator)."""
        return self.kind in {"async_stream", "sync_stream"}


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def kind_of(fn: Any) -> Kind:
    """Tell the four kinds of callables apart, through partials and callable objects."""
    target = _unwrapped(fn)
    if not callable(target):
        raise ConfigError(f"{target!r} is not callable: an entrypoint is a function, or an object one can call.")
    candidates = (target,) if inspect.isroutine(target) else (target, target.__call__)
    for candidate in candidates:
        if inspect.isasyncgenfunction(candidate):
            return "async_stream"
        if inspect.iscoroutinefunction(candidate):
            return "async"
        if inspect.isgeneratorfunction(candidate):
            return "sync_stream"
    return "sync"


def wants_context(name: str, fn: Any) -> bool:
    """True when the second parameter is named `context` or annotated so; more required ones are an error now, not later."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    takes_context = len(positional) >= 2 and _is_context(positional[1])  # noqa: PLR2004 - payload, then context
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    unfilled = [p for p in positional[2 if takes_context else 1 :] if p.default is p.empty]
    unfilled += [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if unfilled or (not positional and not variadic):
        raise ConfigError(
            f"The entrypoint of agent {name!r} has the signature {fn!r}{inspect.signature(fn)}; "
            "it is called as (payload) or as (payload, context)."
        )
    return takes_context


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str):  # of a file that postpones its annotations
        return parameter.name == "context" or annotation.strip("'\"").rpartition(".")[2] in _CONTEXT_NAMES
    return parameter.name == "context" or (isinstance(annotation, type) and issubclass(annotation, Context))
