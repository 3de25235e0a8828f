"""A page of HTML as text: what a person would read, with its links, and nothing that hides."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "head", "iframe", "object", "canvas"})
_BLOCKS = frozenset(
    {
        *(
            "p",
            "div",
            "section",
            "article",
            "header",
            "footer",
            "main",
            "aside",
            "nav",
            "ul",
            "ol",
            "table",
            "tr",
            "pre",
        ),
        *("blockquote", "br", "hr", "form", "figure", "dl", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "li"),
    }
)
_VOID = frozenset(
    {"br", "hr", "img", "input", "link", "meta", "source", "wbr", "area", "base", "col", "embed", "track"}
)
_HEADINGS = {f"h{n}": "#" * n for n in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\f\v\xa0]+")
_WHITE = re.compile(r"\s+")
_GAPS = re.compile(r"\n[ \t]*\n\s*")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


class _Reader(HTMLParser):
    """Collects text. What a person would not see (hidden parts, comments, scripts) is not read either: that is where traps lie."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.parts: list[str] = []
        self._silent: list[str] = []
        self._in_title = False
        self._as_written = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = self._in_title or tag == "title"
        said = dict(attrs)
        hidden = "hidden" in said or said.get("aria-hidden") == "true" or _HIDDEN.search(said.get("style") or "")
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.append(tag)
            return
        if (tag in _SILENT or hidden) and tag not in _VOID:
            self._silent.append(tag)
            return
        self._as_written = self._as_written or tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n\n" if tag in _HEADINGS or tag == "p" else "\n")
        if tag in _HEADINGS:
            self.parts.append(f"{_HEADINGS[tag]} ")
        elif tag == "li":
            self.parts.append("- ")
        elif tag in {"td", "th"}:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
            return
        self._as_written = self._as_written and tag != "pre"
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self.parts.append(data if self._as_written else _WHITE.sub(" ", data))


def page_text(html: str) -> tuple[str, str]:
    """The page's title, and its text."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = _SPACE.sub(" ", "".join(reader.parts))
    text = "\n".join(line.strip() for line in text.split("\n"))
    return _WHITE.sub(" ", reader.title).strip(), _GAPS.sub("\n\n", text).strip()
