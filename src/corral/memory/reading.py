"""Documents as text: what a file says, paragraph by paragraph, and under which headings it says it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import msgspec

from corral.errors import ConfigError, PayloadTooLarge, ValidationFailed

_PAGES_MAX = 5000
_LEVELS = 6
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-+)\s*$")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_SPACES = re.compile(r"\s+")

_TYPES = {
    ".htm": "text/html",
    ".html": "text/html",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
}
MEDIA_TYPES = ("text/plain", "text/markdown", "text/html", "application/pdf")


class Block(msgspec.Struct, frozen=True):
    """A paragraph, a list, a table or a piece of code."""

    text: str
    place: str = ""
    """The headings above it, or its page."""
    start: int = 0
    """Its first character in the whole text."""


class Reading(msgspec.Struct, frozen=True):
    """A document as text."""

    blocks: list[Block]
    title: str = ""


def media_type_of(name: str) -> str:
    """What a file with this name probably is."""
    return _TYPES.get(name[name.rfind(".") :].lower(), "text/plain") if "." in name else "text/plain"


def read(data: bytes, media_type: str) -> Reading:
    """Read a document. Raises `ValidationFailed` for what is none of this kind, `ConfigError` where a package is missing."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "application/pdf":
        return _pdf(data)
    text = _decoded(data)
    readers: dict[str, Callable[[str], Reading]] = {
        "text/markdown": _markdown,
        "text/html": _html,
        "text/plain": _plain,
    }
    reader = readers.get(kind)
    if reader is None:
        raise ValidationFailed(f"Documents of the type {kind[:100]!r} cannot be read: send {', '.join(MEDIA_TYPES)}.")
    return reader(text.replace("\r\n", "\n").replace("\0", "\ufffd"))


def _decoded(data: bytes) -> str:
    """Text as most programs write it; what is not UTF-8 is taken for what Windows long wrote."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _plain(text: str) -> Reading:
    return Reading([Block(part, "", start) for start, part in _paragraphs(text)])


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*", text):
        yield found.start(), found.group().strip("\n")


class _Headings:
    """The headings above what is read now."""

    def __init__(self) -> None:
        self._names = [""] * _LEVELS
        self.title = ""

    def put(self, level: int, name: str) -> None:
        self._names[level - 1 :] = [name] + [""] * (_LEVELS - level)
        if level == 1 and not self.title:
            self.title = name

    @property
    def place(self) -> str:
        return " > ".join(name for name in self._names if name)


def _markdown(text: str) -> Reading:
    headings = _Headings()
    front = _FRONT.match(text)
    titled = _TITLE.search(front.group(1)) if front else None
    blocks: list[Block] = []
    lines: list[str] = []
    first = at = front.end() if front else 0
    fence = ""

    def end() -> None:
        if any(line.strip() for line in lines):
            blocks.append(Block("\n".join(lines).strip("\n"), headings.place, first))
        lines.clear()

    for line in text[at:].split("\n"):
        fenced, heading = _FENCE.match(line), _HEADING.match(line)
        if fence:
            lines.append(line)
            if fenced and fenced.group(1).startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif fenced:
            fence = fenced.group(1)
            lines.append(line)
        elif heading:
            end()
            headings.put(len(heading.group(1)), heading.group(2))
        elif lines and (under := _UNDERLINE.match(line)) and len(lines) == 1 and not lines[0].lstrip().startswith("|"):
            headings.put(1 if under.group(1)[0] == "=" else 2, lines.pop().strip())
        elif not line.strip():
            end()
        else:
            first = first if lines else at
            lines.append(line)
        at += len(line) + 1
        first = first if lines else at
    end()
    return Reading(blocks, titled.group(1) if titled else headings.title)


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


class _Page(HTMLParser):
    """Gathers what a page shows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.headings = _Headings()
        self.title = ""
        self._silent = 0
        self._level = 0
        self._verbatim = 0
        self._in_title = False
        self._lines: list[str] = [""]
        self._at = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
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


def _html(text: str) -> Reading:
    page = _Page()
    page.feed(text)
    page.close()
    page.end()
    return Reading(page.blocks, _SPACES.sub(" ", page.title).strip() or page.headings.title)


def _pdf(data: bytes) -> Reading:
    try:
        from pypdf import PdfReader  # noqa: PLC0415 - an extra, loaded where it is used
        from pypdf.errors import PyPdfError  # noqa: PLC0415 - as above
    except ModuleNotFoundError:
        raise ConfigError("Reading PDF files needs one more package: pip install 'corral[documents]'") from None
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValidationFailed("This PDF is locked by a password: send one that is not.")
        if len(reader.pages) > _PAGES_MAX:
            raise PayloadTooLarge(f"This PDF has {len(reader.pages)} pages, and at most {_PAGES_MAX} are read.")
        title = str((reader.metadata.title if reader.metadata else "") or "")
        blocks: list[Block] = []
        at = 0
        for number, page in enumerate(reader.pages, 1):
            text = page.extract_text().replace("\0", "").encode(errors="replace").decode()
            blocks += [Block(part, f"page {number}", at + start) for start, part in _paragraphs(text)]
            at += len(text) + 1
    except (PyPdfError, ValueError, KeyError, RecursionError) as error:
        raise ValidationFailed(f"This PDF cannot be read: {error}.") from None
    if not blocks:
        raise ValidationFailed("This PDF has no text in it: pictures of pages are not read.")
    return Reading(blocks, title)
