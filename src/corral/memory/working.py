"""Working memory of one run: a scratchpad and artefacts, each with who made it; bounded, written down, gone with the run.

Agents of a team share one. What should outlive the run belongs into a session or into memory; what must survive the death
of a worker is in the entries that `log` is given: whoever replays them has the same working memory again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, NotFound, PayloadTooLarge, ValidationFailed
from corral.memory.sizes import as_json

NAME_MAX_CHARS = 200


class WorkingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a run may keep."""

    notes: int = 200
    note_bytes: int = 16_384
    artefacts: int = 500
    artefact_bytes: int = 8_388_608
    total_bytes: int = 67_108_864
    """Of notes and artefacts together. When artefacts do not fit, those that were not read for the longest time go."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who made something, and how."""

    agent: str = ""
    tool: str = ""
    call: str = ""
    """The id of the tool's call it came from."""
    step: int = 0
    tainted: tuple[str, ...] = ()
    """Where words in it came from that nobody of ours wrote."""


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the scratchpad."""

    name: str
    value: Any
    origin: Origin = Origin()
    at: float = 0.0
    version: int = 1
    """How often this name was written."""


class Artefact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something larger that was made on the way: a document, a table, the whole of a tool's result."""

    name: str
    media_type: str = "text/plain"
    size: int = 0
    origin: Origin = Origin()
    at: float = 0.0


