"""A reply put together out of its deltas: whole when the stream is, and as far as it came when it broke off."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.messages import Delta, ModelReply, StopReason, Usage

_decode = msgspec.json.Decoder(type=dict[str, Any]).decode


def tool_use(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A part `tool_use` from its arguments as the model wrote them.

    Models write wrong JSON at times, and a stream may end inside of it: `input` is empty then, and `input_text` holds what was
    written, so that nothing is lost and who runs the tool can say what is wrong with it.
    """
    part: dict[str, Any] = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    if arguments and arguments != "{}":
        try:
            part["input"] = _decode(arguments)
        except msgspec.DecodeError:
            part["input_text"] = arguments
    return part


class Collector:
    """Collects the deltas of one reply. Deltas of several parts may come mixed; parts stand in the order of their index."""

    id = ""
    model = ""
    created_at = 0.0
    stop_reason: StopReason | None = None
    """None: the provider has not said yet why it stopped."""
    usage: Usage | None = None
    """None: the provider has not said yet."""
    cost_usd: float | None = None
    """None: the provider does not say it."""
    logprobs: Any = None
    _saying = -1
    """The text that is being said; its pieces (`_said`) from `_since` on are not given out yet."""
    _since = 0

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, list[str]] = {}
        self._came: list[Delta] = []
        self._said: list[str] = []

    @property
    def next_index(self) -> int:
        """The index of a part that begins now, if parts begin one after the other."""
        return len(self._parts)

    @property
    def begun(self) -> bool:
        """Whether anything was said yet."""
        return bool(self._parts)

    def begin(self, index: int, part: dict[str, Any]) -> list[str]:
        """A part begins, unless it has; what was said in it."""
        texts = self._texts.get(index)
        if texts is None:
            texts = self._texts[index] = []
            self._parts.setdefault(index, part).update(part)
        return texts

    def say(self, text: str, index: int) -> None:
        """Take a piece of a text. What comes of one text until it is asked for (`came`) is one delta."""
        if index != self._saying:
            self._say_no_more()
            self._said = self.begin(index, {"type": "text"})
            self._saying, self._since = index, len(self._said)
        self._said.append(text)

    def _say_no_more(self) -> None:
        if self._saying >= 0:
            pieces = self._said[self._since :]
            if len(pieces) == 1:
                self._came.append(Delta("text", pieces[0], self._saying))
            else:
                self._came.append(Delta("text", "".join(pieces), self._saying, pieces=tuple(pieces)))
            self._saying = -1

    def add(self, delta: Delta) -> None:
        """Take a piece of any kind as it is. A piece of a part that has not begun begins it."""
        self._say_no_more()
        if delta.kind in {"text", "reasoning"}:
            texts = self.begin(delta.index, {"type": delta.kind})
        else:
            texts = self.begin(delta.index, {"type": "tool_use", "id": delta.id, "name": delta.name})
        if delta.text:
            texts.append(delta.text)
        self._came.append(delta)

    def came(self) -> list[Delta]:
        """What came since this was asked last."""
        self._say_no_more()
        came, self._came = self._came, []
        return came

    def mark(self, index: int, **facts: Any) -> None:
        """Add to a part what is no delta: a signature, a number for continuing."""
        self._parts[index].update(facts)

    def put(self, index: int, part: dict[str, Any]) -> None:
        """A part that came whole; it replaces what was collected of it."""
        self._say_no_more()
        self._parts[index] = part
        self._texts.pop(index, None)

    def content(self) -> list[dict[str, Any]]:
        """The parts as far as they came."""
        return list(map(self._part, sorted(self._parts)))

    def _part(self, index: int) -> dict[str, Any]:
        part, texts = self._parts[index], self._texts.get(index)
        if texts is None:
            return part
        text = "".join(texts)
        if part["type"] == "tool_use":
            return part | tool_use(part["id"], part["name"], text)
        return part | {"text": text}

    def reply(self, provider: str = "") -> ModelReply:
        """The reply. Where the provider did not say why it stopped, that is `other`; usage that it did not tell is zero."""
        return ModelReply(
            id=self.id,
            model=self.model,
            provider=provider,
            content=self.content(),
            stop_reason=self.stop_reason or "other",
            usage=self.usage or Usage(),
            cost_usd=self.cost_usd,
            created_at=self.created_at,
            logprobs=self.logprobs,
        )
