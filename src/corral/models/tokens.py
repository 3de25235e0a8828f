"""How many tokens a text is: estimated without any vocabulary, or counted where one is installed.

The estimate adds up what a text is made of (words, letters of each script, digits, signs), with weights that were fitted
for each family of vocabularies. How far off it is stands in `docs/models.md`, and `tests/models/test_tokens.py` holds it
to that. What providers say they counted corrects it, model by model.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from corral.errors import ConfigError
from corral.messages import EmbedCall, Message, ModelCall, ModelReply, Usage, as_parts
from corral.models.picture_size import size_of

_MESSAGE_TOKENS = 4
"""What a message costs besides its content."""
_REPLY_TOKENS = 3
_TOOL_TOKENS = 8
_BYTES_PER_FILE_TOKEN = 12
_UNKNOWN_PICTURE = (1024, 1024)

# -- what a text is made of -------------------------------------------------------------------------------------------


# Each byte of UTF-8 as what it begins: a letter, a capital, a digit, a blank, a line's end, a sign, or a script's character.
_LETTER, _UPPER, _DIGIT, _BLANK, _LINE, _SIGN, _SCRIPT = b"abcdefg"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_SCRIPTS = (
    ((0xC2, 0xC9),),  # Latin with marks
    ((0xD0, 0xD4),),  # Cyrillic
    ((0xCE, 0xCF),),  # Greek
    ((0xD6, 0xDB),),  # Hebrew, Arabic
    ((0xE0, 0xE0),),  # India, Thailand
    ((0xE1, 0xE1), (0xCA, 0xCD)),  # Vietnamese marks and others
    ((0xE2, 0xE2),),  # typographic signs
    ((0xE3, 0xE3),),  # Kana and its punctuation
    ((0xE4, 0xE9),),  # Han
    ((0xEA, 0xED),),  # Hangul
    ((0xEE, 0xEF),),  # full width
    ((0xF0, 0xF4),),  # Emoji and rare scripts
)


def _kinds() -> bytes:
    kinds = bytearray(b"\0" * 256)
    for first, last, kind in ((33, 126, _SIGN), (97, 122, _LETTER), (65, 90, _UPPER), (48, 57, _DIGIT)):
        kinds[first : last + 1] = bytes([kind]) * (last + 1 - first)
    for byte in b" \t\r":
        kinds[byte] = _BLANK
    kinds[10] = _LINE
    for number, ranges in enumerate(_SCRIPTS):
        for first, last in ranges:
            kinds[first : last + 1] = bytes([_SCRIPT + number]) * (last + 1 - first)
    return bytes(kinds)


_KINDS = _kinds()
_BLANKS = bytes(byte in b" \t\r\n" for byte in range(256))
_WORD = b"\1\0"
_DIGITS = bytes(byte in b"0123456789" for byte in range(256))
_NUMBER = b"\0\1"
_RULED = 3.6
_RULES = (b"----", b"====", b"****", b"####", b"____", b"~~~~")
"""Lines drawn with one sign: a token for many of them."""


class _Weights(msgspec.Struct, frozen=True):
    """Tokens that each part of a text makes, for one family of vocabularies."""

    word: float
    letter: float
    upper: float
    digit: float
    number: float
    """For each run of digits."""
    sign: float
    line: float
    scripts: tuple[float, ...]

    def tokens_of(self, text: str) -> float:
        """All parts together."""
        raw = text.encode(errors="replace")
        others = raw.translate(_KINDS, _LETTERS)  # few, and counted several times
        letters = len(raw) - len(others)
        upper, signs = others.count(_UPPER), others.count(_SIGN)
        tokens = (
            self.word * (1 + raw.translate(_BLANKS).count(_WORD))
            + self.letter * (letters + upper)
            + self.upper * upper
            + self.sign * signs
        )
        # Many texts have none of these: that is found sooner than how many there are.
        if _LINE in others:
            tokens += self.line * others.count(_LINE)
        if _DIGIT in others:
            tokens += self.digit * others.count(_DIGIT) + self.number * raw.translate(_DIGITS).count(_NUMBER)
        if signs * 6 > len(raw):
            tokens -= self.sign * _RULED * sum(map(raw.count, _RULES))
        if not text.isascii():
            for number, weight in enumerate(self.scripts, _SCRIPT):
                tokens += weight * others.count(number)
        return tokens


# Fitted on text and code of the standard library, made-up JSON and numbers, and prose in nineteen languages.
_FITTED = {
    "o200k": _Weights(
        0.121, 0.198, 0.224, 1 / 3, 0.45, 0.621, 0.727,
        (0.964, 0.300, 0.373, 0.354, 0.384, 0.5, 0.8, 0.699, 0.78, 0.745, 1.0, 1.79),
    ),
    "cl100k": _Weights(
        0.839, 0.047, 0.451, 1 / 3, 0.45, 0.539, 0.947,
        (1.97, 0.460, 0.874, 0.702, 0.958, 0.5, 0.8, 0.909, 1.2, 1.04, 1.0, 2.67),
    ),
    "llama3": _Weights(
        0.734, 0.075, 0.377, 1 / 3, 0.45, 0.547, 0.887,
        (1.12, 0.230, 0.306, 0.311, 0.466, 0.5, 0.8, 0.621, 0.80, 0.560, 1.0, 2.70),
    ),
    "qwen3": _Weights(
        0.786, 0.060, 0.389, 1.0, 0.0, 0.568, 0.845,
        (1.43, 0.331, 0.872, 0.240, 0.532, 0.5, 0.8, 0.638, 0.63, 0.637, 1.0, 1.44),
    ),
}  # fmt: skip

# The vocabularies of the others are not public: the nearest public one, and how much more they are taken to need.
_FAMILIES: tuple[tuple[tuple[str, ...], str, float], ...] = (
    (("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-6", "chatgpt", "gpt-oss", "o1", "o3", "o4", "codex"), "o200k", 1.0),
    (("gpt-4", "gpt-3.5", "text-embedding"), "cl100k", 1.0),
    (("llama",), "llama3", 1.0),
    (("qwen", "qwq"), "qwen3", 1.0),
    (("claude",), "o200k", 1.25),
    (("gemini", "gemma"), "o200k", 1.05),
)
_OTHERS = ("o200k", 1.15)
_EXACT = {"o200k": "o200k_base", "cl100k": "cl100k_base", "llama3": "llama3", "qwen3": "qwen3"}


@functools.lru_cache(maxsize=1_024)
def family_of(model: str) -> tuple[str, float]:
    """The public vocabulary that is nearest to a model's, and how many tokens the model makes of one of its tokens."""
    name = model.lower().rsplit("/", 1)[-1]
    for beginnings, family, times in _FAMILIES:
        if any(
            name.startswith(beginning) or f".{beginning}" in name or f"-{beginning}" in name for beginning in beginnings
        ):
            return family, times
    return _OTHERS


