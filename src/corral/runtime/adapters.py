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
from corral.runtime.works import is_works, serve_works


def adapt(target: Any) -> Callable[..., Any]:
    """The callable to invoke for `target`; a plain callable is returned as it is."""
    if inspect.isroutine(target):
        return target
    known = (
        (_is_langgraph, _langgraph),
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
    raise ValidationFailed(
        errors=[{"pointer": "/prompt", "message": "This agent needs a `prompt` (a text) in the payload."}]
    )


def _of_ours(works: Any) -> Callable[..., Any]:
    return serve_works(works, prompt_of)


def _has(target: Any, *methods: str) -> bool:
    return all(callable(getattr(target, method, None)) for method in methods)


# -- LangGraph: a compiled graph streams messages and takes a thread id ----------------------------------------------


def _is_langgraph(target: Any) -> bool:
    return _has(target, "astream", "ainvoke", "get_graph") and hasattr(target, "input_schema")


def _langgraph(graph: Any) -> Callable[..., Any]:
    async def invoke(payload: Any, context: Context) -> AsyncIterator[Any]:
        given = payload if isinstance(payload, dict) and not isinstance(payload.get("prompt"), str) else None
        state = given if given is not None else {"messages": [{"role": "user", "content": prompt_of(payload)}]}
        config = {"configurable": {"thread_id": context.session_id or context.request_id}}
        streamed = False
        last: Any = None
        async for mode, part in graph.astream(state, config, stream_mode=["messages", "values"]):
            if mode == "values":
                last = part
                continue
            text = _text_of(part[0])
            if text and type(part[0]).__name__.startswith("AI"):
                streamed = True
                yield text
        if not streamed:  # no model inside, or one that does not stream: what the graph ended with is the answer
            yield _final_of(last)

    invoke.__doc__ = inspect.getdoc(graph) if type(graph).__doc__ != graph.__doc__ else "A LangGraph graph."
    return invoke


def _text_of(message: Any) -> str:
    content = getattr(message, "content", message)
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p if isinstance(p, str) else p.get("text", "") for p in content if isinstance(p, str | dict))
    return ""


def _final_of(state: Any) -> Any:
    messages = state.get("messages") if isinstance(state, dict) else None
    return _text_of(messages[-1]) if messages else state


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
        async with agent.run_stream(prompt, message_history=history or None) as result:
            if agent.output_type is str:
                async for text in result.stream_text(delta=True):
                    yield text
            else:
                yield await result.get_output()

    invoke.__doc__ = getattr(agent, "name", None) or "A pydantic-ai agent."
    return invoke


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
