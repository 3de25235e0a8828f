"""Executions as a store keeps them: JSON in bytes, and large values apart, each once however often it is handed on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from corral.jobs.store import BlobStore
from corral.workflows.execution import AnswerForm, ExecutionInfo, StartRequest, Work
from corral.workflows.known import KnownValues
from corral.workflows.machine.order import StartMapRun, StartTask
from corral.workflows.machine.run import Behalf, Ended, Facts, Frame, HistoryEvent, Kind
from corral.workflows.store import EventsRow, ExecutionRow, FrameRow, TaskRow

INLINE_MAX = 16_384
"""Bytes of JSON that a row keeps by itself; what is in larger ones is looked through for values to be kept apart."""
VALUE_MAX = 2_048
"""Bytes of JSON of a single value that stays in such a row, or in one that is written again and again."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode

Refs = dict[str, str]
"""Which member of something is kept apart, and under which name."""


_FORGOTTEN_BYTES = 1_000_000
"""What a value that is known no more is taken to have."""


class KeptFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What never changes about an execution and nobody looks for."""

    machine_name: str
    digest: str
    kind: Kind = "STANDARD"
    role_arn: str = ""
    traceparent: str = ""
    behalf: Behalf = Behalf()
    parent: str = ""
    map_context: dict[str, Any] = {}
    answers: str = ""
    answer_form: AnswerForm = "sync:2"
    fingerprint: str = ""
    """Of the input."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an execution ended."""

    output: Any = None
    error: str | None = None
    cause: str | None = None


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True):
    """News for whoever began an execution."""

    token: str
    form: AnswerForm


class EscalationBody(msgspec.Struct, frozen=True, kw_only=True):
    """News for whom a question was put to."""

    question: str
    step: int
    assignee: str


class ApartEvents(msgspec.Struct, frozen=True):
    """Events without their large values."""

    refs: Refs
    events: list[HistoryEvent]


_facts = msgspec.json.Decoder(KeptFacts)
_frame = msgspec.json.Decoder(Frame)
_apart_frame = msgspec.json.Decoder(tuple[Frame, Refs])
_events = msgspec.json.Decoder(list[HistoryEvent])
_apart_events = msgspec.json.Decoder(ApartEvents)
_order = msgspec.json.Decoder(StartTask | StartMapRun)
_answer = msgspec.json.Decoder(AnswerBody)
_escalation = msgspec.json.Decoder(EscalationBody)
_apart_order = msgspec.json.Decoder(tuple[StartTask | StartMapRun, Refs])
_apart = msgspec.json.Decoder(tuple[Any, Refs])
_refs = msgspec.json.Decoder(tuple[msgspec.Raw, Refs])


def folder_of(execution_id: str) -> str:
    """How the names of an execution's large values begin."""
    return f"executions/{execution_id}/"


