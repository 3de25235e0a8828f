"""What models cost: a table with a date, and an operator's own prices over it. What is not in it has no price, never 0."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta

from corral.errors import ConfigError
from corral.messages import Usage
from corral.settings.model_sections import ProviderSettings

_FILE = Path(__file__).with_name("prices.json")
_PER = 1_000_000

Dollars = Annotated[float, Meta(ge=0)]
"""US dollars per million tokens."""
Tokens = Annotated[int, Meta(ge=1)]

BATCH_PRICE = 0.5
"""Of the usual price, in the batches of OpenAI and Anthropic, where a table does not say."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a million tokens of each kind cost, for calls that read more than so many."""

    tokens: Annotated[int, Meta(ge=0)] = 0
    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    """None: as input."""
    cache_write: Dollars | None = None
    """None: as input."""
    reasoning: Dollars | None = None
    """None: as output."""

    def cost(self, usage: Usage) -> float:
        """Of all tokens of a call."""
        into, out = self.input, self.output
        return (
            usage.input * into
            + usage.cache_read * (into if self.cache_read is None else self.cache_read)
            + usage.cache_write * (into if self.cache_write is None else self.cache_write)
            + usage.output * out
            + usage.reasoning * (out if self.reasoning is None else self.reasoning)
        ) / _PER


