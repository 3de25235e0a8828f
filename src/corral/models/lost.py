"""What is said of models that lead nowhere: what was probably meant, or what is missing for it to be asked here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from corral.settings.model_sections import ProviderSettings

_SHOWN_MAX = 12
_ALIKE = 0.6
_SIM = "sim"
_KEYS = {
    "openai": "`api_key` or OPENAI_API_KEY",
    "azure": "`base_url`, and `api_key` or AZURE_OPENAI_API_KEY",
    "anthropic": "`api_key` or ANTHROPIC_API_KEY",
    "bedrock": "`region`, and credentials of AWS",
}
"""What each kind of provider has to be given."""
_SPELLED = {
    "openai": re.compile(r"(chat)?gpt-(?!oss)|o[134](-|$)|text-embedding-(3|ada)"),
    "anthropic": re.compile(r"claude-"),
    "bedrock": re.compile(r"((us|eu|apac|global)\.)?(anthropic|amazon|meta|cohere)\."),
}
"""How models are called that are somebody's for certain."""


def nearest(wrong: str, known: Iterable[str], what: str) -> str:
    """`Did you mean 'x'? Classes: …`, for messages of errors; `what` they are, as a word."""
    return _nearest(wrong, {name: name for name in known}, what)


def unknown_model(model: str, names: Iterable[str], providers: Mapping[str, ProviderSettings]) -> str:
    """Of a model that was named without its provider, and is not one of the `names`."""
    if model in providers or model == _SIM:
        return f"{model!r} is a provider: say which of its models to ask, as `{model}/MODEL`."
    listing = [name for name, one in providers.items() if model in one.models]
    if listing:
        there = " or ".join(f"`{name}/{model}`" for name in listing)
        return f"{model!r} is not one of `models.names`: write {there}."
    listed = {own: f"{name}/{own}" for name, one in providers.items() for own in one.models}
    known = listed | {name: name for name in names}
    kind = next((kind for kind, spelled in _SPELLED.items() if spelled.match(model)), "")
    if not kind or _closest(model, known):
        return (
            f"There is no model {model!r}: write `provider/model`, or give it a name in `models.names`. "
            f"{_nearest(model, known, 'Names')}"
        )
    likely = next((name for name, one in providers.items() if one.kind == kind), "")
    if likely:
        return f"{model!r} is not one of `models.names`: write `{likely}/{model}` to ask that provider for it."
    return (
        f"There is no model {model!r} here: it is one of {kind!r}, and no such provider is set up. {_set_up(kind)}, and ask for "
        f"`{kind}/{model}`; or give another model that name in `models.names`."
    )


def unknown_provider(provider: str, known: Iterable[str]) -> str:
    """Of a provider that is not there."""
    if provider in _KEYS:
        return f"There is no provider {provider!r} here: it is not set up. {_set_up(provider)}. {_there(known, 'Providers')}"
    return f"There is no provider {provider!r}. {nearest(provider, known, 'Providers')}"


def _set_up(kind: str) -> str:
    return f"Add `models.providers.{kind}` (`kind: {kind}`, with {_KEYS[kind]})"


def _nearest(wrong: str, known: Mapping[str, str], what: str) -> str:
    """`known`: what might have been typed, and how it is written in full."""
    close, there = _closest(wrong, known), _there(known.values(), what)
    return f"Did you mean {known[close]!r}? {there}" if close else there


def _closest(wrong: str, known: Mapping[str, str]) -> str:
    """Never what was typed: that it is not that, is what is being said."""
    return next(iter(difflib.get_close_matches(wrong, sorted(set(known) - {wrong}), 1, _ALIKE)), "")


def _there(known: Iterable[str], what: str) -> str:
    names = sorted(set(known))
    shown = ", ".join(names[:_SHOWN_MAX]) + (", …" if len(names) > _SHOWN_MAX else "")
    return f"{what}: {shown or 'none'}."
