"""The simulator itself, whatever language it is asked in: admits calls, has some of them fail, and answers the others."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter, OrderedDict
from typing import Any

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.messages import ModelCall
from corral.models.sim import tokens
from corral.models.sim.answer import Answer, answered
from corral.models.sim.asking import told
from corral.models.sim.buckets import UNLIMITED, Allowance, Verdict
from corral.models.sim.catalog import SimModel, bare, model_named
from corral.models.sim.options import NO_WISH, ScriptLine, SimOptions, Wish
from corral.models.sim.prefixes import Prefixes, Read
from corral.models.sim.refusal import Refused, refused_with
from corral.models.sim.stats import Stats
from corral.models.sim.turn import Load, Pace, Sleep, Turn
from corral.models.sim.writing import Written, lengthened, scripted, write

_ANSWERS_MAX = 2_000
"""Answers that are kept: who asks the same gets the same, and it need not be composed again."""
_SEEN_MAX = 20_000
_ALLOWANCES_MAX = 1_000
_STATUS_FAULTS = {"5xx", "too_long", "filtered"}
_encode = msgspec.json.Encoder(order="deterministic").encode


class Engine:
    """One simulator. Nothing of it waits but the turns it hands out, so all of its counts fit each other."""

    def __init__(self, options: SimOptions, *, clock: Clock = SYSTEM_CLOCK, sleep: Sleep = asyncio.sleep) -> None:
        """Time comes from `clock`, and passes by `sleep`."""
        self.options = options
        self.clock = clock
        self._sleep = sleep
        self._loads: dict[str, Load] = {}
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._shapes: dict[str, SimModel] = {bare(name): model for name, model in options.models.items()}
        self._matches = [_matcher(line) for line in options.script]
        self.stats = Stats(clock.monotonic())
        self.reset()

    def reset(self) -> None:
        """Forget what was asked: counts, allowances, kept beginnings, and how far the script has come."""
        self._allowances: OrderedDict[tuple[str, str], Allowance] = OrderedDict()
        self._prefixes = Prefixes(self.options.cache_min_tokens, self.options.cache_s)
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._said: Counter[int] = Counter()
        self._arrived = 0
        self.stats.reset(self.clock.monotonic())

    def model(self, name: str) -> SimModel:
        """The model of that name."""
        return self._shapes.get(bare(name)) or model_named(name)

    # -- calls

    def begin(
        self, call: ModelCall, *, kind: str = "chat", who: str = "", wish: Wish = NO_WISH, free: bool = False
    ) -> Turn:
        """Let a call in, or raise `Refused`. `who` has the allowance; a call that is `free` takes nothing of it.

        Whoever gets a turn closes it.
        """
        try:
            return self._begin(call, kind, who, wish, free=free)
        except Refused as refused:
            self.stats.refused(refused.kind)
            raise

    def _begin(self, call: ModelCall, kind: str, who: str, wish: Wish, *, free: bool) -> Turn:
        model = self.model(call.model)
        if model.kind == "embedding":
            raise Refused("invalid", f"{call.model} makes embeddings, and cannot chat.", param="model")
        if not call.messages:  # as every provider does it
            raise Refused("invalid", "There are no messages: there is nothing to answer.", param="messages")
        digest = self._digest(call, wish)
        line, matched = self._line(call)
        fault = self._fault(digest, wish, line)
        now = self.clock.monotonic()
        read = self._prefixes.read(call, who, now)
        if read.total + min(call.max_tokens or 1, model.output_tokens) > model.context_tokens:
            raise too_long(read.total, model.context_tokens)
        answer = self._answer(call, digest, line, matched, model, wish)
        if fault == "empty":
            answer = Answer(parts=[], deltas=[])
        reserved = read.total + self._to_reserve(call, answer)
        verdict = UNLIMITED if free else self._admitted(call.model, model, who, reserved)
        unused = reserved - read.total - answer.output - answer.reasoning

        def closed() -> None:
            self.stats.ended()
            if unused > 0 and not free:
                self._allowance(call.model, model, who).put_back(unused, self.clock.monotonic())

        usage = answer.usage(new=read.new, kept=read.kept, written=read.written)
        self.stats.begun(kind, call.model, fault)
        self.stats.used(usage)
        return Turn(
            answer,
            usage,
            verdict,
            name=call.model,
            number=self._number(digest),
            created=int(self.clock.now()),
            fault=fault,
            pace=Pace(0, 0, 0) if free else self._pace(model, read, wish, fault, digest),
            load=self._load(call.model, model),
            clock=self.clock,
            sleep=self._sleep,
            closed=closed,
        )

    def begin_embedding(
        self, name: str, texts: list[str], *, who: str = "", wish: Wish = NO_WISH, free: bool = False
    ) -> Turn:
        """As `begin`, for texts to be embedded: the turn's answer is empty, its usage right."""
        try:
            return self._begin_embedding(name, texts, who, wish, free=free)
        except Refused as refused:
            self.stats.refused(refused.kind)
            raise

    def _begin_embedding(self, name: str, texts: list[str], who: str, wish: Wish, *, free: bool) -> Turn:
        model = self.model(name)
        counts = [tokens.count(text) for text in texts]
        longest = max(counts, default=0)
        if longest > model.context_tokens:
            raise too_long(longest, model.context_tokens)
        digest = hashlib.blake2b(_encode((self.options.seed, name, texts)), digest_size=16).digest()
        fault = self._fault(digest, wish, None)
        read = Read(sum(counts))
        verdict = UNLIMITED if free else self._admitted(name, model, who, read.total)
        answer = Answer(parts=[], deltas=[])
        self.stats.begun("embedding", name, fault)
        usage = answer.usage(new=read.new)
        self.stats.used(usage)
        return Turn(
            answer,
            usage,
            verdict,
            name=name,
            number=self._number(digest),
            created=int(self.clock.now()),
            fault=fault,
            pace=Pace(0, 0, 0) if free else self._pace(model, read, wish, fault, digest),
            load=self._load(name, model),
            clock=self.clock,
            sleep=self._sleep,
            closed=self.stats.ended,
        )

    def count(self, call: ModelCall) -> int:
        """The tokens of a question."""
        return Prefixes(1, 0).read(call, "", 0).total

    # -- what happens to a call

    def _digest(self, call: ModelCall, wish: Wish) -> bytes:
        """What a call asks, in 16 bytes: two with the same get the same answer."""
        seed = self.options.seed if wish.seed is None else wish.seed
        return hashlib.blake2b(
            _encode(
                (
                    seed,
                    call.seed,
                    bare(call.model),
                    call.messages,
                    call.tools,
                    call.tool_choice,
                    call.parallel_tools,
                    call.output,
                    call.max_tokens,
                    call.stop,
                    call.reasoning,
                    wish.reply,
                    wish.output_tokens,
                )
            ),
            digest_size=16,
        ).digest()

    def _number(self, digest: bytes) -> str:
        """Of a call: another one each time the same is asked."""
        seen = self._seen.get(digest, 0)
        return digest.hex() if not seen else hashlib.blake2b(digest + seen.to_bytes(8), digest_size=16).hexdigest()

    def _line(self, call: ModelCall) -> tuple[ScriptLine | None, re.Match[str] | None]:
        """The script's line for this call."""
        if not self._matches:
            return None, None
        text = told(call)
        for number, (line, pattern) in enumerate(zip(self.options.script, self._matches, strict=True)):
            if line.model and bare(line.model) != bare(call.model):
                continue
            found = pattern.search(text)
            if found is not None and (line.times is None or self._said[number] < line.times):
                self._said[number] += 1
                return line, found
        return None, None

    def _fault(self, digest: bytes, wish: Wish, line: ScriptLine | None) -> str:
        """What goes wrong with this call. Raises at once what is no more than an error."""
        seen = self._seen.pop(digest, -1) + 1
        self._seen[digest] = seen
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        self._arrived += 1
        fault = wish.fault
        if not fault and line is not None:
            if line.status is not None:
                raise refused_with(line.status, line.retry_after_s)
            fault = line.fault
        if not fault and self._arrived <= len(self.options.sequence):
            fault = self.options.sequence[self._arrived - 1]
        elif not fault and self.options.faults:
            fault = self._drawn(digest, seen)
        if fault in {"", "ok"}:
            return ""
        if fault.isdigit():
            raise refused_with(int(fault), wish.retry_after_s, wished=wish.is_trouble)
        if fault in _STATUS_FAULTS:
            raise _failing(fault, digest, seen, wished=wish.is_trouble)
        return fault

    def _drawn(self, digest: bytes, seen: int) -> str:
        """A fault by chance: the same for the same call, but another one when it is asked again."""
        drawn = _fraction(digest, seen, b"fault")
        for fault, share in self.options.faults.items():
            drawn -= share
            if drawn < 0:
                return fault
        return ""

    def _answer(
        self,
        call: ModelCall,
        digest: bytes,
        line: ScriptLine | None,
        matched: re.Match[str] | None,
        model: SimModel,
        wish: Wish,
    ) -> Answer:
        answer = self._answers.get(digest) if line is None else None
        if answer is not None:
            self._answers.move_to_end(digest)
            return answer
        chance = random.Random(digest)  # noqa: S311 - the same again is what is wanted
        written = None
        if wish.reply is not None:
            written = Written(parts=[{"type": "text", "text": wish.reply}])
        elif line is not None:
            written = scripted(line, matched, chance)
        written = written or write(call, chance)
        wanted = wish.output_tokens or (line.output_tokens if line is not None else None) or self.options.output_tokens
        if wanted is not None:
            wanted = min(wanted, model.output_tokens)  # who calls may wish for any length, and it is written at once
        if wanted is not None and call.output is None and written.stop_reason == "end":
            written = _as_long(written, wanted, chance)
            call = msgspec.structs.replace(call, max_tokens=min(call.max_tokens or wanted, wanted))
        answer = answered(written, call, model.output_tokens)
        if wanted is not None and answer.stop_reason == "length" and call.max_tokens == wanted:
            answer = msgspec.structs.replace(answer, stop_reason="end")
        if line is None:
            self._answers[digest] = answer
            if len(self._answers) > _ANSWERS_MAX:
                self._answers.popitem(last=False)
        return answer

    # -- limits and time

    def _to_reserve(self, call: ModelCall, answer: Answer) -> int:
        written = answer.output + answer.reasoning
        return max(written, call.max_tokens or 0) if self.options.charge == "reserve" else written

    def _admitted(self, name: str, model: SimModel, who: str, amount: int) -> Verdict:
        if not (model.rpm or model.tpm or self.options.rpm or self.options.tpm):
            return UNLIMITED
        verdict = self._allowance(name, model, who).admit(amount, self.clock.monotonic())
        if verdict.wait_s > 0:
            raise Refused(
                "rate",
                _limit_message(name, verdict, amount),
                verdict=verdict,
                retry_after_s=verdict.wait_s if verdict.wait_s < float("inf") else None,
            )
        return verdict

    def _allowance(self, name: str, model: SimModel, who: str) -> Allowance:
        key = (who, bare(name))
        if key not in self._allowances and len(self._allowances) >= _ALLOWANCES_MAX:
            key = ("", "")  # too many to be told apart: the rest has one allowance together, not one each
        allowance = self._allowances.get(key)
        if allowance is None:
            options = self.options
            allowance = Allowance(
                model.rpm or options.rpm, model.tpm or options.tpm, options.burst_s, self.clock.monotonic()
            )
            self._allowances[key] = allowance
        return allowance

    def _load(self, name: str, model: SimModel) -> Load:
        name = bare(name)
        load = self._loads.get(name)
        if load is None:
            if len(self._loads) >= _ALLOWANCES_MAX:
                name = ""
            slowdown = self.options.batch_slowdown
            load = self._loads[name] = Load(
                self.options.batch_max or model.batch_max, model.batch_slowdown if slowdown is None else slowdown
            )
        return load

    def _pace(self, model: SimModel, read: Read, wish: Wish, fault: str, digest: bytes) -> Pace:
        options = self.options
        ttft = _first_of(wish.ttft_ms, options.ttft_ms, model.ttft_ms)
        itl = _first_of(wish.itl_ms, options.itl_ms, model.itl_ms)
        prefill = _first_of(wish.prefill_ms, options.prefill_ms, 0.0 if ttft == 0 else model.prefill_ms)
        first = ttft + prefill * (read.new + read.written) / 1_000
        hang = _first_of(wish.hang_s, options.hang_s, 0.0)
        factor = 1 / 1_000
        if fault == "slow":
            factor *= wish.slow_factor or options.slow_factor
        if options.jitter and (first or itl):
            seen = self._seen.get(digest, 0)
            first *= 1 + options.jitter * (2 * _fraction(digest, seen, b"first") - 1)
            itl *= 1 + options.jitter * (2 * _fraction(digest, seen, b"between") - 1)
        return Pace(first * factor, itl * factor, hang)

    def shown(self) -> dict[str, Any]:
        """The counts, and how much of each allowance is used."""
        now = self.clock.monotonic()
        return self.stats.shown(now) | {
            "allowances": [
                {"key": who[-4:], "model": model, **_used(allowance, now)}
                for (who, model), allowance in self._allowances.items()
            ]
        }


