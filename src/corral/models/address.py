"""Where a provider is asked: looked at when settings are read, and not by the first call."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from corral.errors import ConfigError


def address(given: str, *, where: str, such_as: str) -> SplitResult:
    """The parts of a `base_url`. Raises `ConfigError` naming the setting (`where`) if nothing can be asked there."""
    try:
        parts = urlsplit(given)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ConfigError(f"`{where}` has to be an address such as {such_as}, without `?` or `#`.")
    return parts
