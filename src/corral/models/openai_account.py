"""Where an OpenAI-like provider is, how it is spoken to, and with which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from corral.errors import ConfigError
from corral.models.address import address
from corral.models.wire.openai_dialect import Dialect, OpenAIOptions
from corral.settings.model_sections import ProviderSettings

OPENAI_URL = "https://api.openai.com/v1"
_OPENAI_HOST = "api.openai.com"
_KEY_MIN = 8
_HARMLESS = frozenset({"api-version", "content-type", "http-referer", "x-title"})


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, worked out once."""

    base: str
    query: str
    """`?…`, or empty."""
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    """Never to be shown, whatever the provider answers."""
    dialect: Dialect
    deployments: bool = False
    """Azure's older addresses: the model stands in the path."""

    def url(self, what: str, model: str) -> str:
        """Where to ask for `chat/completions`, `responses`, `embeddings` or `models`."""
        if self.deployments and what not in {"models", "responses"}:
            return f"{self.base}/openai/deployments/{quote(model, safe='')}/{what}{self.query}"
        return f"{self.base}{'/openai' if self.deployments else ''}/{what}{self.query}"


def account(name: str, settings: ProviderSettings, env: Mapping[str, str]) -> Account:
    """The account that the settings describe. Raises `ConfigError` naming the setting that is missing or wrong."""
    at = f"models.providers.{name}"
    azure = settings.kind == "azure"
    usual = env.get("AZURE_OPENAI_ENDPOINT", "") if azure else env.get("OPENAI_BASE_URL") or OPENAI_URL
    base = (settings.base_url or usual).rstrip("/")
    if not base:
        raise ConfigError(f"Set `{at}.base_url`, such as https://NAME.openai.azure.com (or AZURE_OPENAI_ENDPOINT).")
    parts = address(base, where=f"{at}.base_url", such_as=OPENAI_URL)
    query = dict(settings.query)
    deployments = azure and not parts.path.endswith("/openai/v1") and "/deployments/" not in parts.path
    if azure and not parts.path.endswith("/v1") and "api-version" not in query:
        version = env.get("OPENAI_API_VERSION", "")
        if not version:
            raise ConfigError(
                f"Set `{at}.query: {{api-version: …}}` (or OPENAI_API_VERSION), or a `base_url` that ends with /openai/v1."
            )
        query["api-version"] = version
    if deployments:
        base = base.removesuffix("/openai")
    official = azure or parts.hostname == _OPENAI_HOST
    return Account(
        base=base,
        query=f"?{urlencode(query)}" if query else "",
        headers=_headers(at, settings, _key(at, settings, env, parts.hostname or "")),
        secrets=_secrets(settings, env, query),
        dialect=Dialect(official=official, azure=azure, options=_options(at, settings.options)),
        deployments=deployments,
    )


def _key(at: str, settings: ProviderSettings, env: Mapping[str, str], host: str) -> str:
    """The key. One from the environment goes to the place it is meant for, and to no other server that settings name."""
    azure = settings.kind == "azure"
    variable = "AZURE_OPENAI_API_KEY" if azure else "OPENAI_API_KEY"
    meant = azure or host == _OPENAI_HOST or not settings.base_url
    key = settings.api_key or (env.get(variable, "") if meant else "")
    given = {header.lower() for header in settings.headers}
    if not key and (azure or host == _OPENAI_HOST) and not given & {"authorization", "api-key"}:
        raise ConfigError(f"Set `{at}.api_key: ${{{variable}}}`, or that variable itself: there is no key to ask with.")
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"`{at}.api_key` has signs that no key has: was it copied whole, and alone?")
    return key


def _headers(at: str, settings: ProviderSettings, key: str) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if key and settings.kind == "azure":
        headers["api-key"] = key
    elif key:
        headers["authorization"] = f"Bearer {key}"
    for name, value in settings.headers.items():
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"`{at}.headers.{name}` can hold plain characters only.")
        headers[name.lower()] = value
    return headers


def _secrets(settings: ProviderSettings, env: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, ...]:
    known = [settings.api_key.strip(), env.get("OPENAI_API_KEY", ""), env.get("AZURE_OPENAI_API_KEY", "")]
    for name, value in (*settings.headers.items(), *query.items()):
        if name.lower() not in _HARMLESS:
            known += [value, value.removeprefix("Bearer ")]
    return tuple(sorted({secret for secret in known if len(secret) >= _KEY_MIN}, key=len, reverse=True))


def _options(at: str, given: dict[str, Any]) -> OpenAIOptions:
    try:
        return msgspec.convert(given, OpenAIOptions)
    except msgspec.ValidationError as error:
        there = ", ".join(OpenAIOptions.__struct_fields__)
        raise ConfigError(f"`{at}.options`: {error}. There are: {there}.") from None
