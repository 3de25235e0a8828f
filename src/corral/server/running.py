"""`/v1/running`: what runs now in all workers, and stopping it by a filter: in the credential's tenant, or in one that it may name."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, get_args

import msgspec

from corral.agents.desk import RunDesk
from corral.agents.store import RunQuery
from corral.clock import SYSTEM_CLOCK, Clock, new_id
from corral.errors import CorralError, ValidationFailed
from corral.jobs.desk import JobDesk
from corral.jobs.job import JobQuery
from corral.jobs.request import check_fields
from corral.limits.store import Spend, SpendBy
from corral.messages import Audit, AuditEntry
from corral.observability.metrics import Metrics
from corral.runtime.board import Board, Item, Wanted
from corral.security.roles import check_tenant
from corral.server.costs import AddUp
from corral.server.http import Request, parse_json
from corral.server.routes import Answer, Param, Route
from corral.workflows.engine import Engine
from corral.workflows.store import ExecutionQuery

Kind = Literal["invocation", "call", "job", "execution", "run"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_EACH_MAX = 1_000
"""Of each kind, at once: who wants more stops again."""
_WORD_MAX = 256
_COSTS_S = 604_800.0
_AGE_MAX_S = 1e9
_BY_RUN: SpendBy = "run"
_FIELDS = {
    "kind": "Only this: `invocation`, `call`, `job`, `execution` or `run`.",
    "id": "Only this one.",
    "agent": "Only of this agent; of executions, the workflow.",
    "user": "Only for this user.",
    "session": "Only in this session.",
    "model": "Only what asks this model, under the name by which it was asked: calls.",
    "tenant": "Yours; another one with the role `platform`.",
}
_WORD = {"type": "string", "minLength": 1, "maxLength": _WORD_MAX}
_AGE = {"type": "number", "minimum": 0, "maximum": _AGE_MAX_S}
_ITEM = {
    "type": "object",
    "properties": {
        "kind": {"enum": list(KINDS)},
        **{name: {"type": "string"} for name in ("id", "tenant", "agent", "user", "session", "model", "job")},
        "since": {"type": "number", "description": "When it began, in seconds since 1970."},
        "age_s": {"type": "number"},
        "cost_usd": {
            "type": ["number", "null"],
            "description": "Of its models until now, as far as it is known; of a call, what its prompt costs.",
        },
    },
    "required": ["kind", "id", "tenant", "agent", "user", "session", "model", "since", "age_s", "cost_usd"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _ITEM}, "more": {"type": "boolean"}},
    "required": ["items", "more"],
}
_SCHEMAS: dict[str, Any] = {**dict.fromkeys(_FIELDS, _WORD), "kind": {"type": "string", "enum": list(KINDS)}}
_STOP = {
    "type": "object",
    "properties": {
        **_SCHEMAS,
        "older_s": _AGE,
        "all": {"type": "boolean", "description": "Without any filter: all that runs in the tenant."},
    },
    "additionalProperties": False,
}


_PRICED = frozenset({"invocation", "job"})
"""Runs of agents and calls know themselves."""
_ON_BOARDS: tuple[Kind, ...] = ("invocation", "call")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Of what runs, which."""

    kinds: tuple[Kind, ...]
    wanted: Wanted

    @property
    def on_boards(self) -> Wanted | None:
        """What of it stands on boards; none: nothing."""
        kinds = [kind for kind in self.kinds if kind in _ON_BOARDS]
        if not kinds:
            return None
        return msgspec.structs.replace(self.wanted, kind=kinds[0] if len(kinds) == 1 else "")


