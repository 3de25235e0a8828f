"""Guards: who looks at what an agent is asked, and at what it is about to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from corral.messages import Caller, Message


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard knows of the run it looks into."""

    agent: str
    run_id: str
    caller: Caller
    messages: Sequence[Message] = ()
    """The run so far: for the answer's guards, with the results of its tools."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard has to say. Nothing at all (`None`) is a yes."""

    action: Literal["refuse", "replace", "answer"]
    """`refuse`: the run ends with `refused`. `replace`: go on with `text` instead of what was asked or answered. `answer`: `text` is
    the answer, and no model is asked."""
    text: str = ""
    rule: str = ""
    """Which rule it was, for the trace."""


class Guard(Protocol):
    """Looks at what goes in and what comes out. Either may be left out: a guard needs only the method that it has use for.

        class NoSecrets:
            name = "no-secrets"

            async def check_output(self, output, about):
                if "sk-" in str(output):
                    return Verdict(action="replace", text="I cannot show that.")

    An agent with a guard of its output streams no text before that guard has seen all of it.
    """

    @property
    def name(self) -> str:
        """Shown in the trace and in the error."""
        ...

    async def check_input(self, messages: Sequence[Message], about: Guarded) -> Verdict | None:
        """Look at what is asked, before any model is."""
        ...

    async def check_output(self, output: Any, about: Guarded) -> Verdict | None:
        """Look at the answer (the text, or the value where the agent has a type of output), before anybody reads it."""
        ...


class Guards:
    """The guards of one agent, by what they look at."""

    __slots__ = ("of_input", "of_output")

    def __init__(self, guards: Sequence[Any] = ()) -> None:
        """Raises `TypeError` for one that looks at nothing."""
        for guard in guards:
            if not _looks(guard, "check_input") and not _looks(guard, "check_output"):
                raise TypeError(f"{guard!r} is no guard: it has neither `check_input` nor `check_output`.")
        self.of_input = [guard for guard in guards if _looks(guard, "check_input")]
        self.of_output = [guard for guard in guards if _looks(guard, "check_output")]


def _looks(guard: Any, method: str) -> bool:
    return callable(getattr(guard, method, None))


def name_of(guard: Any) -> str:
    """How it is called."""
    return str(getattr(guard, "name", "") or type(guard).__name__)
