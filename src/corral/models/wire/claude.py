"""What Claude's generations can be told, read off a model's name: the API refuses what an older or a newer one takes.

The same models answer at Anthropic (`claude-sonnet-4-5`) and in Bedrock (`us.anthropic.claude-sonnet-4-5-20250929-v1:0`).
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from corral.messages import ModelCall

_OLD_NAME = re.compile(r"claude-(?:v|instant-v)?(\d)(?:[-.](\d)(?!\d))?")
_NAME = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (9, 0)
_BUDGET_MIN = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576}


class Claude(msgspec.Struct, frozen=True, kw_only=True):
    """What one model can be told."""

    default_max_tokens: int
    """Sent where the call does not say: the API insists on a number. High enough for a long answer, and taken by the model."""
    samples: bool
    """Temperature and its like; newer models refuse them."""
    samples_both: bool
    """Temperature and `top_p` in one call."""
    budgets: bool
    """Thinking with a number of tokens."""
    adapts: bool
    """Thinking as much as it finds right, guided by an effort."""
    off: str = ""
    """What keeps it from thinking up front; empty: it does not, unless asked to."""
    always_thinks: bool = False
    """It cannot be kept from it; and it cannot be made to call a tool."""
    json: bool = False
    """Answers that fit a schema, and tools whose input does."""
    instructs_midway: bool = False
    """Instructions after the first message stay where they are."""


@functools.lru_cache(maxsize=512)
def claude(model: str) -> Claude:
    """What the model of that name can be told. A name that says nothing is taken for one of the newest."""
    family, version = _version(model)
    always = family in {"fable", "mythos"} or (family == "opus" and version >= (5, 5))
    off = (
        ""
        if version < (5, 0) or always
        else "between_tools"
        if family == "sonnet" and version >= (5, 5)
        else "disabled"
    )
    return Claude(
        default_max_tokens=16_000 if version >= (4, 0) else 8192 if version >= (3, 5) else 4096,
        samples=version < (4, 7),
        samples_both=version < (4, 1),
        budgets=(3, 7) <= version < (4, 7),
        adapts=version >= (4, 6),
        off=off,
        always_thinks=always,
        json=version >= (4, 5) or (family == "opus" and version >= (4, 1)),
        instructs_midway=version >= (4, 8),
    )


def _version(model: str) -> tuple[str, tuple[int, int]]:
    """The family, and the version."""
    if named := _NAME.search(model):
        return named[1], (int(named[2]), int(named[3] or 0))
    if "claude-mythos" in model or "claude-fable" in model:
        return "mythos", _NEWEST
    if old := _OLD_NAME.search(model):
        return "", (int(old[1]), int(old[2] or 0))
    return "", _NEWEST


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """How a call makes a model think."""

    config: dict[str, Any] | None = None
    """The API's `thinking`; none: nothing is said about it."""
    effort: str = ""
    """The API's `output_config.effort`."""
    max_tokens: int
    """For thinking and answering together."""

    @property
    def on(self) -> bool:
        """Whether it was asked to think: the API then refuses to be told how to sample, and to call a tool in any case."""
        return self.config is not None and self.config["type"] in {"enabled", "adaptive"}


def thinking(
    call: ModelCall, can: Claude, max_tokens: int | None, *, forced: bool, display: str = "summarized"
) -> Thinking:
    """What `call.reasoning` means to this model. `forced`: a tool has to be called, so thinking has to wait.

    `max_tokens` is what the call or the settings say about all of the answer; none: the model's own default.
    """
    wanted, whole = call.reasoning, call.max_tokens or max_tokens or can.default_max_tokens
    if not wanted:
        return Thinking(max_tokens=whole)
    if wanted in {"none", "0"}:
        config = {"type": can.off} if can.off else None
        return Thinking(config=config, effort="low" if can.always_thinks else "", max_tokens=whole)
    number = int(wanted) if wanted.isdigit() else 0
    if can.adapts and not (number and can.budgets):
        shown = {"display": display} if display else {}
        config = None if forced else {"type": "adaptive", **shown}
        return Thinking(config=config, effort=_effort(wanted, number), max_tokens=whole)
    if not can.budgets or forced:
        return Thinking(max_tokens=whole)
    return _budgeted(call, number or _BUDGETS.get(wanted, _BUDGETS["high"]), whole)


def _budgeted(call: ModelCall, budget: int, whole: int) -> Thinking:
    """Thinking counts as part of the answer: it may have half of what the call allows, and none if that is too little."""
    if call.max_tokens is not None:
        budget = min(budget, call.max_tokens // 2)
        if budget < _BUDGET_MIN:
            return Thinking(max_tokens=whole)
    elif budget >= whole:
        whole = budget + whole
    return Thinking(config={"type": "enabled", "budget_tokens": max(budget, _BUDGET_MIN)}, max_tokens=whole)


def _effort(wanted: str, number: int) -> str:
    if not number:
        return "low" if wanted == "minimal" else wanted
    return next((name for name, tokens in _BUDGETS.items() if name != "minimal" and number <= tokens), "xhigh")


def closed(schema: Any) -> Any:
    """The schema with every object closed to properties that it does not name: the API takes no others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {
        key: {name: closed(each) for name, each in value.items()}
        if key in _NAMED and isinstance(value, dict)
        else value
        if key in _VALUES
        else closed(value)
        for key, value in schema.items()
    }
    if schema.get("type") == "object" or "properties" in schema:
        copy["additionalProperties"] = False
    return copy


_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})
"""Their keys are names, not words of the schema."""
_VALUES = frozenset({"enum", "const", "default", "examples", "example"})
"""Values, which only look like schemas."""
