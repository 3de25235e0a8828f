"""Workflows that come with an app: files in a folder beside its settings, and those that its code builds.

A file is `NAME.asl.json` or `NAME.asl.yaml`; `NAME.express.asl.yaml` is one whose executions are EXPRESS. They are created when the
app starts, or changed where they say something else than before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from corral.errors import ConfigError
from corral.workflows.arns import NAME_MAX, is_name
from corral.workflows.language.checking import faults
from corral.workflows.language.document import document_of
from corral.workflows.language.fault import NO_JSON, DefinitionInvalid, Fault, errors_of
from corral.workflows.language.lines import line_of

if TYPE_CHECKING:
    from corral.workflows.builder import Workflow

Kind = Literal["STANDARD", "EXPRESS"]

ENDINGS = (".asl.json", ".asl.yaml", ".asl.yml")
_EXPRESS = ".express"
_LINE = re.compile(r"at line (\d+)")


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow that is to be there."""

    name: str
    kind: Kind
    definition: str
    """As JSON; that of a file is as it is written there."""
    source: str
    """The file, or that the app's code built it."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a file that has to be mended, or looked at."""

    path: str
    line: int
    fault: Fault

    @property
    def place(self) -> str:
        """`workflows/triage.asl.yaml:12`."""
        return f"{self.path}:{self.line}"

    def __str__(self) -> str:
        """As one line for people."""
        return f"{self.place}: {self.fault}"


def files_in(folder: Path) -> list[Path]:
    """The files of workflows in a folder, by name; none, where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(ENDINGS))


def problems_in(path: Path) -> list[Problem]:
    """What is wrong with a file, by line; warnings as well."""
    return _read(path)[1]


def declared(folder: Path | None, built: Iterable[Workflow] = ()) -> list[Declared]:
    """Those of a folder and those that were built. Raises `ConfigError` with everything that is wrong with any of them."""
    found: list[Declared] = []
    wrong: list[Problem] = []
    for path in files_in(folder) if folder is not None else ():
        read, problems = _read(path)
        wrong += [problem for problem in problems if problem.fault.severity == "ERROR"]
        if read is not None:
            found.append(read)
    if wrong:
        lines = [
            {"source": problem.place, "key": problem.fault.location or "", "message": problem.fault.text}
            for problem in wrong
        ]
        raise ConfigError("\n".join(str(problem) for problem in wrong), errors=[dict(line) for line in lines])
    found += [_of_built(workflow) for workflow in built]
    _check_names(found)
    return found


def _of_built(workflow: Workflow) -> Declared:
    source = f"Workflow({workflow.name!r})"
    if not is_name(workflow.name):
        raise ConfigError(f"{source}: {_NAME_RULE}")
    try:
        definition = workflow.to_json(indent=None)
    except DefinitionInvalid as invalid:
        wrong = "\n".join(f"{source}: {fault}" for fault in errors_of(invalid.faults))
        raise ConfigError(wrong, errors=invalid.errors) from None
    return Declared(name=workflow.name, kind=workflow.kind, definition=definition, source=source)


def _check_names(found: list[Declared]) -> None:
    first: dict[str, str] = {}
    for workflow in found:
        other = first.setdefault(workflow.name, workflow.source)
        if other != workflow.source:
            raise ConfigError(
                f"{workflow.source} and {other} both define the workflow {workflow.name!r}: rename one of them."
            )


_NAME_RULE = f'A name of a workflow has 1 to {NAME_MAX} characters, no spaces, and none of ?*<>{{}}[]:;,|^~$#%&`"/\\.'


def _named(path: Path) -> tuple[str, Kind]:
    stem = next(path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending))
    return (stem.removesuffix(_EXPRESS), "EXPRESS") if stem.endswith(_EXPRESS) else (stem, "STANDARD")


def _read(path: Path) -> tuple[Declared | None, list[Problem]]:
    name, kind = _named(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [_problem(path, "", Fault(message=f"This file cannot be read: {error}"))]
    if not is_name(name):
        return None, [_problem(path, text, Fault(message=_NAME_RULE, hint="Rename the file."))]
    try:
        document = document_of(text)
    except DefinitionInvalid as invalid:
        return None, [_problem(path, text, fault) for fault in invalid.faults]
    found = list(_faults(path, text, document, kind))
    definition = text if path.name.endswith(".json") else json.dumps(document, ensure_ascii=False)
    return Declared(name=name, kind=kind, definition=definition, source=str(path)), found


def _faults(path: Path, text: str, document: dict[str, Any], kind: Kind) -> Iterator[Problem]:
    for fault in faults(document, kind=kind):
        yield _problem(path, text, fault)


def _problem(path: Path, text: str, fault: Fault) -> Problem:
    said = _LINE.search(fault.message) if fault.code == NO_JSON else None
    return Problem(path=str(path), line=int(said[1]) if said else line_of(text, fault.pointer), fault=fault)
