"""Text within XML and HTML. The standard library's own ways to this load an HTTP client, and the names of 2,000 characters."""

from __future__ import annotations


def escape(text: str) -> str:
    """What stands between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_quoted(text: str) -> str:
    """The same, and what stands between quotes."""
    return escape(text).replace('"', "&quot;").replace("'", "&#x27;")
