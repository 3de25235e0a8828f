"""What an answer can be held against: the results of the run's tools; and checks by code, which cost nothing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import msgspec

from corral.agents.event import AgentEvent, ToolFinished, ToolStarted

_KEPT_MAX = 200
"""Results of tools that are looked at; of more, the newest."""
_TEXT_MAX = 100_000
"""Characters of each."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of a tool brought."""

    tool: str
    call: str = ""
    text: str = ""
    error: str = ""


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """Something in an answer that nothing supports."""

    claim: str
    why: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An answer before it is given, and what it can be held against."""

    question: str
    answer: str
    findings: Sequence[Finding] = ()
    known: Sequence[str] = ()
    """Texts that are true anyway."""

    @property
    def sources(self) -> list[str]:
        """Every text that may support it."""
        found = [finding.text for finding in self.findings if not finding.error]
        return [self.question, *self.known, *found]


Check: TypeAlias = Callable[[Draft], Sequence[Objection] | Awaitable[Sequence[Objection]]]
"""Looks at a draft; returns what is wrong with it."""


class Evidence:
    """Gathers the results of tools while a run's events go by."""

    def __init__(self) -> None:
        """Of a run that has not begun."""
        self._inputs: dict[str, str] = {}
        self._findings: list[Finding] = []

    def heard(self, event: AgentEvent) -> None:
        """An event of the run."""
        if isinstance(event, ToolStarted):
            self._inputs[event.id] = msgspec.json.encode(event.input).decode()[:_TEXT_MAX]
        elif isinstance(event, ToolFinished):
            text = "\n".join(_text(part) for part in event.content)[:_TEXT_MAX]
            asked = self._inputs.pop(event.id, "")
            # What was asked of a tool supports nothing if the tool failed, and belongs to the result if it did not.
            whole = text if event.error else f"{asked}\n{text}"
            self._findings.append(Finding(tool=event.name, call=event.id, text=whole, error=event.error))
            del self._findings[:-_KEPT_MAX]

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, the oldest first."""
        return list(self._findings)


def _text(part: dict[str, Any]) -> str:
    if part.get("type") == "text":
        return str(part.get("text", ""))
    return msgspec.json.encode(part.get("json", part)).decode()


# -- numbers -----------------------------------------------------------------------------------------------------------

_EXACT = re.compile(
    r"https?://[^\s<>\"')\]]+"  # addresses
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?\b"  # days and times
    r"|\b\d{1,2}:\d\d(?::\d\d)?\b"
    r"|\b[vV]?\d+\.\d+\.\d+[\w.+-]*\b"  # versions
    r"|\b(?=[\w/-]*[A-Za-z])(?=[\w/-]*\d)[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)+\b"  # ORD-1234, i-0abc, eu-west-1
    r"|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b"  # hashes
)
_NUMBER = re.compile(r"(?<![\w.,])[-\N{MINUS SIGN}]?\d+(?:[,'\N{NARROW NO-BREAK SPACE}]\d{3})*(?:\.\d+)?(?![\w]*\d)")
_MARKER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_PAIRS_MAX = 60
"""Numbers of the sources that are put together with each other: all of more would support anything."""
_PERCENT = Decimal(100)
_WORDS = (0, 1, 2)


def unsupported_numbers(draft: Draft) -> list[Objection]:
    """Numbers of the answer that stand in no source, and that none of them make: by rounding, adding, or as a share.

    0, 1 and 2 are words rather than numbers, and pass; so do the lengths of lists that a tool returned.
    """
    sources = draft.sources
    known = {number for text in sources for number in _numbers(text)} | set(_lengths(sources))
    derived: set[Decimal] | None = None
    found = []
    for number in dict.fromkeys(_numbers(_MARKER.sub("", draft.answer))):
        if abs(number) in _WORDS or _stands(number, known):
            continue
        derived = _derived(known) if derived is None else derived
        if not _stands(number, derived):
            found.append(
                Objection(claim=f"{number:f}", why="No tool said this number, and it does not follow from one.")
            )
    return found


def _numbers(text: str) -> Iterator[Decimal]:
    for match in _NUMBER.finditer(_EXACT.sub(" ", text)):
        plain = re.sub(r"[,'\N{NARROW NO-BREAK SPACE}]", "", match[0]).replace("\N{MINUS SIGN}", "-")
        try:
            yield Decimal(plain)
        except InvalidOperation:
            continue


def _stands(number: Decimal, known: Iterable[Decimal]) -> bool:
    """Whether one of these is the number, or is said by it in fewer digits."""
    exponent = number.as_tuple().exponent
    grain = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    return any(number in (one, abs(one)) or abs(abs(one) - abs(number)) * 2 <= grain for one in known)


def _derived(known: set[Decimal]) -> set[Decimal]:
    some = sorted(known, key=abs)[-_PAIRS_MAX:]
    found = {sum(some, Decimal(0))}
    for one, other in itertools.permutations(some, 2):
        found |= {one + other, one - other}
        if other:
            share = one / other
            found |= {share, share * _PERCENT, (share - 1) * _PERCENT}
    return found


def _lengths(texts: Iterable[str]) -> Iterator[Decimal]:
    """How many there are in each list of a JSON text."""
    for text in texts:
        for line in (text, *text.split("\n", 1)[1:]):
            if line.lstrip()[:1] in ("[", "{"):
                try:
                    yield from _lists(msgspec.json.decode(line))
                except msgspec.DecodeError:
                    continue


def _lists(value: Any) -> Iterator[Decimal]:
    if isinstance(value, list):
        yield Decimal(len(value))
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _lists(one)


# -- names -------------------------------------------------------------------------------------------------------------


def unsupported_names(draft: Draft) -> list[Objection]:
    """Ids, addresses, days, versions and hashes of the answer that stand in no source: what models make up most readily."""
    known = "\n".join(draft.sources).lower()
    names = dict.fromkeys(match[0].rstrip(".,;:!?") for match in _EXACT.finditer(draft.answer))
    return [
        Objection(claim=name, why="This stands in no result of a tool.") for name in names if name.lower() not in known
    ]
