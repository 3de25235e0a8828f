"""Which of several descriptions a question is nearest to, by its words alone: no model, microseconds."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

_WORD = re.compile(r"[^\W_]{2,}")
_READ_MAX = 4_000
"""Characters of a question that are looked at."""
_ENDINGS = ("ings", "ing", "ies", "ied", "ed", "es", "s", "y")
_STEM_MIN = 3
_SILENT = (
    "my me we us he it is in on of to at by be do if or an as so am go no up the and for are was were been has have had this that these those with from into about your our their its his her you they "
    "can could would should will may might must not but all any some what who when where which why how please want need like "
    "der die das und für ist sind mit von les des une est pour avec los las una con por para"
)
_SAYS_NOTHING = frozenset(_SILENT.split())


def stems(text: str) -> Counter[str]:
    """The words of a text, without their endings and without those that say nothing."""
    return Counter(_stem(word) for word in _WORD.findall(text[:_READ_MAX].lower()) if word not in _SAYS_NOTHING)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_MIN:
            return word[: -len(ending)]
    return word


class Nearest:
    """Texts by name; each may have several. Words that all of them have count for little."""

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Counted once."""
        self._of = {name: [stems(text) for text in several if text] for name, several in texts.items()}
        of_names = [set().union(*several) if several else set() for several in self._of.values()]
        known = Counter(word for words in of_names for word in words)
        self._weights = {word: math.log(1 + len(of_names) / times) for word, times in known.items()}

    def scores(self, question: str) -> dict[str, float]:
        """From 0 (no word in common) to 1 (the very words) for each name."""
        asked = stems(question)
        return {
            name: max((self._alike(asked, words) for words in several), default=0.0)
            for name, several in self._of.items()
        }

    def _alike(self, one: Counter[str], other: Counter[str]) -> float:
        shared = one.keys() & other.keys()
        if not shared:
            return 0.0
        return sum(self._weight(word) ** 2 for word in shared) / (self._length(one) * self._length(other))

    def _length(self, words: Counter[str]) -> float:
        return math.sqrt(sum(self._weight(word) ** 2 for word in words))

    def _weight(self, word: str) -> float:
        return self._weights.get(word, 1.0)
