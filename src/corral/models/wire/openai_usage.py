"""Tokens as OpenAI and others report them, in kinds that never overlap."""

from __future__ import annotations

import msgspec

from corral.messages import Usage


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageJson(msgspec.Struct, frozen=True):
    """The usage of both APIs: `prompt_tokens` or `input_tokens`, `completion_tokens` or `output_tokens`."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: float | None = None
    """In dollars: OpenRouter says it."""

    def split(self) -> Usage | None:
        """In our kinds; none: nothing was said."""
        read = self.prompt_tokens if self.prompt_tokens is not None else self.input_tokens
        if read is None:
            return None
        written = (self.completion_tokens if self.completion_tokens is not None else self.output_tokens) or 0
        details = self.prompt_tokens_details or self.input_tokens_details or _NONE
        thought = (self.completion_tokens_details or self.output_tokens_details or _NONE).reasoning_tokens or 0
        if thought and self.total_tokens != read + written + thought:
            # Most count thinking among what was written; those that do not say so by their total.
            thought = min(thought, written)
            written -= thought
        cached = details.cached_tokens or self.prompt_cache_hit_tokens or 0
        kept = details.cache_write_tokens or 0
        if not (thought or cached or kept):
            return Usage(input=read, output=written)
        cached = min(cached, read)
        kept = min(kept, read - cached)
        return Usage(input=read - cached - kept, cache_read=cached, cache_write=kept, output=written, reasoning=thought)


_NONE = _Details()
