"""What a model is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from corral.memory.resources import Strategy
from corral.memory.store import Item

PromptKind = Literal["semantic", "summary", "preference", "episodic", "reflection"]

VERSION = "v1"
_FOLDER = Path(__file__).with_name("prompts")
_TURN_CHARS_MAX = 4_000
_KNOWN_CHARS_MAX = 1_000

_PROMPTS = {
    kind: (_FOLDER / f"{kind}.{VERSION}.md").read_text(encoding="utf-8")
    for kind in ("semantic", "summary", "preference", "episodic", "reflection")
}


class Turn(msgspec.Struct, frozen=True):
    """Something that was said."""

    event: str
    """The id of the session's event."""
    seq: int
    role: str
    text: str
    at: float
    variables: dict[str, str] = {}
    """What fills a namespace, beyond actor and session."""


class LearntItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a model took from turns."""

    op: Literal["add", "update", "remove"]
    text: str = ""
    number: int = 0
    """Which of the known ones."""
    turns: list[int] = []


class Learnt(msgspec.Struct, frozen=True):
    """Everything that a model took from turns."""

    items: list[LearntItem]


def name_of(kind: PromptKind) -> str:
    """The prompt and its version, as records say it."""
    return f"{kind}.{VERSION}"


def instructions(kind: PromptKind, strategy: Strategy) -> str:
    """The prompt of a kind, and what the memory's owner adds."""
    own = strategy.prompting
    added = [own.reflection] if kind == "reflection" else [own.extraction, own.consolidation]
    return "\n\n".join([_PROMPTS[kind].strip(), *(text.strip() for text in added if text)])


def question(known: Sequence[Item], turns: Sequence[Turn]) -> str:
    """What is known, then what was said, each with its number."""
    facts = "\n".join(f"[{number}] {item.text[:_KNOWN_CHARS_MAX]}" for number, item in enumerate(known, 1))
    said = "\n".join(f"[{number}] {turn.role}: {turn.text[:_TURN_CHARS_MAX]}" for number, turn in enumerate(turns, 1))
    return f"# Known\n{facts or '(nothing)'}\n\n# Turns\n{said}"
