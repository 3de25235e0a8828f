"""Which tools a question calls for, and what they are asked."""

from __future__ import annotations

import random
from typing import Any

from corral.messages import ModelCall, ToolSpec
from corral.models.sim import reading
from corral.models.sim.fitting import Fitting

_TOGETHER_MAX = 2
"""Tools that are asked for at once."""
_NAME_WEIGHT = 3
_ENOUGH = 3


def told(call: ModelCall) -> str:
    """The last thing that a person said."""
    for message in reversed(call.messages):
        if message.role == "user" and (text := message.text):
            return text
    return "\n".join(message.text for message in call.messages[-1:])


def results_of(call: ModelCall) -> list[str]:
    """What tools found, if the conversation ends with that."""
    found: list[str] = []
    for message in reversed(call.messages):
        results = [part for part in message.content if part.get("type") == "tool_result"]
        if not results:
            break
        found[:0] = [_text_of(part.get("content", ())) for part in results]
    return found


def _text_of(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def asked_tools(call: ModelCall, text: str, chance: random.Random) -> list[dict[str, Any]]:
    """The tools to ask for: those that the call insists on, else those whose names or descriptions say what was asked."""
    if not call.tools or call.tool_choice == "none":
        return []
    if call.tool_choice.startswith("tool:"):
        chosen = [tool for tool in call.tools if tool.name == call.tool_choice[5:]]
    else:
        scores = {tool.name: score_of(tool, text) for tool in call.tools}
        chosen = sorted(call.tools, key=lambda tool: -scores[tool.name])
        if call.tool_choice == "required":
            # Who insists after a tool has answered wants another one: most often the answer's own.
            called = _called(call)
            chosen = [tool for tool in chosen if tool.name not in called] or chosen
            chosen = [tool for tool in chosen if scores[tool.name] >= _ENOUGH] or chosen[:1]
        else:
            chosen = [tool for tool in chosen if scores[tool.name] >= _ENOUGH]
        chosen = chosen[: 1 if call.parallel_tools is False else _TOGETHER_MAX]
        if len(chosen) > 1 and scores[chosen[1].name] * 2 <= scores[chosen[0].name]:
            chosen = chosen[:1]
    return [
        {
            "type": "tool_use",
            "id": f"call_{chance.getrandbits(96):024x}",
            "name": tool.name,
            "input": _input(tool, text, chance),
        }
        for tool in chosen
    ]


def _called(call: ModelCall) -> set[str]:
    """The tools that were asked for since a person said something last."""
    names: set[str] = set()
    for message in reversed(call.messages):
        if message.role == "user" and message.text:
            break
        names |= {str(part.get("name")) for part in message.content if part.get("type") == "tool_use"}
    return names


def score_of(tool: ToolSpec, text: str) -> int:
    """How much a question has to do with a tool: words of its name count more than those of its description."""
    said = {reading.stem(word) for word in reading.key_words(text)}
    named = {reading.stem(word) for word in tool.name.replace("_", " ").replace("-", " ").lower().split()} - _COMMON
    described = {reading.stem(word) for word in reading.key_words(tool.description)} - _COMMON
    score = _NAME_WEIGHT * len(said & named) + len(said & (described - named))
    spelled = tool.name.lower() in text.lower()
    return score + (_ENOUGH if spelled else 0)


_COMMON = {
    "get",
    "set",
    "use",
    "tool",
    "call",
    "return",
    "given",
    "list",
    "find",
    "fetch",
    "look",
    "lookup",
    "user",
    "current",
    "new",
}


def _input(tool: ToolSpec, text: str, chance: random.Random) -> dict[str, Any]:
    if not tool.parameters:
        return {}
    value = Fitting(tool.parameters, text, chance, lambda: text, sparse=True).value()
    return value if isinstance(value, dict) else {}
