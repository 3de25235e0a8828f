"""`corral container`: a small, pinned image that is not root, for the app in this folder."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

import corral
from corral.cli.files import refuse_to_overwrite, write_file
from corral.cli.options import Config, Json, new_app
from corral.cli.output import bold, note, show, show_json
from corral.cli.project import load_project

if TYPE_CHECKING:
    from corral.settings.sections import Settings

app = new_app()

UV_VERSION = "0.13.8"
# Exact versions, so that the same file makes the same image a year from now; by minor version of Python.
PYTHON_IMAGES = {
    "3.11": "3.11.14-slim-bookworm",
    "3.12": "3.12.12-slim-bookworm",
    "3.13": "3.13.11-slim-bookworm",
}


@app.command()
def container(
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Let compose.yaml bring PostgreSQL as the store.")
    ] = False,
    requirement: Annotated[
        str | None,
        typer.Option("--corral", metavar="REQUIREMENT", help="What to install as Corral, where no file says it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite these files.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write Dockerfile, compose.yaml and .dockerignore for the app in this folder."""
    settings = load_project(None, config).settings
    install, reason = _install(requirement, postgres=postgres)
    values = {
        "name": _image_name(settings.name),
        "memory": str(settings.agentcore.memory),
        "uv_version": UV_VERSION,
        "python_image": _python_image(settings),
        "install": install,
    }
    contents = {
        Path("Dockerfile"): _filled("Dockerfile", values),
        Path("compose.yaml"): _filled("compose-postgres.yaml" if postgres else "compose.yaml", values),
        Path(".dockerignore"): _filled("dockerignore", values),
    }
    if not force:
        refuse_to_overwrite(contents, "Move them away, or say --force.")
    for path, text in contents.items():
        write_file(path, text)
    if as_json:
        show_json({"written": [str(path) for path in contents], "installs": reason, "image": values["name"]})
        return
    for path in contents:
        show(f"  {path}")
    show(f"\nThe image installs {reason}. It refuses to start without keys; the Dockerfile says how to give some.")
    variables = "CORRAL_API_KEY=… POSTGRES_PASSWORD=…" if postgres else "CORRAL_API_KEY=…"
    show(f"\nNext:\n  {bold(f'{variables} docker compose up --build')}")
    if postgres and not _has_asyncpg():
        note("PostgreSQL needs the extra: put `corral[postgres]` where the image installs from.")
    if not (settings.security.api_keys or settings.security.jwt or settings.security.require_key):
        note("Behind AgentCore, which asks for credentials itself: CORRAL_SECURITY_ALLOW_UNAUTHENTICATED=true")


def _install(requirement: str | None, *, postgres: bool) -> tuple[str, str]:
    """The layer that installs what the app needs, from the best source there is, and its name."""
    cache = "RUN --mount=type=cache,target=/root/.cache/uv"
    if Path("uv.lock").is_file() and Path("pyproject.toml").is_file():
        sync = f"{cache} UV_PROJECT_ENVIRONMENT=/opt/venv uv sync --locked --no-dev --no-install-project"
        return f"COPY pyproject.toml uv.lock ./\n{sync}", "what uv.lock says"
    extra = "[postgres]" if postgres else ""
    wanted = requirement or f"corral{extra}=={corral.__version__}"
    pip = f"{cache} uv venv /opt/venv && uv pip install"
    if Path("requirements.txt").is_file():
        named = any(
            re.match(r"corral\b(?!-)", line.strip())
            for line in Path("requirements.txt").read_text(encoding="utf-8").splitlines()
        )
        more = "" if named and requirement is None else f" {_quoted(wanted)}"
        return f"COPY requirements.txt ./\n{pip} -r requirements.txt{more}", "what requirements.txt says"
    local = f"COPY {wanted} ./\n" if wanted.endswith(".whl") else ""
    return f"{local}{pip} {_quoted(wanted if not local else './' + Path(wanted).name)}", wanted


def _has_asyncpg() -> bool:
    """Whether what is installed from names the driver; without any such file the extra is asked for by itself."""
    sources = [Path(name) for name in ("uv.lock", "requirements.txt") if Path(name).is_file()]
    texts = [source.read_text(encoding="utf-8") for source in sources[:1]]
    return not texts or "asyncpg" in texts[0] or "corral[postgres]" in texts[0]


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _python_image(settings: Settings) -> str:
    """The image for the Python that the settings name (`python3.12`, AgentCore's `PYTHON_3_12`)."""
    found = re.search(r"3[._](\d+)", settings.agentcore.runtime)
    return PYTHON_IMAGES.get(f"3.{found[1]}" if found else "", PYTHON_IMAGES["3.11"])


def _image_name(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "agent"


def _filled(name: str, values: dict[str, str]) -> str:
    return Template((files("corral.cli") / "image" / name).read_text(encoding="utf-8")).substitute(values)
