"""A plan: who does what, and which of it must be done before."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A task for one of the members."""

    id: str
    """Short, and not twice in a plan: `s1`."""
    agent: str
    """Who does it."""
    task: str
    """What is to be done, in words that can be understood alone."""
    needs: list[str]
    """Ids of steps whose results it needs: it begins when they are there, and is shown them."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Steps; those that need nothing of each other are done at the same time."""

    steps: list[Step]

    def faults(self, agents: Collection[str], *, steps_max: int, done: Collection[str] = ()) -> list[str]:
        """Why it cannot be carried out, in words for who made it; none: it can.

        `done` are ids of earlier steps, whose results are there.
        """
        if not self.steps:
            return ["The plan has no steps."]
        found = [] if len(self.steps) <= steps_max else [f"It has {len(self.steps)} steps; {steps_max} are allowed."]
        ids = [step.id for step in self.steps]
        found += [f"The id {one!r} is there twice." for one in dict.fromkeys(ids) if ids.count(one) > 1]
        found += [f"The id {one!r} is one of a step that is done: take another." for one in ids if one in done]
        known = {*ids, *done}
        for step in self.steps:
            if step.agent not in agents:
                found.append(f"Step {step.id} is for {step.agent!r}; there are {', '.join(agents)}.")
            found += [f"Step {step.id} needs {need!r}, which is no step." for need in step.needs if need not in known]
        if not found and (circle := self._circle(done)):
            found.append(f"The steps {', '.join(circle)} need each other in a circle.")
        return found

    def _circle(self, done: Collection[str]) -> list[str]:
        left, ready = list(self.steps), set(done)
        while left:
            now = [step for step in left if ready.issuperset(step.needs)]
            if not now:
                return [step.id for step in left]
            ready.update(step.id for step in now)
            left = [step for step in left if step not in now]
        return []

    def ready(self, done: Collection[str], begun: Collection[str]) -> list[Step]:
        """What can begin now, in the plan's order."""
        return [step for step in self.steps if step.id not in begun and set(done).issuperset(step.needs)]

    @property
    def last(self) -> list[Step]:
        """Those that no other needs: what the plan is for."""
        needed = {need for step in self.steps for need in step.needs}
        return [step for step in self.steps if step.id not in needed]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several has found, and whose it is."""

    author: str
    text: str
    task: str = ""
    step: str = ""
    tainted: tuple[str, ...] = ()
    """Where words in it came from that nobody of ours wrote."""
    failed: bool = False
    """The text says why there is no result."""


def tainted_of(results: Sequence[Result]) -> tuple[str, ...]:
    """Of all of them."""
    return tuple(dict.fromkeys(source for one in results for source in one.tainted))


def as_shown(results: Sequence[Result], each_max: int = 8_000) -> str:
    """Results as the next agent is shown them: marked, so that it can tell them from what it is asked to do."""
    pieces = []
    for one in results:
        about = f' step="{one.step}"' if one.step else ""
        kind = "failure" if one.failed else "result"
        text = (
            one.text if len(one.text) <= each_max else f"{one.text[:each_max]}\n… ({len(one.text)} characters in all)"
        )
        text = text.replace(f"</{kind}>", f"< /{kind}>")  # what somebody found cannot end its own mark
        pieces.append(f'<{kind} from="{one.author}"{about}>\n{text}\n</{kind}>')
    return "\n\n".join(pieces)