def is_exact(model: str) -> bool:
    """Whether a model's own vocabulary is public, so that it can be counted exactly."""
    family, times = family_of(model)
    return times == 1.0 and family in _EXACT


# -- estimating -------------------------------------------------------------------------------------------------------


def estimate(what: str | Sequence[Message], model: str = "") -> int:
    """How many tokens a text, or a conversation with all around it, probably is. Loads nothing and never waits."""
    family, times = family_of(model)
    count = _FITTED[family].tokens_of
    if isinstance(what, str):
        return math.ceil(count(what) * times)
    return math.ceil(_messages(what, count, model) * times)


def estimate_usage(call: ModelCall, reply: ModelReply) -> Usage:
    """What a call took, where its provider does not say."""
    family, times = family_of(call.model)
    count = _FITTED[family].tokens_of
    reasoning = sum(count(part.get("text", "")) for part in reply.content if part.get("type") == "reasoning")
    output = sum(_part(part, count, call.model) for part in reply.content if part.get("type") != "reasoning")
    return Usage(
        input=math.ceil(_read(call, count) * times),
        output=math.ceil(output * times),
        reasoning=math.ceil(reasoning * times),
        estimated=True,
    )


def input_tokens(call: ModelCall | EmbedCall) -> int:
    """How many tokens a call will probably read, tools and all."""
    family, times = family_of(call.model)
    return math.ceil(_read(call, _FITTED[family].tokens_of) * times)


Count = Callable[[str], float]


def _read(call: ModelCall | EmbedCall, count: Count) -> float:
    """All that a call has a model read."""
    if isinstance(call, EmbedCall):
        return sum(count(text) for text in call.texts)
    tokens = _messages(call.messages, count, call.model)
    for tool in call.tools:
        tokens += _TOOL_TOKENS + count(tool.name) + count(tool.description) + count(_as_json(tool.parameters))
    if call.output is not None and call.output.schema is not None:
        tokens += count(_as_json(call.output.schema))
    return tokens


def _messages(messages: Sequence[Message], count: Count, model: str) -> float:
    tokens = float(_REPLY_TOKENS + _MESSAGE_TOKENS * len(messages))
    for message in messages:
        for part in message.content:
            if part.get("type") == "text":  # most parts are that
                tokens += count(part.get("text") or "")
            else:
                tokens += _part(part, count, model)
    return tokens


