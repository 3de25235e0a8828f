"""Vectors of texts that were embedded before: only the others are asked for."""

from __future__ import annotations

import sys
from array import array

import msgspec

from corral.cache.entries import VALUE_MAX_BYTES
from corral.cache.keys import text_keys
from corral.cache.shelf import Shelf
from corral.cache.store import EntryDraft
from corral.errors import NotCached
from corral.messages import CallEmbedder, EmbedCall, EmbedReply

VECTORS_TTL_S = 2_592_000.0
"""A model's vectors do not change; those that nobody uses make room after thirty days at the latest."""


class _Vector(msgspec.Struct, frozen=True, array_like=True):
    model: str
    provider: str
    cost_usd: float
    floats: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Vector).decode


class CachedEmbeddings:
    """A layer around embedding. A text has one vector per model and length, kept in four bytes per number."""

    def __init__(self, shelf: Shelf) -> None:
        """Off if the shelf's settings say so; a call's own policy goes before them."""
        self._shelf = shelf
        self._usual = "use" if shelf.settings.embeddings else "bypass"

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """Vectors in the order of the texts. One look into the store, and at most one question to the provider."""
        mode = call.policy.cache or self._usual
        shelf, tenant = self._shelf, call.caller.tenant
        if mode == "bypass" or not call.texts:
            shelf.counting.looked("embeddings", "bypass")
            return await proceed(call)
        try:
            keys = text_keys(call)
        except (TypeError, ValueError):
            shelf.counting.trouble("key")
            return await proceed(call)
        found: dict[bytes, _Vector] = {}
        kept_before = await shelf.find_many(tenant, keys)
        if mode != "refresh":
            for key, kept in kept_before.items():
                found |= self._read(key, kept.value, fresh=kept.fresh_s > 0)
        missing = {key: text for key, text in zip(keys, call.texts, strict=True) if key not in found}
        self._count(call, keys, found)
        if not missing:
            first = found[keys[0]]
            return EmbedReply(
                vectors=[_floats(found[key]) for key in keys],
                model=first.model,
                provider=first.provider,
                cost_usd=0.0,
                cached=len(keys),
            )
        if mode == "only":
            raise NotCached(f"{len(missing)} of {len(keys)} texts have no kept vector.")
        generation = shelf.generation(tenant)
        asked = call if len(missing) == len(keys) else msgspec.structs.replace(call, texts=list(missing.values()))
        reply = await proceed(asked)
        self._keep(call, list(missing), reply, generation)
        if asked is call:
            return reply
        new = dict(zip(missing, reply.vectors, strict=True))
        vectors = [new[key] if key in new else _floats(found[key]) for key in keys]
        return msgspec.structs.replace(reply, vectors=vectors, cached=sum(key in found for key in keys))

    def _read(self, key: bytes, value: bytes, *, fresh: bool) -> dict[bytes, _Vector]:
        if not fresh:
            return {}
        try:
            return {key: _decode(value)}
        except msgspec.MsgspecError:
            self._shelf.counting.trouble("read")
            return {}

    def _keep(self, call: EmbedCall, keys: list[bytes], reply: EmbedReply, generation: int | None) -> None:
        ttl_s = VECTORS_TTL_S if call.policy.cache_ttl_s is None else call.policy.cache_ttl_s
        if generation is None or ttl_s <= 0 or len(reply.vectors) != len(keys):
            return
        cost_usd = (reply.cost_usd or 0.0) / len(keys)
        for key, vector in zip(keys, reply.vectors, strict=True):
            value = _encode(_Vector(reply.model, reply.provider, cost_usd, _bytes(vector)))
            if len(value) <= VALUE_MAX_BYTES:
                draft = EntryDraft(
                    key=key, value=value, kind="vector", ttl_s=ttl_s, tags=call.policy.cache_tags, generation=generation
                )
                self._shelf.keep(call.caller.tenant, draft)

    def _count(self, call: EmbedCall, keys: list[bytes], found: dict[bytes, _Vector]) -> None:
        shelf, tenant = self._shelf, call.caller.tenant
        hits = sum(key in found for key in keys)
        misses = len(keys) - hits
        saved = sum(found[key].cost_usd for key in keys if key in found)
        if hits:
            shelf.counting.looked("embeddings", "hit", hits)
            shelf.counting.saved("embeddings", saved)
            for key in found:
                shelf.count(tenant, "vector", used=key)
        if misses:
            shelf.counting.looked("embeddings", "miss", misses)
        shelf.count(tenant, "vector", hits=hits, misses=misses, saved_usd=saved)
        call.notes["cache.kind"] = "embeddings"
        call.notes["cache.result"] = "hit" if not misses else "miss" if not hits else "part"
        if saved:
            call.notes["cache.saved_usd"] = saved


def _bytes(vector: list[float]) -> bytes:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()


def _floats(vector: _Vector) -> list[float]:
    floats = array("f")
    floats.frombytes(vector.floats)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()
