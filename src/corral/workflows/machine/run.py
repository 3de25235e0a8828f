"""An execution in memory while something happens to it: what was loaded, and what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from corral.context import EVERYTHING, Context, Scope
from corral.workflows.machine.order import Order

EVENTS_MAX = 25_000
"""Of an execution whose history is kept, where nobody says otherwise: the last of them says that it failed."""

ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"]
Kind = Literal["STANDARD", "EXPRESS"]


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history. `details` are the members of the event's details, named as AWS names them."""

    id: int
    previous_id: int
    at: float
    type: str
    details: dict[str, Any] = {}


class Behalf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For whom an execution runs, within its tenant: as the credential said that began it."""

    user_id: str = ""
    tier: str = ""
    roles: tuple[str, ...] = ()
    """What its tasks may do: what tools ask for, and rules name."""
    scope: Scope = EVERYTHING
    """What its tasks may use: the agents and models of the key."""

    @classmethod
    def of(cls, context: Context) -> Behalf:
        """Of who asks."""
        return cls(user_id=context.user_id or "", tier=context.tier, roles=context.roles, scope=context.scope)


NOBODY = Behalf()
"""Of whom nothing is known but the tenant."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What never changes about an execution."""

    id: str
    """Ours: sorts by time, unique over all tenants."""
    arn: str
    name: str
    tenant: str
    machine_arn: str
    """Without version and alias."""
    machine_name: str
    version_arn: str = ""
    alias_arn: str = ""
    role_arn: str = ""
    kind: Kind = "STANDARD"
    started_at: float = 0.0
    input: Any = None
    traceparent: str = ""
    behalf: Behalf = Behalf()
    parent: str = ""
    """The id of the execution whose distributed Map began this one."""
    map_run_arn: str = ""
    map_context: dict[str, Any] = {}
    """`Map` of the context object, for a child of a distributed Map."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution ended."""

    status: ExecutionStatus
    output: Any = None
    """Where it succeeded."""
    error: str | None = None
    cause: str | None = None


class Frame(msgspec.Struct, kw_only=True):
    """A body of states that runs: the execution's own, one branch of a Parallel, or one item of a Map. What is durable of it.

    A frame stands in exactly one state. `place` is what that state keeps of itself while it waits (`machine/` alone reads it).
    """

    id: str
    """Empty for the execution's own; others are named by their parent, the visit of its state and their index."""
    parent: str | None = None
    index: int = 0
    path: tuple[str, ...] = ()
    """Where the body stands in the definition: `("States", "Each", "ItemProcessor")`."""
    state: str = ""
    input: Any = None
    """The raw input of the state it stands in."""
    variables: dict[str, Any] = {}
    """Its own, without those of outer frames."""
    place: dict[str, Any] = {}
    wake_at: float | None = None
    """When something is to happen to it by itself: a wait that ends, a task that is late, a retry; none: only a message moves it."""
    done: bool = False
    """It has ended and keeps its `result` until its siblings have: engines need not load it before."""
    result: Any = None


DONE_MAX = 200
"""Children of one frame that are kept at hand, done ones among them."""


class NotLoaded(Exception):
    """The machine needs the finished children of this frame: load them, and tell it the same again."""

    def __init__(self, parent: str) -> None:
        """Of which frame."""
        self.parent = parent
        super().__init__(parent)