def fingerprint_of(value: Any) -> str:
    """Tells inputs apart; the order of members does not matter."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def facts_of(row: ExecutionRow, kept: KeptFacts, given: Any) -> Facts:
    """What the machine knows of an execution."""
    return Facts(
        id=row.id,
        arn=row.arn,
        name=row.name,
        tenant=row.tenant,
        machine_arn=row.machine_arn,
        machine_name=kept.machine_name,
        version_arn=row.version_arn,
        alias_arn=row.alias_arn,
        role_arn=kept.role_arn,
        kind=kept.kind,
        started_at=row.started_at,
        input=given,
        traceparent=kept.traceparent,
        behalf=kept.behalf,
        parent=kept.parent,
        map_run_arn=row.map_run_arn,
        map_context=kept.map_context,
    )


def kept_facts(row: ExecutionRow) -> KeptFacts:
    """What never changes, read."""
    return _facts.decode(row.facts)


def facts_row(request: StartRequest) -> bytes:
    """The same, of one that begins."""
    return encode(
        KeptFacts(
            machine_name=request.machine_name,
            digest=request.digest,
            kind=request.kind,
            role_arn=request.role_arn,
            traceparent=request.traceparent,
            behalf=request.behalf,
            parent=request.parent,
            map_context=request.map_context,
            answers=request.answers,
            answer_form=request.answer_form,
            fingerprint=fingerprint_of(request.input),
        )
    )


class Pocket:
    """The large values of one execution on their way to the store: put down before the row that names them."""

    def __init__(self, keeping: Keeping, tenant: str, execution_id: str) -> None:
        """Nothing in it yet."""
        self._keeping = keeping
        self._tenant = tenant
        self._folder = folder_of(execution_id)
        self._new: dict[str, bytes] = {}

    def _put(self, body: bytes, value: Any) -> str:
        name = self._folder + hashlib.sha256(body).hexdigest()[:40]
        known = self._keeping.known
        if (self._tenant, name) not in known:
            self._new[name] = body
            known.add(self._tenant, name, value, len(body))
        return name

    def _lift(self, members: dict[str, Any], refs: Refs, where: str) -> dict[str, Any]:
        """The same members without the large ones."""
        light: dict[str, Any] = {}
        names = self._keeping.known.names(self._tenant, self._folder)
        for key, value in members.items():
            name = names.get(id(value))
            if name is not None:
                refs[where + key] = name
                light[key] = None
                continue
            body = encode(value)
            if len(body) > VALUE_MAX:
                refs[where + key] = self._put(body, value)
                light[key] = None
            else:
                light[key] = value
        return light

    def value(self, value: Any) -> bytes:
        """A value by itself: as it is, or its name in a list of two."""
        body = encode(value)
        return encode((None, {"": self._put(body, value)})) if len(body) > INLINE_MAX else encode((value, {}))

    def frame(self, frame: Frame) -> FrameRow:
        """A frame. That of a Map is written with each of its items: all that is large in it lies apart from the beginning."""
        if self._has_known(frame):
            body = self._light(frame)
        else:
            body = encode(frame)
            if len(body) > (VALUE_MAX if "items" in frame.place else INLINE_MAX):
                body = self._light(frame)
        return FrameRow(id=frame.id, parent=frame.parent, done=frame.done, body=body)

    def _has_known(self, frame: Frame) -> bool:
        """Whether something in it lies apart already: then the rest need not be encoded as a whole to find out how large it is."""
        names = self._keeping.known.names(self._tenant, self._folder)
        return bool(names) and (
            id(frame.input) in names
            or id(frame.place.get("items")) in names
            or any(id(value) in names for value in frame.variables.values())
        )

    def _light(self, frame: Frame) -> bytes:
        refs: Refs = {}
        whole = self._lift({"input": frame.input, "result": frame.result}, refs, "")
        light = Frame(
            id=frame.id,
            parent=frame.parent,
            index=frame.index,
            path=frame.path,
            state=frame.state,
            input=whole["input"],
            variables=self._lift(frame.variables, refs, "variables/"),
            place=self._lift(frame.place, refs, "place/"),
            wake_at=frame.wake_at,
            done=frame.done,
            result=whole["result"],
        )
        return encode((light, refs))

    def events(self, events: Sequence[HistoryEvent]) -> EventsRow | None:
        """Events that are written together."""
        if not events:
            return None
        body = encode(events)
        if len(body) > INLINE_MAX:
            refs: Refs = {}
            light = [
                msgspec.structs.replace(event, details=self._lift(event.details, refs, f"{event.id}/"))
                for event in events
            ]
            body = encode(ApartEvents(refs, light))
        return EventsRow(first=events[0].id, last=events[-1].id, body=body)

    def order(self, order: StartTask | StartMapRun) -> bytes:
        """A task's or a map run's order."""
        body = encode(order)
        if len(body) <= INLINE_MAX:
            return body
        refs: Refs = {}
        if isinstance(order, StartTask):
            payload = self._lift({"payload": order.payload}, refs, "")["payload"]
            return encode((msgspec.structs.replace(order, payload=payload), refs))
        return encode((msgspec.structs.replace(order, spec=self._lift(order.spec, refs, "spec/")), refs))

    async def put_down(self) -> None:
        """Write what is new. A name says what is under it: written twice, it is the same."""
        if self._new:
            new, self._new = self._new, {}
            try:
                await self._keeping.write(self._tenant, new)
            except BaseException:
                self._keeping.known.forget(self._tenant, new)
                raise


class Keeping:
    """Reads what `Pocket` wrote, and remembers large values for a while."""

    def __init__(self, blobs: BlobStore) -> None:
        """`blobs` is where large values lie."""
        self._blobs = blobs
        self.known = KnownValues()

    async def write(self, tenant: str, new: dict[str, bytes]) -> None:
        """Put values where they lie."""
        await asyncio.gather(*(self._blobs.put(tenant, name, body) for name, body in new.items()))

    async def remove(self, tenant: str, execution_id: str) -> None:
        """Remove an execution's large values."""
        await self._blobs.delete(tenant, folder_of(execution_id))

    async def _value(self, tenant: str, name: str) -> Any:
        known = self.known.get(tenant, name)
        if known is not None:
            return known[0]
        body = await self._blobs.get(tenant, name)
        if body is None:
            raise LookupError(f"The store has lost {name!r} of the tenant {tenant!r}.")
        value = decode(body)
        self.known.add(tenant, name, value, len(body))
        return value

    async def _values(self, tenant: str, refs: Refs) -> dict[str, Any]:
        names = dict.fromkeys(refs.values())
        values = dict(zip(names, await asyncio.gather(*(self._value(tenant, name) for name in names)), strict=True))
        return {key: values[name] for key, name in refs.items()}

    def weight(self, tenant: str, body: bytes) -> int:
        """About how many bytes a frame or a value that was just written or read takes in memory."""
        if body[:1] != b"[" or body.endswith(b",{}]"):
            return len(body)
        found = (self.known.get(tenant, name) for name in set(_refs.decode(body)[1].values()))
        return len(body) + sum(_FORGOTTEN_BYTES if one is None else one[1] for one in found)

    # -- what is read -----------------------------------------------------------------------------------------------

    async def value(self, tenant: str, body: bytes | None) -> Any:
        """A value by itself."""
        if body is None:
            return None
        value, refs = _apart.decode(body)
        return (await self._values(tenant, refs))[""] if refs else value

    async def frame(self, tenant: str, row: FrameRow) -> Frame:
        """A frame."""
        if row.body[:1] == b"{":
            return _frame.decode(row.body)
        frame, refs = _apart_frame.decode(row.body)
        for key, value in (await self._values(tenant, refs)).items():
            part, within, name = key.partition("/")
            if within:
                getattr(frame, part)[name] = value
            else:
                setattr(frame, part, value)
        return frame

    async def events(self, tenant: str, row: EventsRow) -> list[HistoryEvent]:
        """Events that were written together."""
        if row.body[:1] == b"[":
            return _events.decode(row.body)
        apart = _apart_events.decode(row.body)
        found: dict[int, dict[str, Any]] = {}
        for key, value in (await self._values(tenant, apart.refs)).items():
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = value
        return [
            msgspec.structs.replace(event, details=event.details | found[event.id]) if event.id in found else event
            for event in apart.events
        ]

    async def order(self, tenant: str, body: bytes) -> StartTask | StartMapRun:
        """A task's or a map run's order."""
        order: StartTask | StartMapRun
        if body[:1] == b"{":
            order = _order.decode(body)
            return order
        order, refs = _apart_order.decode(body)
        for key, value in (await self._values(tenant, refs)).items():
            part, _, name = key.partition("/")
            if isinstance(order, StartTask):
                order = msgspec.structs.replace(order, payload=value)
            elif part == "spec":
                order = msgspec.structs.replace(order, spec=order.spec | {name: value})
        return order

    def escalation(self, row: TaskRow) -> EscalationBody:
        """News of a question."""
        return _escalation.decode(row.body)

    async def work(self, row: TaskRow, execution: ExecutionRow) -> Work:
        """A task, for whoever does it."""
        facts = facts_of(execution, kept_facts(execution), await self.value(row.tenant, execution.input))
        order = await self.order(row.tenant, row.body)
        return Work(
            tenant=row.tenant,
            token=row.token,
            order=order,
            facts=facts,
            created_at=row.created_at,
            submitted=row.kind == "callback",
        )

    async def info(self, row: ExecutionRow, *, is_new: bool = True) -> ExecutionInfo:
        """An execution, for people."""
        kept = kept_facts(row)
        outcome = (
            Outcome() if row.outcome is None else msgspec.convert(await self.value(row.tenant, row.outcome), Outcome)
        )
        return ExecutionInfo(
            tenant=row.tenant,
            id=row.id,
            arn=row.arn,
            name=row.name,
            machine_arn=row.machine_arn,
            machine_name=kept.machine_name,
            digest=kept.digest,
            status=row.status,
            started_at=row.started_at,
            stopped_at=row.stopped_at,
            kind=kept.kind,
            input=UNSET if row.input is None else await self.value(row.tenant, row.input),
            output=outcome.output if row.outcome is not None and row.status == "SUCCEEDED" else UNSET,
            error=outcome.error,
            cause=outcome.cause,
            version_arn=row.version_arn,
            alias_arn=row.alias_arn,
            role_arn=kept.role_arn,
            map_run_arn=row.map_run_arn,
            parent=kept.parent,
            traceparent=kept.traceparent,
            behalf=kept.behalf,
            redrives=row.redrives,
            redriven_at=row.redriven_at,
            events=row.next_event - 1,
            is_new=is_new,
        )


def outcome_of(ended: Ended) -> dict[str, Any]:
    """How an execution ended, as a value."""
    found: dict[str, Any] = msgspec.to_builtins(Outcome(output=ended.output, error=ended.error, cause=ended.cause))
    return found
