"""The layer that keeps a call with side effects from being made twice: one effect for an idempotency key.

A tool that may be repeated is, when the worker that called it died. One that may not is not: nobody knows whether it had its
effect, and that is what the reply says.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.context import find_context
from corral.errors import CorralError, IdempotencyKeyReused, StoreUnavailable, ValidationFailed
from corral.messages import ToolFault, ToolReply
from corral.settings.tool_sections import ToolSettings
from corral.tools.failing import failed, failed_with
from corral.tools.signature import plain
from corral.tools.stack import RunTool, Use
from corral.tools.store import Begun, Claim, Ended, Running, ToolEffects, Unknown

_log = logging.getLogger("corral.tools")
_encoder = msgspec.json.Encoder(enc_hook=plain)
_sorted = msgspec.json.Encoder(order="deterministic", enc_hook=plain)
_decoder = msgspec.json.Decoder(ToolReply)
_KEY_MAX = 200
_LOOK_S = 0.02
_LOOK_MAX_S = 0.5
_RENEWALS = 3.0
"""How often a claim is renewed within its lease."""


class Idempotent:
    """Remembers what came of each key. Tools that only read have nothing to be remembered."""

    def __init__(self, effects: ToolEffects, settings: ToolSettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """`effects` may be asked from any loop."""
        self._effects = effects
        self._settings = settings
        self._monotonic = clock.monotonic
        self._settling: set[asyncio.Task[None]] = set()

    def __call__(self, use: Use, proceed: RunTool) -> Awaitable[ToolReply]:
        """Give what came of it the first time, or go on."""
        key = "" if use.tool.marks.read_only else key_of(use)
        return self._once(use, proceed, key) if key else proceed(use)

    async def _once(self, use: Use, proceed: RunTool, key: str) -> ToolReply:
        try:
            claim = await self._claimed(use, key)
        except (IdempotencyKeyReused, ValidationFailed) as error:
            return failed(use.call, error.code, error.message)
        except StoreUnavailable as error:
            if use.tool.marks.repeatable:  # what cannot be remembered can be repeated
                return await proceed(use)
            said = f"{use.tool.name} was not called, because it could not be written down that it is: {error.message}"
            return failed(use.call, "unavailable", said, retryable=True)
        if isinstance(claim, Begun):
            return await self._first(use, proceed, key, claim.token)
        return _known(use, claim)

    async def _claimed(self, use: Use, key: str) -> Claim:
        """The key, or what came of it. Where another worker calls the tool now, this waits for it.

        It looks again and again, and no other way: hardly ever do two ask, and then one of the two is a worker that died.
        """
        settings, call = self._settings, use.call
        fingerprint = fingerprint_of(use)
        until = self._monotonic() + (use.tool.marks.timeout_s or settings.timeout_s) + settings.effect_lease_s
        if call.deadline is not None:
            until = min(until, call.deadline)
        pause_s = _LOOK_S
        while True:
            claim = await self._effects.begin(
                call.caller.tenant,
                key,
                fingerprint,
                tool=use.tool.name,
                lease_s=settings.effect_lease_s,
                ttl_s=settings.effects_ttl_s,
                take_over=use.tool.marks.repeatable,
            )
            left_s = until - self._monotonic()
            if not isinstance(claim, Running) or left_s <= 0:
                return claim
            await asyncio.sleep(min(pause_s, left_s, claim.left_s + _LOOK_S))
            pause_s = min(pause_s * 2, _LOOK_MAX_S)

    async def _first(self, use: Use, proceed: RunTool, key: str, token: str) -> ToolReply:
        place = (use.call.caller.tenant, key, token)
        lease = _Lease(self._effects, place, self._settings.effect_lease_s)
        effects, repeatable = self._effects, use.tool.marks.repeatable
        try:
            reply = await proceed(use)
        except BaseException:
            # Stopped in the middle. It is written down all the same, whether or not anybody waits for that.
            await self._settle(effects.give_up(*place) if repeatable else effects.lose(*place))
            raise
        finally:
            lease.end()
        fault = reply.fault
        if fault is not None and (reply.attempts == 0 or repeatable):
            await self._settle(effects.give_up(*place))  # nothing has happened, or it may happen again
        elif fault is not None and fault.code == "timeout":
            await self._settle(effects.lose(*place))
            message = f"{fault.message} It is not known whether it did its work all the same."
            fault = ToolFault(code=fault.code, message=message)
            return failed_with(use.call, fault, attempts=reply.attempts, cost_usd=reply.cost_usd)
        else:
            await self._settle(_finished(effects, place, reply))
        return reply

    async def drain(self) -> None:
        """Until what came of calls that were stopped is written down. For the loop that asks; others wait for their own."""
        loop = asyncio.get_running_loop()
        while ours := [task for task in self._settling if task.get_loop() is loop]:
            await asyncio.wait(ours)

    async def _settle(self, write: Awaitable[object]) -> None:
        """Write it down, also if who waits for the reply leaves meanwhile."""
        task = asyncio.ensure_future(_quietly(write))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)


class _Lease:
    """Keeps a claim alive for as long as the tool works. A short call costs one timer."""

    __slots__ = ("_effects", "_lease_s", "_loop", "_place", "_task", "_timer")

    def __init__(self, effects: ToolEffects, place: tuple[str, str, str], lease_s: float) -> None:
        self._effects = effects
        self._place = place
        self._lease_s = lease_s
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(lease_s / _RENEWALS, self._renew)

    def _renew(self) -> None:
        self._task = self._loop.create_task(_quietly(self._effects.renew(*self._place, lease_s=self._lease_s)))
        self._timer = self._loop.call_later(self._lease_s / _RENEWALS, self._renew)

    def end(self) -> None:
        """The tool is done."""
        self._timer.cancel()


async def _finished(effects: ToolEffects, place: tuple[str, str, str], reply: ToolReply) -> None:
    if not await effects.finish(*place, _encoder.encode(reply)):
        _log.warning("Another worker took the call of %s over: its reply is the one that is remembered.", reply.name)


async def _quietly(write: Awaitable[object]) -> None:
    try:
        await write
    except CorralError as error:
        # Its lease will run out: then it counts as a call of a worker that died, which is what is known of it.
        _log.warning("What came of a tool's call could not be written down: %s", error)


def key_of(use: Use) -> str:
    """The idempotency key: the call's own, or in a job made from job and place. Empty: nobody will make this call again."""
    call = use.call
    key = call.idempotency_key
    if not key and call.id and (context := find_context()) is not None and context.job_id is not None:
        digest = hashlib.blake2b(_sorted.encode(use.arguments), digest_size=9).hexdigest()
        key = f"{context.job_id}/{call.name}/{call.id}/{digest}"
    if len(key) > _KEY_MAX:
        key = hashlib.blake2b(key.encode(errors="replace"), digest_size=24).hexdigest()
    return key


def fingerprint_of(use: Use) -> str:
    """The same for the same call: another user's reply under the same key is none of ours."""
    said = _sorted.encode((use.tool.name, use.call.caller.user_id, use.arguments))
    return hashlib.blake2b(said, digest_size=18).hexdigest()


def _known(use: Use, claim: Ended | Running | Unknown) -> ToolReply:
    """What is known of a call that somebody else has made."""
    name, call = use.tool.name, use.call
    if isinstance(claim, Ended):
        return msgspec.structs.replace(_decoder.decode(claim.reply), id=call.id, cached="replayed")
    if isinstance(claim, Running):
        said = f"{name} is still being called elsewhere under the same idempotency key."
        return failed(call, "in_progress", said, retryable=True, retry_after_s=claim.left_s)
    said = (
        f"{name} was called before under this idempotency key, and whoever called it did not live to hear what came of it: it is not "
        "known whether it did its work, and it is not called again by itself. Find out what is the case; if it is still to be done, "
        "call it anew."
    )
    return failed(call, "outcome_unknown", said)
