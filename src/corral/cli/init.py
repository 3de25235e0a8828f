"""`corral init`: a small project that runs."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli.files import refuse_to_overwrite, write_file
from corral.cli.options import Json, new_app
from corral.cli.output import bold, dim, show, show_json
from corral.cli.schema import schema_text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

app = new_app()

SCHEMA_FILE = Path(".corral/schema.json")
"""Where the first line of corral.yaml tells editors to look."""
_OPTIONAL = (Path(".gitignore"), Path(".env.example"))
"""A project that has these already keeps its own."""

_NEXT = (
    ("corral dev", "serve it, and reload on change"),
    ('corral invoke --session first "My name is Ada"', "in another terminal"),
    ('corral invoke --session first "Who am I?"', "it remembers"),
    ("corral sessions show first", "what was said"),
)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; it may be there already.")] = Path(),
    as_json: Json = False,
) -> None:
    """Make a small project that runs: four agents, settings, tests. Overwrites nothing."""
    contents = project_files()
    contents[Path("corral.yaml")] = _named(contents[Path("corral.yaml")], directory.resolve().name)
    kept = [path for path in _OPTIONAL if (directory / path).exists()]
    for path in kept:
        del contents[path]
    refuse_to_overwrite(
        (directory / path for path in contents), "Choose another folder (`corral init DIR`), or move these away."
    )
    for path, text in contents.items():
        write_file(directory / path, text)
    write_file(directory / SCHEMA_FILE, schema_text())
    written = sorted(str(path) for path in contents)
    if as_json:
        show_json({"directory": str(directory.resolve()), "written": written, "kept": [str(path) for path in kept]})
        return
    for name in written:
        show(f"  {directory / name}")
    for path in kept:
        show(f"  {directory / path} {dim('was there already, left as it is')}")
    show("\nNext:")
    if directory.resolve() != Path.cwd():
        show(f"  {bold(f'cd {shlex.quote(str(directory))}')}")
    for command, purpose in _NEXT:
        show(f"  {bold(command)}{' ' * (52 - len(command))}{dim(purpose)}".rstrip())


def project_files() -> dict[Path, str]:
    """What is written, by its path in the project."""
    found: dict[Path, str] = {}
    _collect(files("corral.cli") / "template", Path(), found)
    return found


def _collect(folder: Traversable, path: Path, found: dict[Path, str]) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            _collect(entry, path / entry.name, found)
        elif entry.is_file():
            # Files whose real names begin with a dot would mean something to the tools of this repository.
            found[path / re.sub("^dot-", ".", entry.name)] = entry.read_text(encoding="utf-8")


def _named(text: str, name: str) -> str:
    """The settings with the folder's name as the app's."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "agent"
    return text.replace("name: quickstart", f"name: {plain}", 1)
