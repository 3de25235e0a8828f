"""LangGraph's compiled graphs as agents: what people send becomes the graph's input, what its models say is streamed.

Nothing of LangGraph is imported until a graph that waits for an answer is given one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from corral.context import Context
from corral.errors import ValidationFailed

_HISTORY_MAX = 100
_INTERRUPT = "__interrupt__"
_SAID = {"user", "assistant"}
"""What a graph can read of an earlier turn: results of tools mean nothing without their calls."""


def is_graph(target: Any) -> bool:
    """Whether it streams and keeps states as a compiled graph does. The class is asked: a graph makes its schemas when they are looked at."""
    kind = type(target)
    return all(callable(getattr(kind, method, None)) for method in ("astream", "ainvoke", "get_graph", "aget_state"))


def serve_graph(graph: Any, prompt_of: Callable[[Any], str]) -> Callable[..., Any]:
    """The callable to invoke. The session is the graph's thread."""
    fields = _fields_of(graph)

    async def invoke(payload: Any, context: Context) -> AsyncIterator[Any]:
        config = {"configurable": {"thread_id": context.session_id or context.request_id}}
        if _resumes(payload, fields) and getattr(graph, "checkpointer", None):
            given = await _resumed(graph, config, payload["resume"])
        else:
            given = await _input(graph, payload, fields, prompt_of, context)
        streamed = False
        last: Any = None
        async for mode, part in graph.astream(given, config, stream_mode=["messages", "values"]):
            if mode == "values":
                last = part
                continue
            text = _text_of(part[0])
            if text and type(part[0]).__name__.startswith("AI"):
                streamed = True
                yield text
        waiting = last.get(_INTERRUPT) if isinstance(last, dict) else None
        if waiting:
            yield {"interrupts": [{"id": one.id, "value": one.value} for one in waiting]}
        elif not streamed:  # no model inside, or one that does not stream: what the graph ended with is the answer
            yield _final_of(last)

    invoke.__doc__ = inspect.getdoc(graph) if type(graph).__doc__ != graph.__doc__ else "A LangGraph graph."
    return invoke


# -- what goes in ------------------------------------------------------------------------------------------------------


def _fields_of(graph: Any) -> frozenset[str]:
    """The fields of its state; none where anything goes in (the functional API), or where that is not known."""
    if getattr(graph, "builder", None) is None:
        return frozenset()
    names: Iterable[str] = getattr(graph, "channels", ())
    return frozenset(name for name in names if not name.startswith(("__", "branch:")))


async def _input(
    graph: Any, payload: Any, fields: frozenset[str], prompt_of: Callable[[Any], str], context: Context
) -> Any:
    """The graph's own fields as they are; a prompt as one more message."""
    own = {name: value for name, value in payload.items() if name in fields} if isinstance(payload, dict) else {}
    prompted = isinstance(payload, dict) and isinstance(payload.get("prompt"), str) and "prompt" not in own
    if own and not (prompted and "messages" in fields):
        return payload
    if "messages" in fields:
        earlier = await _earlier(graph, context)
        return own | {"messages": [*earlier, {"role": "user", "content": prompt_of(payload)}]}
    if not fields:
        return payload
    message = f"This graph reads {', '.join(f'`{name}`' for name in sorted(fields))}: the payload has none of them."
    raise ValidationFailed(message, errors=[{"pointer": "", "message": message}])


async def _earlier(graph: Any, context: Context) -> list[dict[str, str]]:
    """What was said in the session, for a graph that keeps nothing itself."""
    if getattr(graph, "checkpointer", None) or not context.has_session:
        return []
    said = await context.session.messages(_HISTORY_MAX)
    return [{"role": one.role, "content": one.text} for one in said if one.role in _SAID and one.text]


def _resumes(payload: Any, fields: frozenset[str]) -> bool:
    return isinstance(payload, dict) and "resume" in payload and "resume" not in fields


async def _resumed(graph: Any, config: dict[str, Any], answer: Any) -> Any:
    """The answer that an interrupted thread waits for."""
    state = await graph.aget_state(config)
    if not any(task.interrupts for task in state.tasks):
        message = "Nothing waits for an answer in this session."
        raise ValidationFailed(message, errors=[{"pointer": "/resume", "message": message}])
    from langgraph.types import Command  # noqa: PLC0415 - the user's own framework, there when its graph is

    return Command(resume=answer)


# -- what comes out ----------------------------------------------------------------------------------------------------


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
