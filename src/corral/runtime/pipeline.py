"""The road every invocation takes, top to bottom. A stage that is off is not in the list: it costs nothing.

    validated → idempotent → ended → rated → admitted → worth_waiting → in_turn → in_line → run

Each stage is a function of the call and of what comes after it. What a stage must do at the end of the call it hands to
`call.at_end`: a stream ends long after the stages returned.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from corral.clock import Clock
from corral.errors import Draining, Interrupted, Overloaded, TurnLost
from corral.limits.overload import Overload
from corral.limits.priorities import Rank
from corral.runtime.invocation import Invocation, Invocations
from corral.runtime.payload import check_limits
from corral.runtime.reply import Reply
from corral.sessions.event import SessionKey
from corral.sessions.record import Transcript
from corral.sessions.session import Session
from corral.sessions.store import SessionStore
from corral.sessions.turns import Turns
from corral.settings.sections import RuntimeSettings, SessionSettings

Proceed = Callable[[Invocation], Awaitable[Reply]]


class Stage(Protocol):
    """One step on the road: does its part, and calls `proceed` for all that comes after it."""

    def __call__(self, call: Invocation, proceed: Proceed) -> Awaitable[Reply]:
        """Answer, or go on."""
        ...


def compose(stages: Sequence[Stage], innermost: Proceed) -> Proceed:
    """One handler out of the stages, the first one outermost."""
    handler = innermost
    for stage in reversed(stages):
        handler = functools.partial(stage, proceed=handler)
    return handler


# -- validated: what was sent is what the agent can take ---------------------------------------------------------------


def validated(settings: RuntimeSettings) -> Stage:
    """Check the plain limits, then convert the payload to the type that the entrypoint asks for."""

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        if call.strict:
            check_limits(call.payload, prompt_chars_max=settings.prompt_chars_max, id_chars_max=settings.id_chars_max)
        entrypoint = call.agent.entrypoint
        if entrypoint is not None and entrypoint.payload is not None:
            call.sent = call.payload
            call.payload = entrypoint.payload.convert(call.payload)
        return await proceed(call)

    return stage


# -- admitted: let in what this worker can carry -------------------------------------------------------------------------


class Door:
    """Closed while the worker drains."""

    def __init__(self) -> None:
        """Open to begin with."""
        self.draining = False


def admitted(
    invocations: Invocations, door: Door, settings: RuntimeSettings, clock: Clock, *, waiting_max: int = 0
) -> Stage:
    """Refuse while draining or full; else count the call in and set its deadline. `waiting_max` may wait in line beside."""
    most = settings.concurrency_max + waiting_max

    async def count_out(call: Invocation) -> None:
        invocations.remove(call)

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        if door.draining:
            raise Draining(retry_after_s=1)
        if len(invocations) >= most:
            raise Overloaded(retry_after_s=1)
        latest = call.started_at + settings.timeout_s
        asked = call.context.deadline
        call.context.deadline = latest if asked is None or asked > latest else asked
        invocations.add(call)

        call.at_end(count_out)
        call.now = clock.monotonic
        return await proceed(call)

    return stage


# -- in_turn: one turn at a time per session -------------------------------------------------------------------------------


def in_turn(
    turns: Turns, sessions: SessionStore, settings: SessionSettings, waited: Callable[[float], None] | None = None
) -> Stage:
    """Wait for the session's turn, give the agent its session, and record what was said when the turn ends.

    `waited` is told how many seconds each turn took to come.
    """

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        context = call.context
        if context.session_id is None:
            return await proceed(call)
        key = SessionKey(context.tenant, context.session_id)
        began = call.now()
        try:
            turn = await turns.take(key, policy=call.on_conflict or settings.on_conflict, deadline=context.deadline)
        except TurnLost:
            raise Interrupted from None  # another request took over while this one waited
        if waited is not None:
            waited(call.now() - began)
        turn.on_lost(lambda: call.cancel("interrupted"))
        session = Session(sessions, key, turn=turn, actor=context.user_id or "", ttl_s=settings.ttl_s)
        context.attach_session(session)
        if settings.record:
            call.transcript = Transcript(call.payload if call.sent is None else call.sent, actor=context.user_id or "")

        async def give_back(call: Invocation) -> None:
            spoken = call.error is None and call.transcript is not None and not session.appended
            drafts = call.transcript.drafts() if spoken and call.transcript is not None else ()
            await turn.leave(drafts, ttl_s=settings.ttl_s)

        call.at_end(give_back)
        return await proceed(call)

    return stage


# -- in_line: by urgency, as many at once as the worker can carry ------------------------------------------------------


def worth_waiting(overload: Overload) -> Stage:
    """Refuse at once what would not be served in time, before it takes its session's turn."""

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        if overload.is_full:
            overload.check(_rank_of(call, overload), call.context.tenant, call.context.deadline)
        return await proceed(call)

    return stage


def in_line(overload: Overload) -> Stage:
    """Hold one of the worker's places until the end, of a stream as well: its latency counts until the first piece.

    After the session's turn, so that who waits for a turn takes nobody's place.
    """

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        context = call.context
        rank = _rank_of(call, overload)
        place = await overload.enter(call.agent.name, rank, context.tenant, context.deadline)

        async def leave(call: Invocation) -> None:
            place.leave(call.error, first_at=call.first_at)

        call.at_end(leave)
        overload.priorities.met(context.tenant, context.session_id, context.user_id)
        context.priority = rank.of_calls
        return await proceed(call)

    return stage


def in_turns(turn: Stage, overload: Overload | None) -> list[Stage]:
    """The session's turn, and around it the line, where there is one."""
    return [turn] if overload is None else [worth_waiting(overload), turn, in_line(overload)]


def _rank_of(call: Invocation, overload: Overload) -> Rank:
    context = call.context
    return overload.priorities.rank(context.tenant, context.tier, context.session_id, context.user_id, context.priority)


def with_session(sessions: SessionStore) -> Stage:
    """Give the agent its session and nothing more: AgentCore's runtime knows no turns, and records nothing."""

    async def stage(call: Invocation, proceed: Proceed) -> Reply:
        context = call.context
        if context.session_id is not None:
            key = SessionKey(context.tenant, context.session_id)
            context.attach_session(Session(sessions, key, actor=context.user_id or ""))
        return await proceed(call)

    return stage
