"""What differs between OpenAI and the servers that speak like it: decided once per provider."""

from __future__ import annotations

import functools
from typing import Any, Literal

import msgspec

from corral.messages import ModelCall


class OpenAIOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`options` of a provider of the kinds `openai` and `azure`."""

    api: Literal["chat", "responses"] = "chat"
    """Which of the two APIs is asked."""
    max_tokens_field: Literal["", "max_tokens", "max_completion_tokens"] = ""
    """How the chat API is told the longest answer; empty: `max_completion_tokens` at OpenAI, `max_tokens` elsewhere."""
    stream_usage: bool = True
    """Ask for the usage in streams. Off for servers that refuse `stream_options`: it is estimated then."""
    plain_text: bool = False
    """Send messages of text alone as one string, for servers that know no lists of parts."""
    reasoning_back: Literal["never", "tools", "always"] = "tools"
    """Which messages go back with their reasoning, if the server gave it: those that call tools is what DeepSeek asks for."""
    cache_markers: bool = False
    """Send `cache_control` where a part says `"cache": true`: OpenRouter's way to Anthropic's prefix cache."""
    reasoning_summary: Literal["", "auto", "concise", "detailed"] = ""
    """For the responses API: have what the model thought summed up."""
    embedding_encoding: Literal["", "float", "base64"] = ""
    """How vectors are sent; empty: `base64` at OpenAI and Azure, which is a third of the bytes, `float` elsewhere."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider is spoken to."""

    official: bool = False
    """It is OpenAI itself, or OpenAI's models at Azure: what these are known to refuse is not sent."""
    azure: bool = False
    options: OpenAIOptions = OpenAIOptions()

    def max_tokens_field(self, model: str) -> str:
        """The chat API's name for the longest answer."""
        if self.options.max_tokens_field:
            return self.options.max_tokens_field
        # Azure's older API versions know the new name for no model but those that need it.
        return "max_completion_tokens" if self.official and (not self.azure or thinks(model)) else "max_tokens"

    def samples(self, call: ModelCall) -> bool:
        """Whether the model takes temperature and its like: OpenAI's thinking ones refuse them."""
        if not self.official or not thinks(call.model):
            return True
        # From 5.1 on they can be told not to think, and take a temperature then.
        return call.model.startswith("gpt-5.") and call.reasoning in {"", "none"}


@functools.lru_cache(maxsize=512)
def thinks(model: str) -> bool:
    """Whether this is one of OpenAI's models that think before they answer, by its name."""
    if model.startswith("gpt-5"):
        return "-chat" not in model
    return model[:1] == "o" and model[1:2].isdigit()


_EFFORTS = ((0, "none"), (2_048, "low"), (8_192, "medium"))


def effort(reasoning: str) -> str:
    """How hard to think, in words: a number of tokens becomes the nearest one."""
    if not reasoning.isdecimal():
        return reasoning
    tokens = int(reasoning)
    return next((name for most, name in _EFFORTS if tokens <= most), "high")


def left_out(call: ModelCall, names: list[str]) -> None:
    """Say what the provider has no word for, or would refuse, where somebody looks for it."""
    if names:
        call.notes["left_out"] = names


def schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """A tool's JSON schema; one that takes nothing still has to be an object's."""
    return parameters or {"type": "object", "properties": {}}
