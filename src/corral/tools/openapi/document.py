"""An OpenAPI document: read, bounded, and its references followed."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from corral.errors import ConfigError

DOCUMENT_BYTES_MAX = 10 * 1024 * 1024
_DEPTH_MAX = 24
_NODES_MAX = 20_000
_VERSIONS = ("3.0", "3.1", "3.2")
_HIDDEN = frozenset({"example", "examples", "xml", "externalDocs", "discriminator", "x-internal"})
"""What a model does not need to know of a schema."""


class Document:
    """One document, and where it came from."""

    def __init__(self, name: str, content: Any, *, place: str) -> None:
        """Raises `ConfigError` for what is no OpenAPI 3 document."""
        self.name = name
        self.place = place
        if not isinstance(content, dict) or not str(content.get("openapi", "")).startswith(_VERSIONS):
            said = content.get("swagger") if isinstance(content, dict) else None
            older = f" It says swagger {said}: convert it to OpenAPI 3 first." if said else ""
            raise ConfigError(f"{place} (`tools.openapi.{name}.document`) is no OpenAPI 3 document.{older}")
        self.content: dict[str, Any] = content

    @classmethod
    def read(cls, name: str, body: bytes, *, place: str) -> Document:
        """Out of JSON or YAML. Raises `ConfigError`."""
        if len(body) > DOCUMENT_BYTES_MAX:
            raise ConfigError(f"{place} has more than {DOCUMENT_BYTES_MAX} bytes.")
        return cls(name, _parsed(body, place), place=place)

    def base_url(self) -> str:
        """The first of its servers, with its variables at their defaults; relative ones are seen from where it was read."""
        servers = self.content.get("servers")
        first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
        url = str(first.get("url", ""))
        variables = first.get("variables")
        for key, variable in (variables if isinstance(variables, dict) else {}).items():
            if isinstance(variable, dict):
                url = url.replace(f"{{{key}}}", str(variable.get("default", "")))
        if self.is_remote:
            url = urljoin(self.place, url)
        if urlsplit(url).scheme not in {"http", "https"} or "{" in url:
            raise ConfigError(f"{self.place} does not say where the API is: set `tools.openapi.{self.name}.base_url`.")
        return url.rstrip("/")

    @property
    def is_remote(self) -> bool:
        """It was not read from a file."""
        return self.place.startswith(("http://", "https://"))

    def followed(self, value: Any) -> dict[str, Any]:
        """The object itself, where `value` only refers to it; an empty one where there is none."""
        for _ in range(_DEPTH_MAX):
            if not isinstance(value, dict):
                return {}
            if "$ref" not in value:
                return value
            value = self._at(value["$ref"])
        raise ConfigError(f"{self.place}: references lead in a circle.")

    def schema(self, value: Any) -> dict[str, Any]:
        """A schema without references, as models are told it. One that holds itself ends where it would begin again."""
        inlined = self._inlined(value, (), [_NODES_MAX])
        return inlined if isinstance(inlined, dict) else {}

    def _inlined(self, value: Any, inside: tuple[str, ...], left: list[int]) -> Any:
        left[0] -= 1
        if left[0] < 0 or len(inside) > _DEPTH_MAX:
            return {}
        if isinstance(value, list):
            return [self._inlined(one, inside, left) for one in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            if reference in inside:
                return {}
            more = {key: one for key, one in value.items() if key == "description"}
            found = self._inlined(self._at(reference), (*inside, reference), left)
            return {**found, **more} if isinstance(found, dict) else {}
        kept = {key: self._inlined(one, inside, left) for key, one in value.items() if key not in _HIDDEN}
        if kept.pop("nullable", False) and isinstance(kept.get("type"), str):  # OpenAPI 3.0's word for it
            kept["type"] = [kept["type"], "null"]
        return kept

    def _at(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise ConfigError(
                f"{self.place} refers to {str(reference)[:200]!r}, which is another file: bundle them into one document first."
            )
        value: Any = self.content
        for step in reference[2:].split("/"):
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if not isinstance(value, dict) or key not in value:
                raise ConfigError(f"{self.place} refers to {reference[:200]!r}, and there is no such thing.")
            value = value[key]
        return value


def _parsed(body: bytes, place: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        import yaml  # noqa: PLC0415 - JSON is as common

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            return yaml.load(body, Loader=loader)  # noqa: S506 - both are safe loaders
        except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{place} is neither JSON nor YAML: {str(error)[:300]}") from None
