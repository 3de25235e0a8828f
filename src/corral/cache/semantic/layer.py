"""The layer that answers questions by what they mean, once evidence says that it may, and gathers that evidence for ever.

An answer is served only if all of this agrees: the call qualifies, its scope is the same, the guard has no objection, the likeness
reaches the route's threshold, and it is well above any likeness at which this very answer was wrong. What the layer cannot do
(embed, read, compare) it leaves out: the model is asked, as if the layer were not there.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import msgspec

from corral.cache.entries import Refusal, may_be_kept, read_value, reply_value
from corral.cache.replay import replayed
from corral.cache.semantic import guard
from corral.cache.semantic.comparing import AnswerJudge, Comparison, Judge
from corral.cache.semantic.counting import SemanticCounting
from corral.cache.semantic.embedders import Embedder
from corral.cache.semantic.evidence import Verdicts
from corral.cache.semantic.index import Neighbour, Partition, Partitions
from corral.cache.semantic.keeping import Keeping
from corral.cache.semantic.questions import Question, question_of
from corral.cache.semantic_store import AnswerDraft, KeptAnswer, Label, Listed, SemanticStore
from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, NotCached
from corral.messages import CallModel, ModelCall, ModelEvent, ModelReply, closing
from corral.settings.model_sections import SemanticCacheSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger("corral.cache")

_NEIGHBOURS = 4
_LABELLED_FROM = 0.7
"""Less alike questions tell nothing about a threshold that anybody would want."""
_VETO_ABOVE = 0.02
"""An answer that was wrong once is served only to questions that are that much more alike than the one it was wrong for."""
_NEWS_S = 1.0
_EMBED_S = 2.0
_KEPT_STOPS = frozenset({"end", "stop_sequence"})


class _Looked(msgspec.Struct, frozen=True):
    """What a look found."""

    question: Question
    vector: NDArray[np.float32] | None = None
    partition: Partition | None = None
    candidate: Neighbour | None = None
    threshold: float | None = None
    """From which likeness on one may serve; none: not at all."""


class Semantic:
    """A layer around a call of a model. `start` it, `drain` and `stop` it; each may come twice."""

    def __init__(
        self,
        settings: SemanticCacheSettings,
        *,
        store: SemanticStore,
        embedder: Embedder,
        counting: SemanticCounting,
        ttl_s: float,
        judge: Judge | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`judge` says whether a kept answer would have done; without one, a strict rule of thumb does."""
        self._settings = settings
        self._store = store
        self._embedder = embedder
        self._counting = counting
        self._ttl_s = ttl_s
        self._judge = judge or AnswerJudge(embedder)
        self._now = clock.monotonic
        self._chance = chance
        self._partitions = Partitions(entries_max=settings.entries_max)
        self._keeping = Keeping(store, counting, entries_max=settings.entries_max)
        self._verdicts = Verdicts(store, error_rate=settings.error_rate, now=self._now, fell_back=counting.fell_back)
        self._loading: dict[int, asyncio.Task[CorralError | None]] = {}

    # -- life

    async def start(self) -> None:
        """Load the embedder."""
        await self._embedder.start()
        self._keeping.start()

    async def drain(self) -> None:
        """Finish comparing and writing."""
        await self._keeping.drain()

    async def stop(self) -> None:
        """Finish, and give everything back."""
        await self._keeping.stop()
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        if loading:
            await asyncio.wait(loading)
        await self._verdicts.stop()
        await self._embedder.stop()

    def forget(self, tenant: str) -> None:
        """A tenant's answers were cleared: forget the copies here at once. Nothing that was cleared is served either way."""
        self._partitions.forget(tenant)

    # -- the layer

    async def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """Answer by meaning, or go on and learn from it."""
        looked = await self._look(call)
        if looked is not None:
            served = await self._served(call, looked, proceed)
            if served is not None:
                async with closing(replayed(served, stream=call.stream, pause_s=call.policy.replay_chunks_s)) as events:
                    async for event in events:
                        yield event
                return
            self._counting.miss()
            self._keeping.count(call.caller.tenant, looked.question.route, used=None)
        if call.policy.cache == "only":
            raise NotCached
        async with closing(proceed(call)) as events:
            async for event in events:
                if looked is not None and type(event) is ModelReply:
                    self._learn(call, looked, event)
                yield event

    async def _look(self, call: ModelCall, *, compare: bool = True) -> _Looked | None:
        """What there is for a call; none: the call does not qualify."""
        question = None
        if call.policy.cache != "bypass":
            question = question_of(call, self._embedder.fingerprint, temperature_max=self._settings.temperature_max)
        if question is None:
            self._counting.bypass()
            call.notes.setdefault("cache.semantic", "bypass")
            return None
        try:
            async with asyncio.timeout(_EMBED_S):
                vector = (await self._embedder.embed([question.text]))[0]
        except Exception as error:  # noqa: BLE001 - an embedder of any kind may fail in any way; the model is asked then
            self._counting.trouble("embed")
            _log.warning("A question could not be embedded, and is asked: %s: %s", type(error).__name__, error)
            return _Looked(question)
        try:
            partition = await self._partition(call.caller.tenant, question.scope)
        except CorralError as error:
            self._counting.trouble("read")
            _log.warning("Kept answers cannot be read, and the question is asked: %s", error)
            return _Looked(question)
        if call.policy.cache == "refresh" or not compare:
            return _Looked(question, vector, partition)
        candidate = self._candidate(question, vector, partition)
        return _Looked(question, vector, partition, candidate, await self._threshold(call.caller.tenant, question))

    def _candidate(self, question: Question, vector: NDArray[np.float32], partition: Partition) -> Neighbour | None:
        """The most alike answer that nothing speaks against but, perhaps, that it is not alike enough."""
        for one in partition.nearest(vector, _NEIGHBOURS, self._now()):
            vetoed = one.wrong > 0 and one.score < one.wrong + _VETO_ABOVE and one.question != question.text
            if not vetoed and not guard.objection(question.text, one.question):
                return one
        return None

    async def _threshold(self, tenant: str, question: Question) -> float | None:
        match self._settings.mode:
            case "fixed":
                return self._settings.similarity_threshold
            case "serve":
                known = await self._verdicts.threshold(tenant, question.route)
                return None if known is None else known.score
            case _:
                return None

    # -- by hand

    async def find(self, call: ModelCall) -> ModelReply | None:
        """The kept answer to a call, as the layer would serve it; nobody is asked, and nothing audited."""
        looked = await self._look(call)
        return None if looked is None else await self._served(call, looked)

    async def keep(self, call: ModelCall, reply: ModelReply) -> bool:
        """Keep an answer that came from elsewhere (frequent questions, another cache). False: it cannot be kept."""
        looked = await self._look(call, compare=False)
        return looked is not None and _will_do(reply) and self._keep(call, looked, reply)

    # -- serving

    async def _served(self, call: ModelCall, looked: _Looked, proceed: CallModel | None = None) -> ModelReply | None:
        """The kept answer, if it may be served."""
        candidate, threshold, question = looked.candidate, looked.threshold, looked.question
        if candidate is None:
            call.notes["cache.semantic"] = "miss"
            return None
        call.notes["cache.score"] = round(candidate.score, 4)
        if threshold is None or candidate.score < threshold:
            call.notes["cache.semantic"] = "shadow" if threshold is None else "miss"
            return None
        kept = await self._taken(call.caller.tenant, looked, candidate)
        reply = None if kept is None else _reply_of(kept)
        if kept is None or reply is None:
            call.notes["cache.semantic"] = "miss"
            return None
        saved = reply.cost_usd or 0.0
        told = {
            "cache.kind": "semantic",
            "cache.result": "hit",
            "cache.semantic": "hit",
            "cache.entry": candidate.id.hex(),
            "cache.matched": kept.question,
            "cache.age_s": round(max(0.0, kept.age_s), 3),
            "cache.saved_usd": saved,
        }
        call.notes.update(told)
        self._counting.hit(saved)
        self._keeping.count(call.caller.tenant, question.route, used=candidate.id, saved_usd=saved)
        if proceed is not None and self._chance() < self._settings.audit_share:
            self._keeping.later(lambda: self._audit(call, looked, candidate, reply, proceed))
        return msgspec.structs.replace(reply, cached="semantic", cost_usd=0.0)

    async def _taken(self, tenant: str, looked: _Looked, candidate: Neighbour) -> KeptAnswer | None:
        """The answer out of the store: one that was cleared, has expired or turned out wrong elsewhere is not given."""
        try:
            kept = await self._store.take(tenant, candidate.id)
        except CorralError as error:
            self._counting.trouble("read")
            _log.warning("A kept answer cannot be read, and the question is asked: %s", error)
            return None
        if kept is None and looked.partition is not None:
            looked.partition.remove(candidate.id)
        if kept is None or kept.question != candidate.question:
            return None
        same_text = kept.question == looked.question.text
        wrong = kept.wrong > 0 and candidate.score < kept.wrong + _VETO_ABOVE
        return None if wrong and not same_text else kept

    # -- learning

    def _learn(self, call: ModelCall, looked: _Looked, reply: ModelReply) -> None:
        """Compare the new answer with the one that was kept, and keep it as well."""
        candidate, question = looked.candidate, looked.question
        if not _will_do(reply):
            return
        if candidate is not None and candidate.score >= _LABELLED_FROM and candidate.question != question.text:
            tenant, text = call.caller.tenant, reply.text
            self._keeping.later(lambda: self._compare(tenant, question, candidate, text))
        self._keep(call, looked, reply)

    def _keep(self, call: ModelCall, looked: _Looked, reply: ModelReply) -> bool:
        partition, vector, question = looked.partition, looked.vector, looked.question
        value = reply_value(reply)
        if partition is None or vector is None or value is None or not guard.is_english(question.text):
            return False
        ttl_s = self._ttl_s if call.policy.cache_ttl_s is None else call.policy.cache_ttl_s
        if ttl_s <= 0:
            return False
        draft = AnswerDraft(
            id=question.id,
            scope=question.scope,
            question=question.text,
            vector=vector.tobytes(),
            value=value,
            ttl_s=ttl_s,
            tags=call.policy.cache_tags,
            generation=partition.generation,
        )
        self._keeping.put(call.caller.tenant, draft)
        partition.put(Listed(draft.id, draft.question, draft.vector, 0.0, ttl_s), self._now())
        return True

    async def _compare(self, tenant: str, question: Question, candidate: Neighbour, fresh: str) -> None:
        """What the kept answer would have been worth."""
        kept = await self._store.take(tenant, candidate.id)
        reply = None if kept is None else _reply_of(kept)
        if reply is not None:
            await self._label(tenant, question, candidate, reply.text, fresh, audited=False)

    async def _audit(
        self, call: ModelCall, looked: _Looked, candidate: Neighbour, served: ModelReply, proceed: CallModel
    ) -> None:
        """Ask after all, and compare with what was served."""
        policy = msgspec.structs.replace(call.policy, cache="")
        asked = msgspec.structs.replace(
            call, stream=False, deadline=None, policy=policy, notes={"cache.audit": candidate.id.hex()}
        )
        reply: ModelReply | None = None
        try:
            async with closing(proceed(asked)) as events:
                async for event in events:
                    if type(event) is ModelReply:
                        reply = event
        except CorralError as error:
            self._counting.trouble("audit")
            _log.info("A kept answer could not be audited: %s", error)
        if reply is None or not _will_do(reply):
            return
        same = await self._label(call.caller.tenant, looked.question, candidate, served.text, reply.text, audited=True)
        if not same or candidate.question == looked.question.text:
            self._keep(call, looked, reply)

    async def _label(
        self, tenant: str, question: Question, candidate: Neighbour, kept: str, fresh: str, *, audited: bool
    ) -> bool:
        same = await self._judge(Comparison(question.text, candidate.question, fresh, kept))
        if candidate.question == question.text:
            return same  # says how often the model says the same again, and nothing of likeness
        label = Label(
            answer=candidate.id,
            score=candidate.score,
            same=same,
            audited=audited,
            question="" if same else question.text,
            kept="" if same else candidate.question,
        )
        await self._store.label(tenant, question.route, [label])
        self._counting.label(audited=audited, same=same)
        self._verdicts.soon(tenant, question.route)
        return same

    # -- the index

    async def _partition(self, tenant: str, scope: bytes) -> Partition:
        """A scope's answers: read whole when it is first used, then what is new, about once a second and without waiting."""
        partition = self._partitions.of(tenant, scope)
        loaded_at = partition.loaded_at
        task = self._loading.get(id(partition))
        if task is None and (loaded_at is None or self._now() - loaded_at >= _NEWS_S):
            task = self._loading[id(partition)] = asyncio.create_task(
                self._load(tenant, scope, partition), name="corral-semantic-news"
            )
        if loaded_at is None and task is not None:
            await asyncio.wait([task])
            error = None if task.cancelled() else task.result()
            if error is not None:
                raise error
        return partition

    async def _load(self, tenant: str, scope: bytes, partition: Partition) -> CorralError | None:
        try:
            more = True
            while more:
                news = await self._store.news(tenant, scope, partition.change)
                begin_anew = news.change < partition.change
                partition.change = 0 if begin_anew else news.change
                partition.generation = news.generation
                now = self._now()
                for one in news.answers:
                    partition.put(one, now)
                more = news.more or begin_anew
            partition.loaded_at = self._now()
        except CorralError as error:
            if partition.loaded_at is None:
                return error
            partition.loaded_at = self._now()
            _log.warning("What other workers keep cannot be read for now: %s", error)
        finally:
            del self._loading[id(partition)]
        return None


def _will_do(reply: ModelReply) -> bool:
    return may_be_kept(reply) and reply.stop_reason in _KEPT_STOPS and not reply.tool_uses and bool(reply.text.strip())


def _reply_of(kept: KeptAnswer) -> ModelReply | None:
    value = read_value(kept.value)
    return None if isinstance(value, Refusal) else value
