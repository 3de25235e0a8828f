"""Goes through a text once, from left to right: what readers of paths and of calls have in common."""

from __future__ import annotations

import re

SPACE = re.compile(r"\s*")


class TextReader:
    """A text, and how far it was read."""

    def __init__(self, text: str) -> None:
        """At its beginning."""
        self.text = text
        self.at = 0

    def take(self, form: re.Pattern[str]) -> re.Match[str] | None:
        """What stands here in this form, and go on behind it; none: something else does."""
        found = form.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def token(self, literal: str) -> bool:
        """Go on behind these characters, and behind space before them, if they are next."""
        self.take(SPACE)
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False