class Logged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was done to a working memory."""

    kind: Literal["noted", "erased", "kept", "dropped", "ended"]
    name: str = ""
    at: float = 0.0
    note: Note | None = None
    artefact: Artefact | None = None
    body: bytes = b""


class WorkingMemory:
    """The scratchpad and the artefacts of the run `run_id`. Not for threads: one loop writes it."""

    def __init__(
        self,
        run_id: str,
        *,
        limits: WorkingLimits | None = None,
        log: Callable[[Logged], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`log` is told of every change after it was checked and before it counts; what it raises undoes the change."""
        self.run_id = run_id
        self._limits = limits or WorkingLimits()
        self._log = log
        self._clock = clock
        self._notes: dict[str, Note] = {}
        self._sizes: dict[str, int] = {}
        self._artefacts: OrderedDict[str, tuple[Artefact, bytes]] = OrderedDict()
        self._dropped: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._ended = False

    @property
    def size(self) -> int:
        """How much is kept."""
        return self._bytes

    # -- the scratchpad

    def note(self, name: str, value: Any, *, origin: Origin | None = None) -> Note:
        """Write a JSON value under a name, over what was there. Raises when it is no JSON, or there is no room."""
        _check_name(name)
        try:
            raw = msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValidationFailed(f"The note {name!r} cannot be written as JSON: {error}") from None
        limits = self._limits
        if len(raw) > limits.note_bytes:
            raise PayloadTooLarge(
                f"The note {name!r} has {len(raw)} bytes; at most {limits.note_bytes} are kept. Keep it as an artefact."
            )
        old = self._notes.get(name)
        if old is None and len(self._notes) >= limits.notes:
            raise PayloadTooLarge(f"There are {limits.notes} notes already: erase one, or write over one.")
        version = 1 if old is None else old.version + 1
        note = Note(
            name=name, value=msgspec.json.decode(raw), origin=origin or Origin(), at=self._clock.now(), version=version
        )
        self._make_room(len(raw) - self._sizes.get(name, 0), f"the note {name!r}")
        self._do(Logged(kind="noted", name=name, at=note.at, note=note))
        return note

    def read(self, name: str, default: Any = None) -> Any:
        """What stands under a name."""
        note = self._notes.get(name)
        return default if note is None else note.value

    def notes(self) -> list[Note]:
        """The scratchpad, in the order in which names were first written."""
        return list(self._notes.values())

    def erase(self, name: str) -> bool:
        """Take a note away. False: there was none."""
        if name not in self._notes:
            return False
        self._do(Logged(kind="erased", name=name, at=self._clock.now()))
        return True

    # -- artefacts

    def keep(
        self, name: str, body: bytes | str, *, media_type: str = "text/plain", origin: Origin | None = None
    ) -> Artefact:
        """Keep something under a name, over what was there. Raises when it is larger than an artefact may be."""
        _check_name(name)
        raw = body.encode() if isinstance(body, str) else bytes(body)
        limits = self._limits
        if len(raw) > limits.artefact_bytes:
            raise PayloadTooLarge(
                f"The artefact {name!r} has {len(raw)} bytes; at most {limits.artefact_bytes} are kept."
            )
        now = self._clock.now()
        artefact = Artefact(name=name, media_type=media_type, size=len(raw), origin=origin or Origin(), at=now)
        old = self._artefacts.get(name)
        self._make_room(len(raw) - (len(old[1]) if old else 0), f"the artefact {name!r}", spare=name)
        while old is None and len(self._artefacts) >= limits.artefacts:
            self._drop_oldest(name)
        self._do(Logged(kind="kept", name=name, at=now, artefact=artefact, body=raw))
        return artefact

    def open(self, name: str) -> bytes:
        """All of an artefact. Raises `NotFound` that says whether it was ever there."""
        found = self._artefacts.get(name)
        if found is None:
            was = "was dropped to make room" if name in self._dropped else "was never kept in this run"
            raise NotFound(f"The artefact {name!r} {was}.")
        self._artefacts.move_to_end(name)
        return found[1]

    def text(self, name: str, first: int = 0, most: int = 10_000) -> str:
        """A piece of an artefact as text, as a model reads on where its beginning ended."""
        return self.open(name).decode(errors="replace")[max(0, first) : max(0, first) + max(0, most)]

    def artefacts(self) -> list[Artefact]:
        """What there is, the one not read for the longest time first."""
        return [artefact for artefact, _ in self._artefacts.values()]

    def where(self, call: str) -> str:
        """Where the whole result of a tool's call lies, for `ContextWindow.fit(where=…)`; empty: not here."""
        for artefact, _ in reversed(self._artefacts.values()):
            if call and artefact.origin.call == call:
                return f"artefact {artefact.name!r}"
        return ""

    # -- all of it

    def shown(self) -> str:
        """The scratchpad and the names of the artefacts as a model reads them; empty when there is nothing."""
        lines = [f"- {note.name}{_by(note.origin)}: {as_json(note.value)}" for note in self._notes.values()]
        for artefact, _ in self._artefacts.values():
            lines.append(
                f"- artefact {artefact.name!r}{_by(artefact.origin)}: {artefact.media_type}, {artefact.size} bytes"
            )
        return "\n".join(["Working memory of this run:", *lines]) if lines else ""

    @property
    def tainted(self) -> tuple[str, ...]:
        """Where words in it came from that nobody of ours wrote: a call made with them in sight carries this."""
        origins = [note.origin for note in self._notes.values()]
        origins += [artefact.origin for artefact, _ in self._artefacts.values()]
        return tuple(dict.fromkeys(source for origin in origins for source in origin.tainted))

    def replay(self, entries: Iterable[Logged]) -> None:
        """Do again what an earlier worker did, without telling `log`."""
        for entry in entries:
            self._apply(entry)

    def end(self) -> None:
        """The run is over: everything goes, and nothing can be written any more. Ending twice is ending once."""
        if not self._ended:
            self._do(Logged(kind="ended", at=self._clock.now()))

    # -- inside

    def _do(self, entry: Logged) -> None:
        if self._ended:
            raise CorralError(f"The run {self.run_id} is over, and its working memory with it.")
        if self._log is not None:
            self._log(entry)
        self._apply(entry)

    def _apply(self, entry: Logged) -> None:
        name = entry.name
        if entry.kind == "noted" and entry.note is not None:
            size = len(msgspec.json.encode(entry.note.value))
            self._bytes += size - self._sizes.get(name, 0)
            self._notes[name], self._sizes[name] = entry.note, size
        elif entry.kind == "erased":
            self._notes.pop(name, None)
            self._bytes -= self._sizes.pop(name, 0)
        elif entry.kind == "kept" and entry.artefact is not None:
            self._take_away(name)
            self._artefacts[name] = (entry.artefact, entry.body)
            self._bytes += len(entry.body)
            self._dropped.pop(name, None)
        elif entry.kind == "dropped":
            self._take_away(name)
            self._dropped[name] = None
            if len(self._dropped) > self._limits.artefacts:
                self._dropped.popitem(last=False)
        else:
            self._ended = True
            self._notes, self._sizes, self._bytes = {}, {}, 0
            self._artefacts, self._dropped = OrderedDict(), OrderedDict()

    def _take_away(self, name: str) -> None:
        old = self._artefacts.pop(name, None)
        self._bytes -= len(old[1]) if old else 0

    def _make_room(self, more: int, what: str, *, spare: str = "") -> None:
        total = self._limits.total_bytes
        droppable = sum(len(body) for artefact, body in self._artefacts.values() if artefact.name != spare)
        if self._bytes + more - droppable > total:
            raise PayloadTooLarge(f"There is no room for {what}: a run keeps at most {total} bytes.")
        while self._bytes + more > total:
            self._drop_oldest(spare)

    def _drop_oldest(self, spare: str) -> None:
        oldest = next(name for name in self._artefacts if name != spare)
        self._do(Logged(kind="dropped", name=oldest, at=self._clock.now()))


def _by(origin: Origin) -> str:
    said = [word for word in (origin.agent, origin.tool, origin.call) if word]
    return f" (from {', '.join(said)})" if said else ""


def _check_name(name: str) -> None:
    if not name or len(name) > NAME_MAX_CHARS or not name.isprintable():
        raise ValidationFailed(f"A name has 1 to {NAME_MAX_CHARS} printable characters, not {name[:50]!r}.")
