"""Vectors for texts: words thrown into a few hundred boxes. Texts with the same words are near each other, and no more is meant."""

from __future__ import annotations

import functools
import math
import zlib

from corral.models.sim import reading


def embedded(text: str, dimensions: int, seed: int) -> list[float]:
    """A vector of length 1. The same text has the same vector, always and everywhere."""
    vector = [0.0] * dimensions
    for word in reading.words_of(text) or [text]:
        weight = 0.3 if word in reading.STOP_WORDS else 1.0
        for feature, share in _features(word):
            box = zlib.crc32(feature, seed & 0xFFFFFFFF)
            vector[(box >> 1) % dimensions] += weight * share if box & 1 else -weight * share
    length = math.sqrt(math.fsum(value * value for value in vector))
    if not length:
        vector[0] = length = 1.0
    return [value / length for value in vector]


@functools.lru_cache(maxsize=4_096)
def _features(word: str) -> tuple[tuple[bytes, float], ...]:
    """The word itself, its stem, and the groups of three letters in it, so that forms of one word are near each other."""
    marked = f"<{word[:40]}>"
    features = [
        (word[:200].encode("utf-8", "surrogatepass"), 1.0),
        (b"s:" + reading.stem(word)[:200].encode("utf-8", "surrogatepass"), 0.7),
    ]
    features += [(b"3:" + marked[n : n + 3].encode("utf-8", "surrogatepass"), 0.25) for n in range(len(marked) - 2)]
    return tuple(features)
