"""Agents' runs and what they ask people, in SQLite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.agents.store import (
    OPEN,
    ApprovalClosed,
    ApprovalNotFound,
    Begun,
    RunBusy,
    RunLost,
    RunNotFound,
    RunOver,
    RunsRenewed,
)
from corral.backends.agent_run_rows import (
    approval_of,
    check_draft,
    entry_of,
    question_row,
    run_of,
    state_of,
    tally_row,
)
from corral.backends.cursor import check_limit, page_of, read_cursor
from corral.backends.encoding import LAST, check_id, encode, findable
from corral.backends.queries import read_queries
from corral.errors import IdempotencyKeyReused
from corral.messages import Page, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.agents.store import (
        Approval,
        ApprovalDraft,
        ApprovalQuery,
        Decision,
        Entry,
        EntryDraft,
        RunClaim,
        RunDraft,
        RunEnding,
        RunInfo,
        RunQuery,
        Tally,
    )
    from corral.backends.sqlite.engine import Engine
    from corral.backends.sqlite.reader import View
    from corral.backends.sqlite.writer import Transaction

_SQL = read_queries(Path(__file__).with_name("agent_runs.sql"))

_NOTHING = encode(Usage(), "The usage")
_END = (math.inf, LAST)


class SqliteAgentRuns:
    """One row per run, entry and approval."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, draft: RunDraft, *, token: str, lease_s: float, entries: Sequence[EntryDraft] = ()) -> Begun:
        """Begin a run."""
        check_draft(draft)
        check_id("token", token)
        return await self._engine.write(lambda transaction: _begin(transaction, draft, token, lease_s, entries))

    async def claim(self, tenant: str, run_id: str, *, token: str, lease_s: float, attempt: int = 0) -> RunInfo:
        """Take a run."""
        check_id("token", token)
        if not findable(tenant, run_id):
            raise RunNotFound

        def run(transaction: Transaction) -> RunInfo:
            return _claim(transaction, tenant, run_id, token, lease_s=lease_s, attempt=attempt)

        return await self._engine.write(run)

    async def append(
        self,
        claim: RunClaim,
        entries: Sequence[EntryDraft],
        *,
        first: int,
        tally: Tally | None = None,
        approvals: Sequence[ApprovalDraft] = (),
        ending: RunEnding | None = None,
    ) -> bool:
        """Append entries."""
        if not claim.token or not findable(claim.tenant, claim.id, claim.token):
            raise RunLost
        asked = [(one.id, one.ttl_s, question_row(one)) for one in approvals]
        counted = None if tally is None else tally_row(tally)

        def run(transaction: Transaction) -> bool:
            key = (claim.tenant, claim.id)
            known = transaction.execute(_SQL["held"], key).fetchone()
            if known is None:
                raise RunLost
            _, token, let_go, _, _, cancelled, count, _ = known
            holder = let_go if ending is not None and not token else token
            if holder == claim.token and count == first - 1 + len(entries) and (entries or not token):
                return bool(cancelled)  # written before: the first answer was lost
            if token != claim.token or count != first - 1:
                raise RunLost
            _add_entries(transaction, *key, entries, first=first)
            transaction.execute(
                _SQL["grow"],
                {"entries": count + len(entries), "now": transaction.now, "tenant": claim.tenant, "id": claim.id},
            )
            if counted is not None:
                transaction.execute(_SQL["count"], (*counted, *key))
            for approval_id, ttl_s, question in asked:
                until = None if ttl_s is None else transaction.now + ttl_s
                transaction.execute(
                    _SQL["ask"], (claim.tenant, approval_id, claim.id, transaction.now, until, question)
                )
            if ending is not None:
                _let_go(transaction, claim, ending)
                if cancelled and ending.state in OPEN:
                    transaction.execute(_SQL["cancel"], (transaction.now, *key))
                    transaction.execute(_SQL["withdraw"], (transaction.now, *key))
            return bool(cancelled)

        return await self._engine.write(run)

    async def renew(self, claims: Sequence[RunClaim], *, lease_s: float) -> RunsRenewed:
        """Extend leases."""
        if not claims:
            return RunsRenewed([], [])

        def run(transaction: Transaction) -> RunsRenewed:
            lost: list[str] = []
            cancelled: list[str] = []
            for claim in claims:
                bound = (transaction.now + lease_s, claim.tenant, claim.id, claim.token)
                known = claim.token and findable(claim.tenant, claim.id, claim.token)
                row = transaction.execute(_SQL["renew"], bound).fetchone() if known else None
                if row is None:
                    lost.append(claim.token)
                elif row[0]:
                    cancelled.append(claim.token)
            return RunsRenewed(lost, cancelled)

        return await self._engine.write(run)

    async def get(self, tenant: str, run_id: str) -> RunInfo | None:
        """One run."""
        if not findable(tenant, run_id):
            return None
        return await self._engine.read(lambda view: _get(view, tenant, run_id))

    async def find(self, tenant: str, query: RunQuery) -> Page[RunInfo]:
        """List."""
        check_limit(query.limit)
        before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
        if not findable(tenant, query.agent, query.session_id, query.user_id, query.job_id, before_id):
            return Page([])
        bound = {
            "tenant": tenant,
            "before_at": before_at,
            "before_id": before_id,
            "since": -math.inf if query.since is None else query.since,
            "until": math.inf if query.until is None else query.until,
            "states": _listed(query.states),
            "agent": query.agent,
            "session_id": query.session_id,
            "user_id": query.user_id,
            "job_id": query.job_id,
            "limit": query.limit + 1,
        }
        which = "list_of_session" if query.session_id else "list"
        if which == "list" and query.states and OPEN.issuperset(query.states):
            which = "list_open"

        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(_SQL[which], bound | {"now": view.now}).fetchall()

        runs = [run_of(row) for row in await self._engine.read(run)]
        return page_of(runs, lambda last: (last.created_at, last.id), query.limit)

    async def entries(self, tenant: str, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries above a number."""
        check_limit(limit)
        if not findable(tenant, run_id):
            return []
        bound = (tenant, run_id, after, limit)
        rows = await self._engine.read(lambda view: view.execute(_SQL["entries"], bound).fetchall())
        return [entry_of(row) for row in rows]

    async def approvals(self, tenant: str, query: ApprovalQuery) -> Page[Approval]:
        """List what people were asked."""
        check_limit(query.limit)
        before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
        if not findable(tenant, query.id, query.run_id, query.agent, before_id):
            return Page([])
        bound = {
            "tenant": tenant,
            "id": query.id,
            "run_id": query.run_id,
            "agent": query.agent,
            "states": _listed(query.states),
            "before_at": before_at,
            "before_id": before_id,
            "limit": query.limit + 1,
        }
        if query.id is not None:
            which = "approval"
        elif query.run_id is not None:
            which = "approvals_of_run"
        else:
            which = "approvals_waiting" if query.states == ("waiting",) else "approvals"

        def run(view: View) -> list[tuple[Any, ...]]:
            return view.execute(_SQL[which], bound | {"now": view.now}).fetchall()

        found = [approval_of(row) for row in await self._engine.read(run)]
        return page_of(found, lambda last: (last.asked_at, last.id), query.limit)

    async def waiting(self, *, limit: int) -> int:
        """Count what people are asked."""
        (count,) = await self._engine.read(lambda view: view.execute(_SQL["waiting"], (limit, view.now)).fetchone())
        return int(count)

    async def decide(self, tenant: str, approval_id: str, decision: Decision) -> Approval:
        """Answer."""
        if not findable(tenant, approval_id):
            raise ApprovalNotFound
        answer = encode(decision, "The answer")

        def run(transaction: Transaction) -> Approval:
            key = {"tenant": tenant, "id": approval_id, "now": transaction.now}
            row = transaction.execute(_SQL["approval"], key).fetchone()
            if row is None:
                raise ApprovalNotFound
            before = approval_of(row)
            if before.state != "waiting":
                if row[-1] == answer:
                    return before
                raise ApprovalClosed(f"This approval is {before.state} already.")
            bound = (state_of(decision), answer, transaction.now, tenant, approval_id)
            transaction.execute(_SQL["decide"], bound)
            return approval_of(transaction.execute(_SQL["approval"], key).fetchone())

        return await self._engine.write(run)

    async def cancel(self, tenant: str, run_id: str) -> RunInfo:
        """Cancel."""
        if not findable(tenant, run_id):
            raise RunNotFound

        def run(transaction: Transaction) -> RunInfo:
            info = _get(transaction, tenant, run_id)
            if info is None:
                raise RunNotFound
            if info.state not in OPEN:
                return info
            if info.state == "running":
                transaction.execute(_SQL["ask_to_stop"], (tenant, run_id))
            else:
                transaction.execute(_SQL["cancel"], (transaction.now, tenant, run_id))
                transaction.execute(_SQL["withdraw"], (transaction.now, tenant, run_id))
            return _known(transaction, tenant, run_id)

        return await self._engine.write(run)

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is old."""
        return await self._engine.write(
            lambda transaction: transaction.execute(_SQL["expire"], (before, transaction.now, limit)).rowcount
        )


def _get(view: View | Transaction, tenant: str, run_id: str) -> RunInfo | None:
    row = view.execute(_SQL["get"], (tenant, run_id, view.now)).fetchone()
    return None if row is None else run_of(row)


def _known(view: View | Transaction, tenant: str, run_id: str) -> RunInfo:
    info = _get(view, tenant, run_id)
    if info is None:
        raise RunNotFound
    return info


def _begin(
    transaction: Transaction, draft: RunDraft, token: str, lease_s: float, entries: Sequence[EntryDraft]
) -> Begun:
    known = transaction.execute(_SQL["known"], (draft.tenant, draft.id, draft.idempotency_key)).fetchone()
    if known is not None:
        known_id, fingerprint, holder, key = known
        if fingerprint != draft.fingerprint and key is not None and key == draft.idempotency_key:
            raise IdempotencyKeyReused
        return Begun(_known(transaction, draft.tenant, known_id), holder == token)
    columns = msgspec.structs.asdict(draft)
    more = {
        "token": token,
        "lease_until": transaction.now + lease_s,
        "entries": len(entries),
        "usage": _NOTHING,
        "now": transaction.now,
    }
    transaction.execute(_SQL["begin"], columns | more)
    _add_entries(transaction, draft.tenant, draft.id, entries, first=1)
    return Begun(_known(transaction, draft.tenant, draft.id), True)


def _add_entries(
    transaction: Transaction, tenant: str, run_id: str, entries: Sequence[EntryDraft], *, first: int
) -> None:
    for seq, entry in enumerate(entries, first):
        transaction.execute(_SQL["add_entry"], (tenant, run_id, seq, transaction.now, entry.kind, entry.body))


def _claim(transaction: Transaction, tenant: str, run_id: str, token: str, *, lease_s: float, attempt: int) -> RunInfo:
    held = transaction.execute(_SQL["held"], (tenant, run_id)).fetchone()
    if held is None:
        raise RunNotFound
    state, holder, _, lease_until, before, _, _, resumable = held
    if not resumable:
        raise RunOver
    if state == "running" and holder != token and lease_until > transaction.now and attempt <= before:
        raise RunBusy
    bound = {
        "tenant": tenant,
        "id": run_id,
        "token": token,
        "lease_until": transaction.now + lease_s,
        "attempt": max(attempt, before),
        "now": transaction.now,
    }
    transaction.execute(_SQL["claim"], bound)
    return _known(transaction, tenant, run_id)


def _let_go(transaction: Transaction, claim: RunClaim, ending: RunEnding) -> None:
    bound = {
        "tenant": claim.tenant,
        "id": claim.id,
        "state": ending.state,
        "outcome": ending.outcome,
        "error_code": ending.error_code,
        "is_over": ending.state not in OPEN,
        "resumable": ending.state in OPEN or ending.resumable,
        "now": transaction.now,
    }
    transaction.execute(_SQL["let_go"], bound)
    if ending.state not in OPEN:
        transaction.execute(_SQL["withdraw"], (transaction.now, claim.tenant, claim.id))


def _listed(states: Sequence[str]) -> str | None:
    return encode(list(states), "States").decode() if states else None
