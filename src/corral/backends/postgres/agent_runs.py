"""Agents' runs and what they ask people, in PostgreSQL."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from corral.agents.store import OPEN, ApprovalClosed, ApprovalNotFound, Begun, RunLost, RunNotFound, RunsRenewed
from corral.backends.agent_run_rows import (
    REFUSALS,
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
    from corral.backends.postgres.engine import Engine

_SQL = read_queries(Path(__file__).with_name("agent_runs.sql"))

_NOTHING = encode(Usage(), "The usage")
_END = (math.inf, LAST)


class PostgresAgentRuns:
    """One row per run, entry and approval; what is decided under a lock is a function that holds the run's row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, draft: RunDraft, *, token: str, lease_s: float, entries: Sequence[EntryDraft] = ()) -> Begun:
        """Begin a run."""
        check_draft(draft)
        check_id("token", token)
        run_id, is_new, reused = await self._engine.fetch_one(
            _SQL["begin"],
            draft.tenant,
            draft.id,
            draft.agent,
            draft.session_id,
            draft.user_id,
            draft.job_id,
            draft.parent_id,
            draft.attempt,
            draft.idempotency_key,
            draft.fingerprint,
            token,
            lease_s,
            _NOTHING,
            [entry.kind for entry in entries],
            [entry.body for entry in entries],
        )
        if reused:
            raise IdempotencyKeyReused
        return Begun(await self._known(draft.tenant, run_id), is_new)

    async def claim(self, tenant: str, run_id: str, *, token: str, lease_s: float, attempt: int = 0) -> RunInfo:
        """Take a run."""
        check_id("token", token)
        if not findable(tenant, run_id):
            raise RunNotFound
        (refused,) = await self._engine.fetch_one(_SQL["claim"], tenant, run_id, token, lease_s, attempt)
        if refused:
            raise REFUSALS[refused]
        return await self._known(tenant, run_id)

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
        refused, cancelled = await self._engine.fetch_one(
            _SQL["append"],
            claim.tenant,
            claim.id,
            claim.token,
            first,
            [entry.kind for entry in entries],
            [entry.body for entry in entries],
            *((None, None, None, None) if tally is None else tally_row(tally)),
            [one.id for one in approvals],
            [question_row(one) for one in approvals],
            [one.ttl_s for one in approvals],
            None if ending is None else ending.state,
            ending is not None and ending.state not in OPEN,
            ending is None or ending.state in OPEN or ending.resumable,
            None if ending is None else ending.outcome,
            None if ending is None else ending.error_code,
            about=claim.id,
        )
        if refused:
            raise REFUSALS[refused]
        return bool(cancelled)

    async def renew(self, claims: Sequence[RunClaim], *, lease_s: float) -> RunsRenewed:
        """Extend leases."""
        real = [claim for claim in claims if claim.token and findable(claim.tenant, claim.id, claim.token)]
        renewed: dict[str, bool] = {}
        if real:
            columns = zip(*((claim.tenant, claim.id, claim.token) for claim in real), strict=True)
            rows = await self._engine.fetch(_SQL["renew"], *(list(column) for column in columns), lease_s)
            renewed = {str(token): bool(cancelled) for token, cancelled in rows}
        return RunsRenewed(
            [claim.token for claim in claims if claim.token not in renewed],
            [token for token, cancelled in renewed.items() if cancelled],
        )

    async def get(self, tenant: str, run_id: str) -> RunInfo | None:
        """One run."""
        if not findable(tenant, run_id):
            return None
        row = await self._engine.fetch_one(_SQL["get"], tenant, run_id)
        return None if row is None else run_of(row)

    async def _known(self, tenant: str, run_id: str) -> RunInfo:
        info = await self.get(tenant, run_id)
        if info is None:
            raise RunNotFound
        return info

    async def find(self, tenant: str, query: RunQuery) -> Page[RunInfo]:
        """List."""
        check_limit(query.limit)
        before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
        if not findable(tenant, query.agent, query.session_id, query.user_id, query.job_id, before_id):
            return Page([])
        which = "list_of_session" if query.session_id else "list"
        if which == "list" and query.states and OPEN.issuperset(query.states):
            which = "list_open"
        rows = await self._engine.fetch(
            _SQL[which],
            tenant,
            before_at,
            before_id,
            -math.inf if query.since is None else query.since,
            math.inf if query.until is None else query.until,
            list(query.states) or None,
            query.agent,
            query.session_id,
            query.user_id,
            query.job_id,
            query.limit + 1,
        )
        return page_of([run_of(row) for row in rows], lambda last: (last.created_at, last.id), query.limit)

    async def entries(self, tenant: str, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries above a number."""
        check_limit(limit)
        if not findable(tenant, run_id):
            return []
        return [entry_of(row) for row in await self._engine.fetch(_SQL["entries"], tenant, run_id, after, limit)]

    async def approvals(self, tenant: str, query: ApprovalQuery) -> Page[Approval]:
        """List what people were asked."""
        check_limit(query.limit)
        before_at, before_id = read_cursor(query.cursor, tuple[float, str]) or _END
        if not findable(tenant, query.id, query.run_id, query.agent, before_id):
            return Page([])
        if query.id is not None:
            row = await self._engine.fetch_one(_SQL["approval"], tenant, query.id)
            return Page([] if row is None else [approval_of(row)])
        args: list[object] = [tenant, before_at, before_id, list(query.states) or None, query.agent, query.limit + 1]
        if query.run_id is not None:
            rows = await self._engine.fetch(_SQL["approvals_of_run"], *args, query.run_id)
        elif query.states == ("waiting",):
            rows = await self._engine.fetch(_SQL["approvals_waiting"], *args)
        else:
            rows = await self._engine.fetch(_SQL["approvals"], *args)
        return page_of([approval_of(row) for row in rows], lambda last: (last.asked_at, last.id), query.limit)

    async def waiting(self, *, limit: int) -> int:
        """Count what people are asked."""
        (count,) = await self._engine.fetch_one(_SQL["waiting"], limit)
        return int(count)

    async def decide(self, tenant: str, approval_id: str, decision: Decision) -> Approval:
        """Answer."""
        if not findable(tenant, approval_id):
            raise ApprovalNotFound
        answer = encode(decision, "The answer")
        refused, was = await self._engine.fetch_one(_SQL["decide"], tenant, approval_id, state_of(decision), answer)
        if refused == "closed":
            raise ApprovalClosed(f"This approval is {was} already.")
        if refused:
            raise REFUSALS[refused]
        row = await self._engine.fetch_one(_SQL["approval"], tenant, approval_id)
        if row is None:  # its run was removed in this very moment
            raise ApprovalNotFound
        return approval_of(row)

    async def cancel(self, tenant: str, run_id: str) -> RunInfo:
        """Cancel."""
        if not findable(tenant, run_id):
            raise RunNotFound
        (refused,) = await self._engine.fetch_one(_SQL["cancel"], tenant, run_id)
        if refused:
            raise REFUSALS[refused]
        return await self._known(tenant, run_id)

    async def expire(self, *, before: float, limit: int = 1000) -> int:
        """Remove what is old."""
        (gone,) = await self._engine.fetch_one(_SQL["expire"], before, limit)
        return int(gone)