class Frames:
    """The frames of an execution that are loaded, and which of them have changed."""

    def __init__(self, loaded: Iterable[Frame] = (), *, complete: Iterable[str] = ()) -> None:
        """`loaded`: every frame that is not done. `complete`: parents whose done children are loaded as well."""
        self._frames = {frame.id: frame for frame in loaded}
        self._complete = set(complete)
        self._below: dict[str, dict[str, None]] = {}
        for frame in self._frames.values():
            self._place_below(frame)
        self.changed: dict[str, None] = {}
        self.removed: dict[str, None] = {}

    def __getitem__(self, frame_id: str) -> Frame:
        """A frame that is loaded."""
        return self._frames[frame_id]

    def get(self, frame_id: str) -> Frame | None:
        """A frame that is loaded; none: there is none, or it is not loaded."""
        return self._frames.get(frame_id)

    def __contains__(self, frame_id: str) -> bool:
        """Whether there is such a frame, and it is loaded."""
        return frame_id in self._frames

    def __iter__(self) -> Iterator[Frame]:
        """All that are loaded, in no order that matters."""
        return iter(list(self._frames.values()))

    def add(self, frame: Frame) -> None:
        """A frame begins."""
        self._frames[frame.id] = frame
        self._place_below(frame)
        self.removed.pop(frame.id, None)
        self.changed[frame.id] = None

    def touch(self, frame: Frame) -> None:
        """It has changed."""
        self.changed[frame.id] = None

    def born_here(self, parent: str) -> None:
        """All children of this frame begin now: none is anywhere else."""
        self._complete.add(parent)

    def children(self, parent: str) -> list[Frame]:
        """All children of a frame, done ones as well, by index. Raises `NotLoaded`."""
        if parent not in self._complete:
            raise NotLoaded(parent)
        return sorted(self.loaded_children(parent), key=lambda frame: frame.index)

    def loaded_children(self, parent: str) -> list[Frame]:
        """The children of a frame that are loaded: at least those that are not done."""
        return [self._frames[child] for child in self._below.get(parent, ())]

    def forget_done(self, parents: Iterable[str | None]) -> list[str]:
        """Keep no done children of these frames at hand where they have become many: they are loaded when they are needed."""
        gone: list[str] = []
        for parent in parents:
            below = self._below.get(parent or "")
            if parent is None or below is None or len(below) <= DONE_MAX:
                continue
            done = [child for child in below if self._frames[child].done]
            self._complete.discard(parent)
            for child in done:
                del below[child], self._frames[child]
            gone += done
        return gone

    def remove(self, frame_id: str) -> None:
        """A frame is over and nobody needs it; a store removes all below it with it, loaded or not."""
        gone = [frame_id]
        while gone:
            one = gone.pop()
            gone += self._below.pop(one, ())
            frame = self._frames.pop(one, None)
            if frame is not None:
                self.changed.pop(one, None)
                if frame.parent is not None and frame.parent in self._below:
                    self._below[frame.parent].pop(one, None)
            self.removed[one] = None

    def _place_below(self, frame: Frame) -> None:
        if frame.parent is not None:
            self._below.setdefault(frame.parent, {})[frame.id] = None


class Run:
    """One execution while something happens to it. What it holds afterwards is what a store writes, in one transaction."""

    def __init__(
        self,
        facts: Facts,
        frames: Frames,
        *,
        next_event: int = 1,
        redrives: int = 0,
        new_secret: Callable[[], str],
        chance: Callable[[], float],
    ) -> None:
        """`new_secret` makes what nobody can guess in a task's token; `chance` is for retries with jitter, 0 to 1."""
        self.facts = facts
        self.frames = frames
        self.next_event = next_event
        self.redrives = redrives
        self.new_secret = new_secret
        self.chance = chance
        self.history: list[HistoryEvent] = []
        """New events, to be appended."""
        self.orders: list[Order] = []
        """What is to be done outside, once all this is written."""
        self.ended: Ended | None = None
        self.unfinished = False
        """It could go on at once, and stopped because it has done enough for one transaction: tell it `Woken` again."""
        self.context: dict[str, Any] | None = None
        """The context object that expressions see instead of the execution's own: for trying a state."""
        self.events_max = EVENTS_MAX
        """Events that the history may have."""
        self.is_tired: Callable[[], bool] = lambda: False
        """Whether this has taken long enough for one transaction; asked before every move but the first."""
        self.trace: dict[str, Any] | None = None
        """Where the machine notes how data went through a state, for who tries one; none: nowhere."""
