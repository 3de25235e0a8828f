from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CORRAL

from corral import __version__
from corral.cli.failure import Exit, failure_of
from corral.cli.program import VERBS, program
from corral.errors import AppLoadError, ConfigError, SessionBusy, SessionNotFound, StoreUnavailable

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text()
GROUPS = {"sessions": ("list", "show", "delete", "fork"), "db": ("check", "migrate")}


def test_version(corral):
    assert corral("version").out.startswith(f"corral {__version__} (Python 3.")
    assert corral("--version").out == corral("version").out
    assert corral("version", "--json").json["version"] == __version__


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_json_and_a_chapter(corral, verb):
    for path in [(verb, sub) for sub in GROUPS.get(verb, ())] or [(verb,)]:
        done = corral(*path, "--help")
        assert done.status == 0
        assert "--json" in done.out
        assert "\n  " in done.out
    assert f"`corral {verb}" in DOCS


def test_help_lists_the_verbs(corral):
    done = corral("--help")
    assert done.status == 0
    assert [verb for verb in VERBS if f"  {verb} " not in done.out] == []


def test_no_verb_shows_the_help(corral):
    done = corral()
    assert done.status == Exit.USAGE
    assert "Commands:" in done.err


def test_an_unknown_verb_suggests_the_nearest(corral):
    done = corral("sesions")
    assert done.status == Exit.USAGE
    assert done.out == ""
    assert "Did you mean 'sessions'" in done.err
    assert "Next: `corral --help`" in done.err


def test_an_unknown_verb_of_a_group_suggests_the_nearest(corral):
    done = corral("sessions", "sho", "--json")
    assert done.status == Exit.USAGE
    assert done.error["code"] == "usage"
    assert "'show'" in done.error["message"]


def test_an_unknown_flag_is_a_usage_error(corral):
    done = corral("version", "--jason")
    assert (done.status, done.out) == (Exit.USAGE, "")
    assert "--jason" in done.err
    assert "corral version --help" in done.err


@pytest.mark.parametrize("status", list(Exit))
def test_exit_statuses_are_documented(status):
    assert f"| {status.value} |" in DOCS


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), Exit.INVALID),
        (AppLoadError("x"), Exit.INVALID),
        (SessionNotFound(), Exit.NOT_FOUND),
        (StoreUnavailable(), Exit.NOT_FOUND),
        (SessionBusy(), Exit.FAILED),
    ],
)
def test_every_error_has_its_status(error, status):
    failure = failure_of(error)
    assert failure.status is status
    assert failure.as_json() | {"hint": ""} == {
        "code": error.code,
        "message": error.message,
        "exit_status": int(status),
        "hint": "",
    }


@pytest.mark.parametrize("verb", ["version", "serve", "dev", "invoke"])
def test_rich_is_not_loaded_where_it_is_not_needed(verb):
    code = (
        "import sys; from corral.cli.main import main; main([sys.argv[1], '--help']); main(['version', '--json']);"
        "import corral.server.supervisor; print([m for m in sys.modules if m.partition('.')[0] == 'rich'])"
    )
    done = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_said_without_a_parser():
    code = (
        "import sys; from corral.cli.main import main; main(['version']); "
        "print({'typer', 'rich', 'yaml', 'uvicorn', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_only_the_verb_that_is_used_is_loaded():
    code = (
        "import sys; from corral.cli.main import main; main(['schema', '--help']); "
        "print(sorted(m for m in sys.modules if m.startswith('corral.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "corral.cli.schema" in loaded
    assert "corral.cli.invoke" not in loaded
    assert "corral.settings" not in loaded


def test_a_closed_pipe_is_silent():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([CORRAL, "schema"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == Exit.BROKEN_PIPE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(corral, shell):
    done = corral("completion", shell)
    assert done.status == 0
    assert "_CORRAL_COMPLETE" in done.out
    assert corral("completion", shell, "--json").json == {"shell": shell, "script": done.out.rstrip("\n")}


def test_completion_of_an_unknown_shell(corral):
    assert corral("completion", "csh").status == Exit.USAGE


def test_the_shell_gets_verbs_and_flags():
    environment = {**os.environ, "_CORRAL_COMPLETE": "complete_bash", "COMP_WORDS": "corral ser", "COMP_CWORD": "1"}
    done = subprocess.run([CORRAL], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["serve"]
    environment |= {"COMP_WORDS": "corral sessions li", "COMP_CWORD": "2"}
    done = subprocess.run([CORRAL], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["list"]


def test_the_program_can_be_built_twice():
    assert list(program().commands) == list(program().commands) == list(VERBS)


# -- terminals


def in_terminal(*arguments: str, **environment: str) -> str:
    """What a terminal gets to see."""
    master, slave = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
    process = subprocess.Popen(
        [CORRAL, *arguments], stdin=slave, stdout=slave, stderr=slave, env={**env, "TERM": "xterm", **environment}
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not chunk:
            break
        seen += chunk
    process.wait(timeout=20)
    os.close(master)
    return seen.decode()


def test_colours_on_a_terminal_only_and_not_with_no_color(here):
    assert "\x1b[31mError:" in in_terminal("status")
    assert "\x1b" not in in_terminal("status", NO_COLOR="1")
    assert "\x1b" not in in_terminal("status", TERM="dumb")


def test_a_table_on_a_terminal(project, corral):
    corral("db", "migrate")
    run = Path(".corral/run")
    run.mkdir()
    server = {"pid": 2**22 + 1, "host": "127.0.0.1", "port": 1, "target": "agents.py", "state": "serving"}
    more = {"workers": [], "started_at": 0.0, "version": "0", "directory": "/"}
    (run / "1.json").write_text(json.dumps(server | more))
    (run / "2.json").write_text("{")
    seen = in_terminal("status", NO_COLOR="1", COLUMNS="120")
    assert "No server runs" in seen
    server["pid"] = os.getpid()
    (run / "1.json").write_text(json.dumps(server | more))
    seen = in_terminal("status", COLUMNS="160")
    assert "HEALTH" in seen
    assert "unreachable" in seen
    assert "\x1b[1m" in seen
    assert "\x1b[1m" not in in_terminal("status", NO_COLOR="1", COLUMNS="160")