class Price(Rates, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One model in one place."""

    id: str
    """As the place names it; in a file of one's own also `provider/model`."""
    host: str = ""
    """Where: `openai`, `aws`, `openrouter`; empty: wherever it is called that."""
    names: tuple[str, ...] = ()
    """Other names for it there."""
    above: tuple[Rates, ...] = ()
    """What the whole call costs when it reads more, in order."""
    batch: Annotated[float, Meta(ge=0, le=1)] | None = None
    """What is left of the price in the provider's batch API; none: it has none, or none is known."""
    context_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    as_of: str = ""
    """When this was so; empty: the date of the table."""

    def rates_for(self, usage: Usage) -> Rates:
        """Long calls may cost more."""
        rates: Rates = self
        for step in self.above:
            if usage.input_tokens > step.tokens:
                rates = step
        return rates


class PriceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table as it lies on disk."""

    version: str
    """Its date; written into the ledger with each cost."""
    models: tuple[Price, ...]
    note: str = ""
    sources: dict[str, str] = {}
    """Where the prices of each host are published."""


class PriceTable:
    """Finds the price of `provider/model`. Looking one up a second time costs a dictionary."""

    def __init__(self, files: Iterable[PriceFile], *, hosts: Mapping[str, str] | None = None) -> None:
        """The first file that knows a model counts. `hosts`: which place a provider of the settings is (`hosts_of`)."""
        self.files = list(files)
        self.version = "+".join(file.version for file in self.files)
        self.sources = {host: url for file in reversed(self.files) for host, url in file.sources.items()}
        self._hosts = dict(hosts or {})
        self._tables: list[dict[tuple[str, str], Price]] = [
            {(price.host, name.lower()): price for price in file.models for name in (price.id, *price.names)}
            for file in self.files
        ]
        self.of = functools.lru_cache(maxsize=4_096)(self._of)

    def __iter__(self) -> Any:
        """All prices, one's own first; what they stand over is left out."""
        seen: set[tuple[str, str]] = set()
        for file in self.files:
            for price in file.models:
                if (price.host, price.id) not in seen:
                    seen.add((price.host, price.id))
                    yield price

    def cost_of(self, model: str, usage: Usage, *, batch: bool = False) -> float | None:
        """What so many tokens of `provider/model` cost in US dollars; none: no price is known."""
        price = self.of(model)
        if price is None:
            return None
        cost = price.rates_for(usage).cost(usage)
        return cost * price.batch if batch and price.batch is not None else cost

    def _of(self, model: str) -> Price | None:
        """The price of `provider/model`, by its name there, without what only says which date or region it is."""
        provider, slash, own = model.lower().partition("/")
        if not slash:
            provider, own = "", model.lower()
        host = self._hosts.get(provider, _HOSTS.get(provider, provider))
        places = [("", model.lower()), *((place, name) for name in _names(own) for place in (host, ""))]
        if host in _RESELLERS and "/" in own:
            vendor, _, theirs = own.partition("/")
            places += [(_VENDORS.get(vendor, vendor), name) for name in _names(theirs)]
        for table in self._tables:
            for place in places:
                if place in table:
                    return table[place]
        return None


_HOSTS = {
    "bedrock": "aws",
    "azure": "openai",
    "gemini": "google",
    "vertex": "google",
    "xai": "x-ai",
    "moonshot": "moonshotai",
}
"""What people call their providers."""
_RESELLERS = {"openrouter"}
"""Who sells closed models for the price of who made them, as `vendor/model`."""
_VENDORS = {"mistralai": "mistral", "x-ai": "x-ai", "z-ai": "zai"}
_BY_ADDRESS = {
    "api.openai.com": "openai",
    "openrouter.ai": "openrouter",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x-ai",
    "api.cerebras.ai": "cerebras",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.z.ai": "zai",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google",
    "api.anthropic.com": "anthropic",
}
_BY_KIND = {"openai": "openai", "azure": "openai", "anthropic": "anthropic", "bedrock": "aws", "sim": "sim"}


def hosts_of(providers: Mapping[str, ProviderSettings]) -> dict[str, str]:
    """Which place each provider is. A server of one's own is none: what it runs costs nothing by the token."""
    return {name.lower(): _host_of(one) for name, one in providers.items()}


def _host_of(one: ProviderSettings) -> str:
    address = urlsplit(one.base_url).hostname or ""
    if not address or one.kind in {"azure", "bedrock"}:
        return _BY_KIND[one.kind]
    for known, host in _BY_ADDRESS.items():
        if address == known or address.endswith(("." + known, "-" + known)):
            return host
    return "own:" + address


_REGION = re.compile(r"^(?:us|eu|apac|jp|au|ca|in|sa|us-gov|global)\.(?=[a-z0-9-]+\.)")
_DATE = re.compile(r"[-@](?:20\d{6}|20\d{2}-\d{2}-\d{2})(?=$|-v\d|:)")
_REVISION = re.compile(r"(?:-v\d+)?(?::\d+(?::\d+k)?)?$")


def _names(own: str) -> list[str]:
    """What a model may be called in the table, the most exact name first."""
    if own.startswith("arn:"):
        own = own.rsplit("/", 1)[-1]
    names = [own]
    anywhere = _REGION.sub("", own)
    names.append(anywhere)
    undated = _DATE.sub("", anywhere)
    names += [undated, undated.removesuffix("-latest")]
    if "." in anywhere:
        names += [_REVISION.sub("", own), _REVISION.sub("", anywhere)]
    return list(dict.fromkeys(names))


# -- files ------------------------------------------------------------------------------------------------------------


@functools.cache
def shipped() -> PriceFile:
    """The table that comes along."""
    return msgspec.json.decode(_FILE.read_bytes(), type=PriceFile)


def read_prices(path: Path) -> PriceFile:
    """A table of one's own, JSON or YAML, of the same shape. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The prices in {path} cannot be read: {error} (setting `models.prices`).") from error
    return prices_of(text, str(path))


def prices_of(text: str, where: str) -> PriceFile:
    """A table that was read or fetched from somewhere. Raises `ConfigError`."""
    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        return msgspec.convert(raw, PriceFile)
    except (ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"The prices in {where} cannot be used: {error}. A table looks like this: "
            '{"version": "2026-11-21", "models": [{"id": "my/model", "input": 0.5, "output": 1.5}]}, '
            "in US dollars per million tokens."
        ) from error


def write_prices(path: Path, prices: PriceFile) -> None:
    """Keep a table, as `read_prices` reads it, so that nobody ever sees half of it."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(prices), indent=1) + b"\n")
    draft.replace(path)


def price_table(own: str = "", *, hosts: Mapping[str, str] | None = None, more: Iterable[PriceFile] = ()) -> PriceTable:
    """The prices of the settings: the file `own` (`models.prices`) over the table that comes along, and that over `more`."""
    files = [read_prices(Path(own).expanduser())] if own else []
    return PriceTable([*files, shipped(), *more], hosts=hosts)
