"""One run as the store keeps it, for who works on it now: every entry is written under the claim before it is acted on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from corral.agents.journal import (
    Answered,
    AnyEntry,
    ApprovalWanted,
    Decided,
    Ended,
    ToolDone,
    add_usage,
)
from corral.agents.store import (
    AgentRuns,
    Approval,
    ApprovalDraft,
    ApprovalQuery,
    Entry,
    EntryDraft,
    RunClaim,
    RunDraft,
    RunEnding,
    RunLost,
    Tally,
)
from corral.clock import Clock
from corral.context import Context
from corral.errors import Cancelled, CorralError, WaitTimeout

Stands = Literal["new", "held", "over", "cancelled"]
When = Literal["always", "asked"]

_log = logging.getLogger("corral.agents")

_PAGE = 500
NOBODY = "Nobody answered in time."

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decoder: msgspec.json.Decoder[AnyEntry] = msgspec.json.Decoder(AnyEntry)


def draft_of(entry: AnyEntry) -> EntryDraft:
    """An entry as it is stored."""
    return EntryDraft(str(entry.__struct_config__.tag), _encode(entry))


def entry_of(entry: Entry) -> AnyEntry:
    """A stored entry as what it says."""
    return _decoder.decode(entry.body)


async def entries_of(store: AgentRuns, tenant: str, run_id: str) -> list[AnyEntry]:
    """A run's whole journal."""
    found: list[AnyEntry] = []
    while page := await store.entries(tenant, run_id, after=len(found), limit=_PAGE):
        found += [entry_of(entry) for entry in page]
        if len(page) < _PAGE:
            break
    return found


