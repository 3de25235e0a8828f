"""How much is learnt from conversations, with which model, and when."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from corral.settings.section import Count, Seconds, Section


class LearningSettings(Section, frozen=True):
    """What is learnt from conversations by the strategies of memories, in jobs."""

    enabled: bool = True
    """Learn at all. Memories whose strategies are self-managed call their agents whatever this says."""
    model: str = ""
    """The model that is asked: a name, or `provider/model`. Empty: `models.default`, once a provider is set up."""
    idle_s: Seconds = 20.0
    """A conversation that rested so long is learnt from."""
    turns: Count = 12
    """One that goes on is learnt from after so many turns."""
    turns_max: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Turns that a model is shown at once; more are taken in several passes."""
    calls_per_day: Count = 1_000
    """Calls of a model per tenant and day (UTC). What comes after them is learnt the next day."""
    tokens_per_day: Count = 2_000_000
    """Tokens per tenant and day, read and written."""
    queue: str = "memory"
    """The queue of its jobs."""
