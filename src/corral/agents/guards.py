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


def looks_at(guards: Sequence[Any], method: Literal["check_input", "check_output"]) -> list[Any]:
    """Those of them that have this method. Raises `TypeError` for one that has neither."""
    for guard in guards:
        if not callable(getattr(guard, "check_input", None)) and not callable(getattr(guard, "check_output", None)):
            raise TypeError(f"{guard!r} is no guard: it has neither `check_input` nor `check_output`.")
    return [guard for guard in guards if callable(getattr(guard, method, None))]


def name_of(guard: Any) -> str:
    """How it is called."""
    return str(getattr(guard, "name", "") or type(guard).__name__)
