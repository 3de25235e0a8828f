"""How an address is written."""

from __future__ import annotations


def url_of(host: str, port: int) -> str:
    """An address as a URL."""
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