def too_long(counted: int, limit: int) -> Refused:
    """The error for a question of so many tokens."""
    return Refused("too_long", f"{counted} tokens > {limit} maximum")


def _first_of(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _fraction(digest: bytes, seen: int, purpose: bytes) -> float:
    """A number from 0 to 1, by chance, but the same for the same."""
    drawn = hashlib.blake2b(digest + seen.to_bytes(8) + purpose, digest_size=8).digest()
    return int.from_bytes(drawn) / 2**64


def _failing(fault: str, digest: bytes, seen: int, *, wished: bool) -> Refused:
    if fault == "5xx":
        return refused_with((500, 502, 503)[int(_fraction(digest, seen, b"5xx") * 3)], wished=wished)
    return Refused("too_long" if fault == "too_long" else "filtered", wished=wished)


def _as_long(written: Written, wanted: int, chance: random.Random) -> Written:
    *before, last = written.parts
    return msgspec.structs.replace(written, parts=[*before, {**last, "text": lengthened(last["text"], wanted, chance)}])


def _limit_message(name: str, verdict: Verdict, amount: int) -> str:
    limit, left, _ = (verdict.requests if verdict.kind == "requests" else verdict.tokens) or (0, 0, 0.0)
    unit = "requests per min (RPM)" if verdict.kind == "requests" else "tokens per min (TPM)"
    wanted = 1 if verdict.kind == "requests" else amount
    if verdict.wait_s == float("inf"):
        return f"Request too large for {name} on {unit}: Limit {limit}, Requested {wanted}."
    return (
        f"Rate limit reached for {name} on {unit}: Limit {limit}, Used {max(0, limit - left)}, Requested {wanted}. "
        f"Please try again in {verdict.wait_s:.3f}s."
    )


def _used(allowance: Allowance, now: float) -> dict[str, float]:
    """The share of what could be taken since the beginning that was taken."""
    used: dict[str, float] = {}
    for name, bucket in (("requests", allowance.requests), ("tokens", allowance.tokens)):
        if bucket is not None:
            used |= {
                name: round(bucket.taken),
                f"{name}_allowed": round(bucket.allowed(now)),
                f"{name}_per_minute": round(bucket.per_minute),
            }
    return used


def _matcher(line: ScriptLine) -> re.Pattern[str]:
    match = line.match
    if len(match) > 1 and match.startswith("/") and match.endswith("/"):
        return re.compile(match[1:-1], re.IGNORECASE | re.DOTALL)
    return re.compile(re.escape(match), re.IGNORECASE)
