"""A page of HTML as paragraphs under headings."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from corral.memory.reading import Block, Headings

_SPACES = re.compile(r"\s+")
_SILENT = frozenset({"head", "script", "style", "template", "noscript", "svg", "iframe", "object"})
_BREAKS = frozenset(
    tag
    for line in (
        "address article aside blockquote br center dd details dialog div dl dt fieldset figcaption figure footer form",
        "h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table td th tr ul",
    )
    for tag in line.split()
)
_INSIDE = frozenset({"br", "td", "th", "li", "tr", "dt", "dd"})
"""These break a line, not a paragraph."""


class HtmlPage(HTMLParser):
    """Gathers what a page shows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.headings = Headings()
        self.title = ""
        self._silent = 0
        self._level = 0
        self._verbatim = 0
        self._in_title = False
        self._lines: list[str] = [""]
        self._at = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Something begins: a paragraph, a heading, what is not shown."""
        del attrs
        if tag == "title":
            self._in_title = True
        elif tag in _SILENT:
            self._silent += 1
        elif tag in _BREAKS:
            self._break(tag)
            if tag[0] == "h" and tag[1:].isdigit():
                self._level = int(tag[1:])
            if tag == "li":
                self._lines[-1] = "- "
            if tag == "pre":
                self._verbatim += 1

    def handle_endtag(self, tag: str) -> None:
        """It is over."""
        if tag == "title":
            self._in_title = False
        elif tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BREAKS:
            if self._level and tag == f"h{self._level}":
                heading = _SPACES.sub(" ", " ".join(self._lines)).strip()
                self._lines, self._level = [""], 0
                if heading:
                    self.headings.put(int(tag[1:]), heading)
                return
            self._break(tag)
            if tag == "pre":
                self._verbatim = max(0, self._verbatim - 1)

    def handle_data(self, data: str) -> None:
        """What is said in it."""
        if self._in_title:
            self.title += data
        elif not self._silent and self._verbatim:
            first, *more = data.split("\n")
            self._lines[-1] += first
            self._lines += more
        elif not self._silent:
            said = _SPACES.sub(" ", data)
            self._lines[-1] += said.lstrip() if not self._lines[-1] or self._lines[-1].endswith(" ") else said

    def _break(self, tag: str) -> None:
        if tag in _INSIDE:
            if self._lines[-1].strip():
                self._lines.append("")
            return
        self.end()

    def end(self) -> None:
        """A paragraph is over."""
        text = "\n".join(line.rstrip() for line in self._lines if line.strip() and line.strip() != "-")
        self._lines = [""]
        if text:
            self.blocks.append(Block(text, self.headings.place, self._at))
            self._at += len(text) + 2
