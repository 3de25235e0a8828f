"""An agent's instructions: a text or a file, with variables."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from corral.errors import ConfigError

_VARIABLE: Final = re.compile(r"\{(\{[A-Za-z_]\w*\})\}|\{([A-Za-z_]\w*)\}")
_FILES: Final = (".md", ".txt", ".prompt")
_RESERVED: Final = frozenset({"prompt", "session", "self"})
_PACKAGE: Final = __name__.partition(".")[0]


class Prompt:
    """Instructions with variables: `{name}` is one, `{{name}}` is the text `{name}`, and any other brace (JSON's, say) is itself.

    Everything that can be wrong with it is said when it is made: a file that is not there, a variable that it does not have.
    """

    __slots__ = ("_fixed", "_pieces", "_text", "source", "variables")

    def __init__(self, text: str, *, fixed: Mapping[str, Any] | None = None, source: str = "the prompt") -> None:
        """`fixed` are values (or functions that make them anew for each run) that need not be given later."""
        self.source = source
        self._text = text
        self._pieces = _pieces(text)
        self.variables = tuple(dict.fromkeys(piece for piece, is_name in self._pieces if is_name))
        """The names of all, in the order in which they come."""
        self._fixed = dict(fixed or {})
        for name in self.variables:
            if name in _RESERVED:
                raise ConfigError(
                    f"{source} has a variable {{{name}}}: that name is taken by `run(prompt, session=…)`."
                )
        self._check_known(self._fixed)

    @property
    def open(self) -> tuple[str, ...]:
        """The variables that each run must give."""
        return tuple(name for name in self.variables if name not in self._fixed)

    def filled(self, given: Mapping[str, Any]) -> str:
        """The text with its variables. Raises `ConfigError` for one that is missing, and for one that it does not have."""
        if given:
            self._check_known(given)
        if not self.variables:
            return self._pieces[0][0] if self._pieces else ""
        values = {**self._fixed, **given}
        missing = [name for name in self.variables if name not in values]
        if missing:
            names = ", ".join(f"{name}=…" for name in missing)
            raise ConfigError(
                f"{self.source} needs a value for {names}: give it to `run`, or to the agent (`variables={{…}}`)."
            )
        return "".join(_as_text(values[piece]) if is_name else piece for piece, is_name in self._pieces)

    def _check_known(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in self.variables:
                near = difflib.get_close_matches(name, self.variables, 1)
                there = ", ".join(f"{{{one}}}" for one in self.variables) or "none"
                hint = f"did you mean {{{near[0]}}}?" if near else f"it has: {there}."
                raise ConfigError(f"{self.source} has no variable {{{name}}}; {hint}")


def read_prompt(
    prompt: str | Path, variables: Mapping[str, Any] | None = None, *, beside: Path | None = None
) -> Prompt:
    """The prompt of a text, or of the file that it names (`prompts/support.md`), looked for beside the user's file first."""
    if not _names_file(prompt):
        return Prompt(str(prompt), fixed=variables)
    beside = beside or users_folder()
    named = Path(prompt)
    places = [named] if named.is_absolute() else list(dict.fromkeys([beside / named, Path.cwd() / named]))
    for place in places:
        if place.is_file():
            try:
                text = place.read_text("utf-8")
            except (OSError, UnicodeError) as error:
                raise ConfigError(f"The prompt {place} cannot be read: {error}") from error
            return Prompt(text.strip("\n"), fixed=variables, source=f"The prompt {prompt}")
    looked = " and ".join(str(place) for place in places)
    raise ConfigError(
        f"There is no prompt {str(prompt)!r}: looked for {looked}. A text of its own has more than one word."
    )


def users_folder() -> Path:
    """The folder of the file that called into this package, for paths that stand in it."""
    frame = sys._getframe(1)  # noqa: SLF001 - the public way reads every frame's source
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != _PACKAGE:
            file = Path(frame.f_code.co_filename)
            return file.resolve().parent if file.is_file() else Path.cwd()
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Path.cwd()


def _names_file(prompt: str | Path) -> bool:
    if isinstance(prompt, Path):
        return True
    return prompt.endswith(_FILES) and not any(char in prompt for char in "\n{}") and " " not in prompt.strip()


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Texts and names of variables, in turn: `(piece, whether it is a name)`."""
    pieces: list[tuple[str, bool]] = []
    plain: list[str] = []
    at = 0
    for found in _VARIABLE.finditer(text):
        literal, name = found.groups()
        plain.append(text[at : found.start()])
        at = found.end()
        if literal is not None:
            plain.append(literal)
        else:
            pieces += [("".join(plain), False), (name, True)]
            plain = []
    plain.append(text[at:])
    return [*pieces, ("".join(plain), False)]


def _as_text(value: Any) -> str:
    """Text as it is, a date as people write it, anything else as JSON."""
    if callable(value):
        value = value()
    try:
        plain = msgspec.to_builtins(value)
    except TypeError:
        return str(value)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