def _part(part: dict[str, Any], count: Count, model: str) -> float:
    match part.get("type"):
        case "text" | "reasoning":
            return count(part.get("text") or "")
        case "image":
            return picture_tokens(size_of(part["data"]) if part.get("data") else None, model)
        case "file":
            return len(part.get("data") or "") * 3 / 4 / _BYTES_PER_FILE_TOKEN
        case "tool_use":
            return _TOOL_TOKENS + count(part.get("name") or "") + count(_as_json(part.get("input") or {}))
        case "tool_result":
            return _MESSAGE_TOKENS + sum(_part(inner, count, model) for inner in as_parts(part.get("content") or []))
        case _:
            return count(_as_json(part))


def picture_tokens(size: tuple[int, int] | None, model: str = "") -> int:
    """What a picture of that size (none: not known) counts, as the model's maker describes it."""
    width, height = size or _UNKNOWN_PICTURE
    width, height = max(1, width), max(1, height)
    name = model.lower()
    if "claude" in name:
        shrunk = min(1.0, 1568 / max(width, height))
        return min(1600, math.ceil(width * shrunk * height * shrunk / 750))
    if "gemini" in name:
        return 258 if max(width, height) <= 384 else 258 * math.ceil(width / 768) * math.ceil(height / 768)  # noqa: PLR2004 - Google's
    shrunk = min(1.0, 2048 / max(width, height))
    shrunk *= min(1.0, 768 / (min(width, height) * shrunk))
    return 85 + 170 * math.ceil(width * shrunk / 512) * math.ceil(height * shrunk / 512)


def _as_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)


# -- counting with what was learnt ------------------------------------------------------------------------------------

_RATIO_MIN, _RATIO_MAX = 0.3, 4.0
_STEP = 0.1
_MODELS_MAX = 1_000
_KNOWN_MAX = 8_192
_WORTH_KEEPING = 100


class Tokens:
    """Counts for one process: remembers texts that come again, and how far off it was lately for each model.

    With `exact`, models whose vocabulary is public are counted exactly once `start` has loaded it (extra `tokens`).
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._encoders: dict[str, Any] = {}
        self._ratios: OrderedDict[str, float] = OrderedDict()
        self._known: dict[tuple[str, int], float] = {}
        self._counters: dict[str, Count] = {}

    async def start(self, families: Iterable[str] = ("o200k",)) -> None:
        """Load vocabularies (about a second and 60 MB each), in a thread. Raises `ConfigError` if the extra is missing."""
        if self._exact and not self._encoders:
            self._encoders = await asyncio.to_thread(_load, tuple(families))
            self._known.clear()  # these were estimated
            self._counters.clear()

    def count(self, text: str, model: str = "") -> int:
        """How many tokens a text is."""
        family, times = family_of(model)
        return math.ceil(self._counter(family)(text) * times * self.ratio(model))

    def input_tokens(self, call: ModelCall | EmbedCall) -> int:
        """How many tokens a call will read."""
        model = call.model
        family, times = family_of(model)
        count = self._counters.get(family) or self._counter(family)
        return math.ceil(_read(call, count) * times * self._ratios.get(model, 1.0))

    def learn(self, model: str, estimated: float, counted: int) -> None:
        """A provider counted so many where `input_tokens` had said `estimated`: later estimates lean that way.

        The newest answers weigh most, and no estimate is corrected to less than 0.3 or more than 4 times what it was.
        """
        if estimated <= 0 or counted <= 0:
            return
        ratio = self.ratio(model)
        target = ratio * counted / estimated
        ratio += _STEP * (target - ratio)
        if model not in self._ratios and len(self._ratios) >= _MODELS_MAX:
            self._ratios.popitem(last=False)
        self._ratios[model] = min(_RATIO_MAX, max(_RATIO_MIN, ratio))

    def ratio(self, model: str) -> float:
        """How much more a model counts than is estimated without that."""
        return self._ratios.get(model, 1.0)

    def _counter(self, family: str) -> Count:
        counter = self._counters.get(family)
        if counter is None:
            counter = self._counters[family] = self._new_counter(family)
        return counter

    def _new_counter(self, family: str) -> Count:
        encoder, known = self._encoders.get(family), self._known
        plain = _FITTED[family].tokens_of if encoder is None else lambda text: float(len(encoder.encode(_whole(text))))

        def count(text: str) -> float:
            if len(text) < _WORTH_KEEPING:
                return plain(text)
            # Long texts come again with every turn of a conversation. What is kept is their hash, not they themselves.
            key = (family, hash(text))
            tokens = known.get(key)
            if tokens is None:
                if len(known) >= _KNOWN_MAX:
                    known.clear()
                tokens = known[key] = plain(text)
            return tokens

        return count


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _load(families: tuple[str, ...]) -> dict[str, Any]:
    try:
        quicktok = importlib.import_module("quicktok")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Exact token counts need the package {error.name}: install corral[tokens], or leave them estimated."
        ) from None
    return {family: quicktok.get_encoding(_EXACT[family]) for family in families}
