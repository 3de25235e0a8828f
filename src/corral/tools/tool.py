"""`@tool`: a function that agents may call, with what a model is told of it and what the house knows of it."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import msgspec

from corral.clock import new_id
from corral.context import Context, find_context, is_asynchronous
from corral.errors import ConfigError
from corral.messages import ToolCall, ToolSpec
from corral.tools.arguments import Arguments, bound
from corral.tools.marks import Marks, Scope, check_marks
from corral.tools.signature import Signature, schema_of, signature_of

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_NO_MARKS = Marks()

Invoke = Callable[[dict[str, Any], ToolCall], Any]
"""Do it: with the arguments as `read` made them, and the call they came with."""


class Tool:
    """One tool. Made by `@tool` from a function, or by who has a schema of his own (an OpenAPI document, an MCP server).

    It is called like the function it was made from: `await ticket_status("T-1")`. Agents call it through a `Toolbox`, with all layers.
    """

    def __init__(
        self,
        spec: ToolSpec,
        invoke: Invoke,
        *,
        marks: Marks = _NO_MARKS,
        blocking: bool = False,
        returns: dict[str, Any] | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        """`invoke` returns something to await, or, if it is `blocking`, its result: it runs in a thread then.

        Without `arguments`, what a model gives is handed on as it is. Raises `ConfigError` for what cannot work.
        """
        if not _NAME.fullmatch(spec.name):
            raise ConfigError(
                f"A tool's name is made of letters, digits, `_` and `-`, at most 64 of them, not {spec.name!r}: name it with "
                "@tool(name=…)."
            )
        check_marks(spec.name, marks)
        self.spec = spec
        self.name = self.__name__ = spec.name
        self.marks = marks
        self.invoke = invoke
        self.blocking = blocking
        self.returns = returns
        """JSON schema of its result; none: it does not say."""
        self._arguments = arguments
        self._function: Callable[..., Any] | None = None

    @property
    def description(self) -> str:
        """What a model is told."""
        return self.spec.description

    def read(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the tool takes them. Raises `Misfit`, which names every fault."""
        return given if self._arguments is None else self._arguments.read(given)

    def marked(self, **marks: Any) -> Tool:
        """The same tool with other marks, for one agent: `refund.marked(approval=True)`."""
        changed = Tool(
            self.spec,
            self.invoke,
            marks=msgspec.structs.replace(self.marks, **marks),
            blocking=self.blocking,
            returns=self.returns,
            arguments=self._arguments,
        )
        changed._function = self._function
        return changed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, without any layer."""
        if self._function is None:
            raise ConfigError(f"The tool {self.name!r} has no function of yours: call it through a Toolbox.")
        return self._function(*args, **kwargs)

    def __get__(self, instance: object, _owner: type | None = None) -> Tool:
        """As a method: the tool of that object."""
        if instance is None or self._function is None:
            return self
        return _made(functools.partial(self._function, instance), self.spec, self.marks, {})

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    read_only: bool = False,
    idempotent: bool = False,
    timeout_s: float | None = None,
    retries: int | None = None,
    cost_usd: float | None = None,
    concurrency: int | None = None,
    cache_ttl_s: float | None = None,
    cache_scope: Scope = "tenant",
    output_max_bytes: int | None = None,
    approval: bool = False,
    permissions: Iterable[str] = (),
    untrusted: bool = False,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(fn: Callable[..., Any] | None = None, /, *, name: str = "", description: str = "", **marks: Any) -> Any:
    """Make a tool of a function, from its type hints and its docstring.

        @tool(read_only=True, timeout_s=10)
        async def ticket_status(ticket_id: str, verbose: bool = False) -> dict:
            '''Look a ticket up.'''

    What the docstring says of a parameter (in Google's, NumPy's or Sphinx's way) becomes its description. A parameter of the type `Context` (or `ToolCall`) is filled in, and no model hears of it. A plain function runs in a thread.
    The marks are those of `corral.tools.marks.Marks`. Raises `ConfigError` for what no model could call.
    """
    around = sys._getframe(1).f_locals  # noqa: SLF001 - types that are local to where the tool is made

    def made(fn: Callable[..., Any]) -> Tool:
        return made_tool(fn, around=around, name=name, description=description, **marks)

    return made if fn is None else made(fn)


def as_tool(given: Tool | Callable[..., Any]) -> Tool:
    """A tool as it is, and a plain function as one, with the marks it brings along (`__tool_marks__`)."""
    return given if isinstance(given, Tool) else made_tool(given, around={}, **getattr(given, "__tool_marks__", {}))


def made_tool(
    fn: Callable[..., Any], *, around: Mapping[str, Any], name: str = "", description: str = "", **marks: Any
) -> Tool:
    """What `@tool` does; `around` are the names where it is used."""
    if not callable(fn):
        raise ConfigError(f"{fn!r} is not callable: a tool is made of a function.")
    name = name or getattr(fn, "__name__", "") or type(fn).__name__
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise ConfigError(f"The tool {name!r} yields, and a call of a tool has one result: return it as a whole.")
    if isinstance(marks.get("permissions"), str):
        marks["permissions"] = (marks["permissions"],)
    elif "permissions" in marks:
        marks["permissions"] = tuple(marks["permissions"])
    return _made(fn, ToolSpec(name=name, description=description), Marks(**marks), around)


def _made(fn: Callable[..., Any], spec: ToolSpec, marks: Marks, around: Mapping[str, Any]) -> Tool:
    signature = signature_of(spec.name, fn, around)
    if signature.parameters and signature.parameters[0].name == "self" and _is_method(fn):
        signature = signature._replace(parameters=signature.parameters[1:])  # bound when it is looked up on an object
    arguments = Arguments(spec.name, signature.parameters)
    made = Tool(
        ToolSpec(
            name=spec.name,
            description=spec.description or signature.description,
            parameters=arguments.schema,
        ),
        _invoke(fn, signature),
        marks=marks,
        blocking=not is_asynchronous(_innermost(fn)),
        returns=_returned(spec.name, signature),
        arguments=arguments,
    )
    made._function = fn  # noqa: SLF001 - made here
    functools.update_wrapper(made, fn, assigned=("__doc__", "__module__", "__qualname__"), updated=())
    return made


def _is_method(fn: Callable[..., Any]) -> bool:
    return "." in getattr(fn, "__qualname__", "").replace("<locals>.", "")


def _innermost(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _invoke(fn: Callable[..., Any], signature: Signature) -> Invoke:
    context_name, call_name, parameters = signature.context, signature.call, signature.parameters
    in_order = any(one.positional for one in parameters)
    if not (context_name or call_name or in_order):
        return lambda arguments, _call: fn(**arguments)

    def invoke(arguments: dict[str, Any], call: ToolCall) -> Any:
        positional, named = bound(parameters, arguments) if in_order else ([], dict(arguments))
        if context_name:
            named[context_name] = find_context() or _outside(call)
        if call_name:
            named[call_name] = call
        return fn(*positional, **named)

    return invoke


def _outside(call: ToolCall) -> Context:
    """The context of a call that no invocation makes: a script's, or that of the tools' own address."""
    caller = call.caller
    context = Context(caller.run_id or new_id(), caller.agent or "main")
    context.tenant, context.tier, context.roles = caller.tenant, caller.tier, caller.roles
    context.user_id = caller.user_id or None
    context.session_id = caller.session_id or None
    context.deadline = call.deadline
    return context


def _returned(name: str, signature: Signature) -> dict[str, Any] | None:
    if signature.returns is Any:
        return None
    try:
        return schema_of(name, signature.returns)
    except ConfigError:
        return None  # a type of the program's own: what it returns is said as well as it can be
