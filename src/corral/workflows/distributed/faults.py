"""What goes wrong with items and results, in words that the state's cause repeats."""

from __future__ import annotations


class ObjectFailed(Exception):
    """An object could not be listed, read or written."""


class ItemsFailed(Exception):
    """What was read is not what the state says it is, or more than the house takes."""