class RunningRoutes:
    """Handlers of `/v1/running`."""

    def __init__(
        self,
        board: Board,
        jobs: JobDesk,
        runs: RunDesk,
        engine: Engine,
        spend: AddUp,
        metrics: Metrics,
        *,
        audit: Audit | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`spend` says what runs cost until now."""
        self._board = board
        self._jobs = jobs
        self._runs = runs
        self._engine = engine
        self._spend = spend
        self._stopped = metrics.counter("corral_running_stopped_total", "What operators stopped while it ran.", "kind")
        self._audit = audit
        self._clock = clock

    def routes(self) -> list[Route]:
        """Both."""
        return [
            Route(
                method="GET",
                path="/v1/running",
                handler=self.show,
                tag="running",
                needs="operator",
                summary="What runs now in all workers: invocations, calls of models, jobs, executions and agents' runs; the longest first",
                params=(
                    *(Param(name, description=text, schema=_SCHEMAS[name]) for name, text in _FIELDS.items()),
                    Param("older_s", description="Runs for at least so many seconds.", schema=_AGE),
                ),
                answers={200: Answer("What runs", _LIST)},
            ),
            Route(
                method="POST",
                path="/v1/running/stop",
                handler=self.stop,
                tag="running",
                needs="operator",
                summary="Stop what runs now and fits a filter, in all workers",
                body=_STOP,
                answers={200: Answer("What was found, and is being stopped", _LIST)},
            ),
        ]

    async def show(self, request: Request) -> None:
        """`GET /v1/running`."""
        given = check_fields(dict(request.query), (*_FIELDS, "older_s"))
        await request.respond_json(await self._found(self._asked(request, given)))

    async def stop(self, request: Request) -> None:
        """`POST /v1/running/stop`. What ends by itself meanwhile has ended."""
        given = dict(check_fields(await _body(request), (*_FIELDS, "older_s", "all")))
        everything = given.pop("all", False)
        if not isinstance(everything, bool):
            raise ValidationFailed("`all` is true or false.")
        if not everything and not set(given) - {"tenant"}:
            raise ValidationFailed("Say what to stop (`agent`, `user`, `session`, …), or `all: true`.")
        asked = self._asked(request, given)
        here = self._stopped_here(asked)
        found = await self._found(asked)
        if asked.on_boards is not None:
            await self._board.stop_elsewhere(asked.on_boards)
        seen = {(item["kind"], item["id"]) for item in found["items"]}
        found["items"] += [item for item in here if (item["kind"], item["id"]) not in seen]
        for item in found["items"]:
            await self._stop_one(item)
            self._stopped.value(item["kind"]).inc()
        if self._audit is not None:
            self._audit(self._noted(request, given, asked.wanted.tenant, len(found["items"])))
        await request.respond_json(found)

    async def _found(self, asked: Asked) -> dict[str, Any]:
        wanted = asked.wanted
        finders: dict[Kind, Callable[[Wanted], Awaitable[list[dict[str, Any]]]]] = {
            "job": self._found_jobs,
            "execution": self._found_executions,
            "run": self._found_runs,
        }
        found = await self._posted(asked)
        more = len(found) >= _EACH_MAX
        for kind in asked.kinds:
            items = await finders[kind](wanted) if kind in finders else []
            more = more or len(items) >= _EACH_MAX
            found += [item for item in items if _fits(item, wanted)]
        await self._price(wanted.tenant, found)
        return {"items": sorted(found, key=lambda item: -item["age_s"]), "more": more}

    # -- one kind after the other

    async def _posted(self, asked: Asked) -> list[dict[str, Any]]:
        wanted = asked.on_boards
        return [] if wanted is None else self._shown((await self._board.find(wanted))[:_EACH_MAX], wanted)

    def _stopped_here(self, asked: Asked) -> list[dict[str, Any]]:
        """Before anything else, so that it works while the store is away."""
        wanted = asked.on_boards
        return [] if wanted is None else self._shown(self._board.stop_here(wanted), wanted)

    def _shown(self, items: Sequence[Item], wanted: Wanted) -> list[dict[str, Any]]:
        now = self._clock.now()
        return [
            {
                **_item(one.kind, one.id, wanted, one.agent, one.user, one.session, now - one.age_s, now),
                "model": one.model,
                "cost_usd": one.cost_usd,
            }
            for one in items
        ]

    async def _found_jobs(self, wanted: Wanted) -> list[dict[str, Any]]:
        query = JobQuery(
            status=("running",),
            agent=wanted.agent or None,
            user_id=wanted.user or None,
            session_id=wanted.session or None,
            limit=_EACH_MAX,
        )
        now = self._clock.now()
        page = await self._jobs.find(wanted.tenant, query)
        return [
            _item("job", job.id, wanted, job.agent, job.user_id, job.session_id, job.started_at or job.created_at, now)
            for job in page.items
            if not job.cancel_requested
        ]

    async def _found_executions(self, wanted: Wanted) -> list[dict[str, Any]]:
        now = self._clock.now()
        page = await self._engine.find(wanted.tenant, ExecutionQuery(statuses=("RUNNING",), limit=_EACH_MAX))
        return [_item("execution", one.id, wanted, one.machine_name, "", "", one.started_at, now) for one in page.items]

    async def _found_runs(self, wanted: Wanted) -> list[dict[str, Any]]:
        query = RunQuery(
            states=("running",),
            agent=wanted.agent or None,
            user_id=wanted.user or None,
            session_id=wanted.session or None,
            limit=_EACH_MAX,
        )
        now = self._clock.now()
        page = await self._runs.find(wanted.tenant, query)
        return [
            {
                **_item("run", run.id, wanted, run.agent, run.user_id, run.session_id, run.created_at, now),
                "job": run.job_id,
                "cost_usd": run.tally.cost_usd,
            }
            for run in page.items
            if not run.cancel_requested
        ]

    async def _stop_one(self, item: dict[str, Any]) -> None:
        tenant, found = item["tenant"], item["id"]
        try:
            match item["kind"]:
                case "job":
                    await self._jobs.cancel(tenant, found)
                case "execution":
                    await self._engine.stop(tenant, found, error="Stopped", cause="An operator stopped what ran.")
                case "run":
                    await self._runs.cancel(tenant, found)
        except CorralError as error:
            if error.status >= 500:  # noqa: PLR2004 - the house's own fault; else it is over by now
                raise

    async def _price(self, tenant: str, found: Sequence[dict[str, Any]]) -> None:
        priced = [item for item in found if item["kind"] in _PRICED]
        if not priced:
            return
        spent: list[Spend] = await self._spend(tenant, since_s=_COSTS_S, by=_BY_RUN, limit=_EACH_MAX)
        costs = {one.key: one.cost_usd for one in spent}
        for item in priced:
            item["cost_usd"] = costs.get(item["id"])

    def _asked(self, request: Request, given: dict[str, Any]) -> Asked:
        for name in _FIELDS:
            word = given.get(name, "-")
            if not isinstance(word, str) or not 0 < len(word) <= _WORD_MAX:
                raise ValidationFailed(f"`{name}` is text of 1 to {_WORD_MAX} characters.")
        tenant = request.context.tenant
        named = given.get("tenant", tenant)
        check_tenant(tenant, request.context.roles, named)
        kind = given.get("kind")
        if kind is not None and kind not in KINDS:
            raise ValidationFailed(f"There is no kind {kind[:40]!r}; there are {', '.join(KINDS)}.")
        words = {name: given[name] for name in ("id", "agent", "user", "session", "model") if name in given}
        wanted = Wanted(tenant=named, older_s=_age(given.get("older_s", 0.0)), **words)
        return Asked(kinds=KINDS if kind is None else (kind,), wanted=wanted)

    def _noted(self, request: Request, given: dict[str, Any], tenant: str, count: int) -> AuditEntry:
        """In the audit of the tenant whose it was."""
        context = request.context
        return AuditEntry(
            id=new_id(),
            at=self._clock.now(),
            tenant=tenant,
            action="running.stop",
            subject=", ".join(f"{name}={value}" for name, value in given.items()) or "all",
            decision="done",
            actor=context.user_id or "",
            details={
                "stopped": count,
                **({} if context.tenant == tenant else {"by": f"key {context.key_id} of {context.tenant}"}),
            },
        )


def _item(
    kind: Kind,
    found: str,
    wanted: Wanted,
    agent: str,
    user: str | None,
    session: str | None,
    since: float,
    now: float,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": found,
        "tenant": wanted.tenant,
        "agent": agent,
        "user": user or "",
        "session": session or "",
        "model": "",
        "since": since,
        "age_s": max(0.0, now - since),
        "cost_usd": None,
    }


def _fits(item: dict[str, Any], wanted: Wanted) -> bool:
    """What a store could not be asked for."""
    return (
        wanted.id in ("", item["id"])
        and wanted.agent in ("", item["agent"])
        and wanted.user in ("", item["user"])
        and wanted.session in ("", item["session"])
        and wanted.model in ("", item["model"])
        and item["age_s"] >= wanted.older_s
    )


def _age(given: Any) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(given, bool) or not 0 <= seconds <= _AGE_MAX_S:
        raise ValidationFailed(f"`older_s` is a number of seconds, not {str(given)[:40]!r}.")
    return seconds


async def _body(request: Request) -> Any:
    body = await request.body()
    return parse_json(body, request.json_depth_max) if body else {}
