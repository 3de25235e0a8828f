"""Documents as text: what a file says, paragraph by paragraph, and under which headings it says it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

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


class Headings:
    """The headings above what is read now."""

    def __init__(self) -> None:
        self._names = [""] * _LEVELS
        self.title = ""

    def put(self, level: int, name: str) -> None:
        """There is a new one, which ends those below it."""
        self._names[level - 1 :] = [name] + [""] * (_LEVELS - level)
        if level == 1 and not self.title:
            self.title = name

    @property
    def place(self) -> str:
        """All of them, the widest first."""
        return " > ".join(name for name in self._names if name)


def _markdown(text: str) -> Reading:
    headings = Headings()
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


def _html(text: str) -> Reading:
    from corral.memory.html_page import HtmlPage  # noqa: PLC0415 - it needs Python's parser, and the names of 2,000 characters

    page = HtmlPage()
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
