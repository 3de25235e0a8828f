"""Agents of known frameworks as plain callables, recognised by their shape: nothing is imported to look at them.

Each adapter takes the payload the way people send it (`prompt`, or the framework's own input) and streams text as it
comes. Whoever wants more writes an entrypoint of their own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from corral.context import Context
from corral.errors import ConfigError, ValidationFailed
from corral.runtime.graphs import is_graph, serve_graph
from corral.runtime.works import is_works, serve_works


def adapt(target: Any) -> Callable[..., Any]:
    """The callable to invoke for `target`; a plain callable is returned as it is."""
    if inspect.isroutine(target):
        return target
    known = (
        (is_graph, _of_langgraph),
        (_is_strands, _strands),
        (_is_pydantic_ai, _pydantic_ai),
        (is_works, _of_ours),
    )
    for recognises, adapter in known:
        if recognises(target):
            return adapter(target)
    if callable(target):
        return target  # type: ignore[no-any-return]  # just tested
    raise ConfigError(
        f"{type(target).__module__}.{type(target).__qualname__} is not something Corral can call: pass a function, "
        "an Agent or a Team, a compiled LangGraph graph, a Strands agent or a pydantic-ai agent, or wrap it in a function."
    )


def prompt_of(payload: Any) -> str:
    """The prompt in a payload: the payload itself when it is text, else its `prompt`, `message`, `input` or `text`."""
    if isinstance(payload, str):
        return payload
    if isinstance(payload, dict):
        for name in ("prompt", "message", "input", "text"):
            if isinstance(payload.get(name), str):
                return str(payload[name])
    message = "This agent needs a `prompt` (a text) in the payload."
    raise ValidationFailed(message, errors=[{"pointer": "/prompt", "message": message}])


def _of_ours(works: Any) -> Callable[..., Any]:
    return serve_works(works, prompt_of)


def _of_langgraph(graph: Any) -> Callable[..., Any]:
    return serve_graph(graph, prompt_of)


def _has(target: Any, *methods: str) -> bool:
    return all(callable(getattr(target, method, None)) for method in methods)


# -- Strands: an agent streams events; one agent object keeps one conversation ----------------------------------------


def _is_strands(target: Any) -> bool:
    return _has(target, "stream_async", "invoke_async") and hasattr(target, "messages")


def _strands(agent: Any) -> Callable[..., Any]:
    async def invoke(payload: Any, context: Context) -> AsyncIterator[Any]:
        prompt = prompt_of(payload)
        own = await asyncio.to_thread(_of_one_call, agent)  # looks into folders for tools
        if context.has_session:
            history = await context.session.messages(100)
            own.messages.extend({"role": m.role, "content": [{"text": m.text}]} for m in history if m.text)
        async for event in own.stream_async(prompt):
            if isinstance(event, dict) and isinstance(event.get("data"), str):
                yield event["data"]

    invoke.__doc__ = getattr(agent, "description", None) or "A Strands agent."
    return invoke


def _of_one_call(agent: Any) -> Any:
    """An agent like this one, for one call.

    A Strands agent holds one conversation in itself and refuses a second call while it answers one. Model, tools, prompt and
    hooks are the user's; messages, locks and counters belong to the call. Whoever needs more of their agent in each call
    makes it there, in an entrypoint.
    """
    own = type(agent)(
        model=agent.model,
        tools=list(agent.tool_registry.registry.values()),
        system_prompt=agent.system_prompt,
        conversation_manager=agent.conversation_manager,
        name=agent.name,
        description=agent.description,
        callback_handler=None,  # what it would print is streamed
    )
    own.hooks = agent.hooks
    return own


# -- pydantic-ai: an agent object keeps nothing; the history is passed in ----------------------------------------------


def _is_pydantic_ai(target: Any) -> bool:
    return _has(target, "run", "run_stream", "iter") and hasattr(target, "output_type")


def _pydantic_ai(agent: Any) -> Callable[..., Any]:
    async def invoke(payload: Any, context: Context) -> AsyncIterator[Any]:
        prompt = prompt_of(payload)
        history = await _pydantic_history(context)
        if agent.output_type is not str:
            yield (await agent.run(prompt, message_history=history or None)).output
            return
        # Not `run_stream`: it takes the first text for the answer, and leaves the tools that are called after it.
        async with agent.iter(prompt, message_history=history or None) as run:
            async for node in run:
                if type(agent).is_model_request_node(node):
                    async with node.stream(run.ctx) as events:
                        async for event in events:
                            if text := _text_in(event):
                                yield text

    invoke.__doc__ = getattr(agent, "name", None) or "A pydantic-ai agent."
    return invoke


def _text_in(event: Any) -> str:
    """The text that an event of a stream adds: a part begins with some, and goes on piece by piece."""
    piece = getattr(event, "part", None) if event.event_kind == "part_start" else getattr(event, "delta", None)
    match getattr(piece, "part_kind", None) or getattr(piece, "part_delta_kind", None):
        case "text":
            return str(getattr(piece, "content", "") or getattr(piece, "content_delta", "") or "")
        case _:
            return ""


async def _pydantic_history(context: Context) -> list[Any]:
    if not context.has_session:
        return []
    from pydantic_ai import messages as parts  # noqa: PLC0415 - the user's own framework, there when its agent is

    history: list[Any] = []
    for message in await context.session.messages(100):
        if message.role == "user":
            history.append(parts.ModelRequest(parts=[parts.UserPromptPart(content=message.text)]))
        elif message.role == "assistant":
            history.append(parts.ModelResponse(parts=[parts.TextPart(content=message.text)]))
    return history