def signal_name(run_id: str) -> str:
    """The signal that wakes the job of a run that waits for people."""
    return f"approval:{run_id}"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a kept run needs of its keeping."""

    store: AgentRuns
    clock: Clock
    lease_s: float
    approval_ttl_s: float | None
    holds: Callable[[KeptRun], None]
    """Told when a run is held: its lease is renewed from then on."""
    gave_back: Callable[[KeptRun], None]
    """Told when it is not any more."""


class KeptRun:
    """The keeper of one run. Entries that come while others are being written are written together after them."""

    def __init__(
        self,
        held: Held,
        draft: RunDraft,
        token: str,
        *,
        context: Context | None,
        entries: Iterable[AnyEntry] = (),
        stands: Stands,
        when: When = "always",
        cancelled: bool = False,
    ) -> None:
        """`stands`: `new` is not in the store yet; `held` is, under `token`; what is `over` can be read, and nothing more.

        `when`: a new one is stored at once, or only once it waits for people.
        """
        self.run_id = draft.id
        self.entries: list[AnyEntry] = list(entries)
        self.claim = RunClaim(draft.tenant, draft.id, token)
        self.cancelled = cancelled or stands == "cancelled"
        """Somebody wants it cancelled, or did."""
        self.on_cancel: Callable[[], None] | None = None
        """Called, on the loop that works on it, when somebody wants it cancelled: to stop before its next entry."""
        self.loop = asyncio.get_running_loop()
        self._held = held
        self._draft = draft
        self._context = context
        self._stands: Stands = stands
        self._when: When = when
        self._written = len(self.entries) if stands != "new" else 0
        self._queue: list[AnyEntry] = []
        self._writing = asyncio.Lock()
        self._tally = Tally()
        self._waits: dict[str, None] = {}
        if stands == "new":
            self._queue += self.entries
        if not self._lies_low:
            self._count_all(self.entries)

    def hold(self) -> None:
        """Somebody works on it from now on: its lease is renewed until it is let go. Until then it only lasts."""
        if self._stands == "held":
            self._held.holds(self)

    # -- for the loop

    @property
    def lasts(self) -> bool:
        """A run that is stored only once it waits for people cannot be gone on with before that."""
        return self._stands != "new" or self._when == "always"

    async def append(self, entry: AnyEntry) -> None:
        """Write an entry down. Raises `Cancelled` once somebody wants that, and `RunLost` where another one works on it."""
        ends = type(entry) is Ended
        if self._stands == "over":
            raise RunLost("This run was over before, and is only looked at again.")
        if self.cancelled and not ends:
            raise Cancelled("The run was cancelled.")
        self._queue.append(entry)
        if self._lies_low:
            if type(entry) is not ApprovalWanted:
                return
            self._when = "always"
            self._count_all(self._queue)
        else:
            self._count(entry)
        await self._flush()
        if self.cancelled and not ends:
            raise Cancelled("The run was cancelled.")

    async def decisions(self, wanted: Sequence[ApprovalWanted]) -> Sequence[Decided]:
        """What people have said; in a job it waits for them, and the worker is free meanwhile."""
        while True:
            if self.cancelled:
                raise Cancelled("The run was cancelled.")
            answered = await self._answered(wanted)
            if answered or self._context is None or self._context.job_id is None:
                return answered
            await self._look()
            if not self.cancelled:
                await self._wait(self._context)

    async def store(self) -> None:
        """Have the entries that a new run begins with in the store. Raises `RunLost` where it began already."""
        await self._flush()

    async def close(self) -> None:
        """Let the run go as it is now. Called again, it does nothing."""
        if self._stands != "held":
            return
        entries: list[AnyEntry] = []
        ending = RunEnding(state="paused" if self._waits else "interrupted")
        if self.cancelled:
            ended = Ended(
                outcome="cancelled", code=Cancelled.code, message="The run was cancelled.", at=self._held.clock.now()
            )
            entries, ending = [ended], ending_of(ended)
        try:
            async with self._writing:
                if self._stands == "held":
                    await self._write(entries, ending)
        except CorralError as error:  # its lease runs out, and then it is interrupted all the same
            _log.warning("The run %s could not be let go: %s", self.run_id, error.message)
            self._give_back()

    def want_cancelled(self) -> None:
        """Somebody wants it cancelled. From whichever thread."""
        if not self.cancelled:
            self.cancelled = True
            if self.on_cancel is not None:
                self.loop.call_soon_threadsafe(self.on_cancel)

    def lose(self) -> None:
        """Somebody else works on it: nothing is written from now on. From whichever thread."""
        self._give_back()

    # -- inside

    @property
    def _lies_low(self) -> bool:
        """Nothing of it is stored, and nothing added up, before it waits for people: most runs never do."""
        return self._when == "asked" and self._stands == "new"

    def _count_all(self, entries: Iterable[AnyEntry]) -> None:
        for entry in entries:
            self._count(entry)

    def _count(self, entry: AnyEntry) -> None:
        match entry:
            case Answered():
                reply, before = entry.reply, self._tally
                cost_usd = _sum(before.cost_usd, reply.cost_usd, unpriced=reply.usage.total > 0)
                self._tally = msgspec.structs.replace(
                    before,
                    steps=entry.step,
                    usage=add_usage(before.usage, reply.usage),
                    cost_usd=_sum(cost_usd, entry.wasted_usd, unpriced=False),
                )
                self._waits.clear()
            case ToolDone():
                before = self._tally
                self._tally = msgspec.structs.replace(
                    before,
                    tool_calls=before.tool_calls + 1,
                    cost_usd=_sum(before.cost_usd, entry.reply.cost_usd, unpriced=False),
                )
            case ApprovalWanted():
                self._waits[entry.approval] = None
            case Decided():
                self._waits.pop(entry.approval, None)

    async def _flush(self) -> None:
        async with self._writing:
            if not self._queue:
                return  # whoever wrote before took ours along
            entries, self._queue = self._queue, []
            ending = next((ending_of(entry) for entry in entries if type(entry) is Ended), None)
            await self._write(entries, ending)

    async def _write(self, entries: Sequence[AnyEntry], ending: RunEnding | None) -> None:
        held = self._held
        if self._stands == "new":
            await self._begin(entries)
            if not self._waits and ending is None:
                return
            # The first ones are there now; what they ask for, and their end, comes with an append of nothing new.
            drafts: list[EntryDraft] = []
        else:
            if self._stands != "held":
                raise RunLost
            drafts = [draft_of(entry) for entry in entries]
        try:
            cancelled = await held.store.append(
                self.claim,
                drafts,
                first=self._written + 1,
                tally=self._tally,
                approvals=[
                    self._asked(entry)
                    for entry in entries
                    if type(entry) is ApprovalWanted and entry.approval in self._waits
                ],
                ending=ending,
            )
        except RunLost:
            self._give_back()
            raise
        self._written += len(drafts)
        if ending is not None:
            self._give_back()
        elif cancelled:
            self.cancelled = True

    async def _begin(self, entries: Sequence[AnyEntry]) -> None:
        held = self._held
        drafts = [draft_of(entry) for entry in entries]
        begun = await held.store.begin(self._draft, token=self.claim.token, lease_s=held.lease_s, entries=drafts)
        if not begun.is_new:
            raise RunLost(f"The run {begun.run.id} began already.")
        self._written = len(drafts)
        self._stands = "held"
        held.holds(self)

    def _give_back(self) -> None:
        if self._stands == "held":
            self._stands = "over"
            self._held.gave_back(self)

    def _asked(self, wanted: ApprovalWanted) -> ApprovalDraft:
        return ApprovalDraft(
            id=wanted.approval,
            call_id=wanted.call,
            tool=wanted.tool,
            input=wanted.input,
            message=wanted.message,
            rule=wanted.rule,
            ttl_s=self._held.approval_ttl_s,
        )

    async def _answered(self, wanted: Sequence[ApprovalWanted]) -> list[Decided]:
        if self._stands != "held":
            return []
        found: dict[str, Approval] = {}
        query = ApprovalQuery(run_id=self.run_id, limit=_PAGE)
        while True:
            page = await self._held.store.approvals(self.claim.tenant, query)
            found |= {approval.id: approval for approval in page.items}
            if page.next_cursor is None:
                break
            query = msgspec.structs.replace(query, cursor=page.next_cursor)
        answers = [decided_of(found[one.approval]) for one in wanted if one.approval in found]
        return [answer for answer in answers if answer is not None]

    async def _look(self) -> None:
        """See whether somebody wants it cancelled: who does so after this look wakes the job as well."""
        renewed = await self._held.store.renew([self.claim], lease_s=self._held.lease_s)
        self.cancelled = self.cancelled or bool(renewed.cancelled)

    async def _wait(self, context: Context) -> None:
        """Wait for the next answer, in a task of its own: waits of other tasks may come in any order in a later attempt."""
        waiting = asyncio.ensure_future(_waited(context, signal_name(self.run_id), self._held.approval_ttl_s))
        try:
            await waiting
        except WaitTimeout:
            return  # the store knows which of them have run out
        finally:
            waiting.cancel()


async def _waited(context: Context, name: str, timeout: float | None) -> Any:
    return await context.wait_for(name, timeout=timeout)


def ending_of(ended: Ended) -> RunEnding:
    """How the store is told of a run's end."""
    return RunEnding(state=ended.outcome, outcome=_encode(ended), error_code=ended.code, resumable=ended.retryable)


def decided_of(approval: Approval) -> Decided | None:
    """What a person said, as an entry; none: nothing yet. Who does not answer in time says no."""
    if approval.state == "waiting":
        return None
    if approval.state == "approved":
        return Decided(
            approval=approval.id,
            decision="approve",
            by=approval.by,
            note=approval.note,
            input=approval.changed_input,
        )
    note = approval.note or (NOBODY if approval.state == "expired" else "")
    return Decided(approval=approval.id, decision="refuse", by=approval.by, note=note)


def _sum(one: float | None, other: float | None, *, unpriced: bool) -> float | None:
    if other is None:
        return None if unpriced else one
    return None if one is None else one + other
