from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from command_line import CORRAL

from corral import __version__
from corral.cli.failure import Exit, failure_of
from corral.cli.main import main
from corral.cli.output import note
from corral.cli.program import VERBS, program
from corral.cli.waiting import waiting
from corral.errors import AppLoadError, ConfigError, SessionBusy, SessionNotFound, StoreUnavailable

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text()
GROUPS = {
    "jobs": (
        "submit",
        "list",
        "dead",
        "show",
        "tail",
        "retry",
        "cancel",
        "redrive",
        "discard",
        "signal",
        "stats",
    ),
    "schedules": ("list", "set", "remove"),
    "bridge": ("sqs",),
    "sessions": ("list", "show", "delete", "fork", "tiers"),
    "db": ("check", "migrate"),
    "agents": ("list", "show", "run", "chat"),
    "runs": ("list", "show", "resume", "cancel", "fork"),
    "approvals": ("list", "show", "approve", "refuse", "answer", "link"),
    "workflows": (
        "list",
        "create",
        "update",
        "show",
        "delete",
        "run",
        "graph",
        "validate",
        "schema",
        "versions",
    ),
    "executions": ("list", "show", "tail", "history", "stop", "redrive", "fork"),
    "events": ("publish", "rules", "show", "set", "remove", "match"),
    "models": ("list", "call", "compare", "cost", "prices"),
    "tools": ("list", "show", "call"),
    "memory": ("ingest", "search", "list", "remember", "forget", "export", "refresh"),
    "keys": ("create", "list", "show", "rotate", "revoke"),
    "limits": ("show", "reset"),
    "budgets": ("list", "set", "reset"),
    "audit": ("list", "verify", "export", "checkpoints", "key"),
    "cache": ("stats", "clear", "audit"),
}


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
    done = corral("session")
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
    content = failure.as_json()
    assert content.pop("hint")  # there is always something to do next
    assert content == {"code": error.code, "message": error.message, "exit_status": int(status)}


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
        "print({'typer', 'rich', 'yaml', 'msgspec', 'uvicorn', 'asyncio'} & set(sys.modules))"
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


@pytest.mark.parametrize("arguments", [["schema"], ["version"], ["version", "--json"], ["--help"]])
def test_a_closed_pipe_is_silent(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([CORRAL, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == Exit.BROKEN_PIPE


def test_errors_that_nobody_reads_keep_their_status():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([CORRAL, "status"], stderr=writer, cwd="/", check=False)
    os.close(writer)
    assert done.returncode == Exit.NOT_FOUND


def test_without_any_stream():
    """As a daemon is started: 0, 1 and 2 are closed."""
    command = f"exec {shlex.quote(CORRAL)} invoke <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == Exit.USAGE


def test_ctrl_c_while_it_still_loads(monkeypatch):
    monkeypatch.setitem(sys.modules, "corral.cli.outcome", _Interrupting("corral.cli.outcome"))
    assert main(["schema"]) == Exit.INTERRUPTED


def test_a_fault_of_corral_itself(corral, monkeypatch):
    def broken() -> None:
        raise KeyError("x")

    monkeypatch.setattr("corral.cli.outcome.program", broken)
    done = corral("status")
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert done.err.startswith("Traceback")
    assert "\nError: KeyError: 'x'\nNext: This is a fault of Corral itself" in done.err
    done = corral("status", "--json")
    assert (done.status, done.out, done.error["code"]) == (Exit.FAILED, "", "internal_error")


class _Interrupting(ModuleType):
    """A module during whose loading somebody presses Ctrl-C."""

    def __getattr__(self, name):
        raise KeyboardInterrupt


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(corral, shell):
    done = corral("completion", shell)
    assert done.status == 0
    assert "_CORRAL_COMPLETE" in done.out
    assert corral("completion", shell, "--json").json == {"shell": shell, "script": done.out.rstrip("\n")}


def test_completion_of_an_unknown_shell(corral):
    assert corral("completion", "csh").status == Exit.USAGE


def test_the_shell_gets_verbs_and_flags():
    environment = {**os.environ, "_CORRAL_COMPLETE": "complete_bash", "COMP_WORDS": "corral serv", "COMP_CWORD": "1"}
    done = subprocess.run([CORRAL], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["serve"]
    environment |= {"COMP_WORDS": "corral sessions li", "COMP_CWORD": "2"}
    done = subprocess.run([CORRAL], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["list"]


def test_the_program_can_be_built_twice():
    assert list(program().commands) == list(program().commands) == list(VERBS)


# -- terminals


@pytest.fixture
def impatient(monkeypatch):
    """Waiting is shown at once, on a terminal that remembers."""
    seen = io.StringIO()
    monkeypatch.setattr(seen, "isatty", lambda: True)
    monkeypatch.setattr("corral.cli.waiting._AFTER_S", 0.0)
    monkeypatch.setattr("corral.cli.waiting._EVERY_S", 0.001)
    monkeypatch.setattr("corral.cli.waiting.sys", SimpleNamespace(stderr=seen))
    monkeypatch.setenv("TERM", "xterm")
    return seen


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_waiting_is_shown_and_leaves_nothing(impatient):
    with waiting("asking somebody") as shown:
        until(lambda: "⠙ asking somebody … 0 s" in impatient.getvalue())
        shown.end()
        said = impatient.getvalue()
        assert said.endswith("\r" + " " * len("⠋ asking somebody … 0 s") + "\r")
    assert impatient.getvalue() == said
    assert "\x1b" not in said


def test_what_is_quick_shows_nothing(impatient, monkeypatch):
    monkeypatch.setattr("corral.cli.waiting._AFTER_S", 60.0)
    with waiting("asking somebody"):
        pass
    assert impatient.getvalue() == ""


def test_an_error_ends_the_waiting(impatient):
    with contextlib.suppress(ZeroDivisionError), waiting("asking somebody"):
        until(lambda: "asking" in impatient.getvalue())
        raise ZeroDivisionError
    assert impatient.getvalue().endswith(" \r")


def test_a_terminal_that_is_gone_does_not_matter(impatient):
    with waiting("asking somebody") as shown:
        impatient.write = lambda _: (_ for _ in ()).throw(OSError)
    shown.end()


@pytest.mark.parametrize(("terminal", "kind"), [(False, "xterm"), (True, "dumb")])
def test_where_nobody_looks_waiting_is_not_shown(impatient, monkeypatch, terminal, kind):
    monkeypatch.setattr(impatient, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", kind)
    with waiting("asking somebody") as shown:
        assert shown is None


def test_notes_have_the_colours_of_stderr(here, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    note("beside", faint=True)
    assert capsys.readouterr().err == "beside\n"


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
