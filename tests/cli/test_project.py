"""init, validate, schema, db, status, serve: what one does with a project."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CORRAL, RunningServer, plain_environment

from corral.cli.failure import Exit
from corral.cli.init import project_files

EXAMPLE = Path(__file__).parents[2] / "examples/quickstart"
WRITTEN = [".env.example", ".gitignore", "agents.py", "conftest.py", "corral.yaml", "tests/test_agents.py"]


LOADED = """
@app.entrypoint(name="loaded")
async def loaded(payload: dict[str, Any]) -> list[str]:
    import sys
    return sorted({name.partition(".")[0] for name in sys.modules})
"""


# -- init


def test_init_writes_a_project_and_says_what_is_next(here, corral):
    done = corral("init", "new/place")
    assert done.status == 0
    assert sorted(str(p.relative_to("new/place")) for p in Path("new/place").rglob("*") if p.is_file()) == sorted(
        [*WRITTEN, ".corral/schema.json"]
    )
    assert "cd new/place" in done.out
    assert "corral dev" in done.out
    text = Path("new/place/corral.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=.corral/schema.json\n")
    assert "name: place\n" in text


def test_init_here_as_json(here, corral):
    content = corral("init", "--json").json
    assert content == {"directory": str(here), "written": WRITTEN, "kept": []}


def test_init_overwrites_nothing(project, corral):
    Path("agents.py").write_text("mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    done = corral("init")
    assert done.status == Exit.FAILED
    assert "agents.py" in done.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert corral("init", "--json").error["code"] == "exists"


def test_init_keeps_a_gitignore(here, corral):
    Path(".gitignore").write_text("mine")
    done = corral("init")
    assert done.status == 0
    assert Path(".gitignore").read_text() == "mine"
    assert ".gitignore was there already" in done.out


def test_init_where_one_may_not_write(here, corral):
    Path("file").write_text("")
    done = corral("init", "file/below")
    assert done.status == Exit.FAILED
    assert "cannot be written" in done.err


def test_the_example_is_what_init_writes():
    for path, text in project_files().items():
        assert (EXAMPLE / path).read_text() == text, f"copy src/corral/cli/template to examples/quickstart: {path}"
    assert sorted(str(path) for path in project_files()) == WRITTEN


def test_the_projects_own_tests_pass(project):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


# -- validate


def test_validate_a_good_project(project, corral):
    done = corral("validate")
    assert (done.status, done.err) == (0, "")
    assert "main, ask, fragile, order" in done.out
    content = corral("validate", "--json").json
    assert content["ok"]
    assert content["entrypoint"] == "agents.py"
    assert [(agent["name"], agent["streaming"]) for agent in content["agents"]] == [
        ("main", True),
        ("ask", True),
        ("fragile", True),
        ("order", False),
    ]
    assert not Path(".corral/corral.db").exists()  # nothing was started


def test_validate_lists_everything_at_once(project, corral, monkeypatch):
    Path("corral.yaml").write_text("server:\n  prot: 1\n  workers: many\nsecurity:\n  api_keys: ${NOT_SET}\n")
    Path("agents.py").write_text("import corral\n\nraise ValueError('no')\n")
    monkeypatch.setenv("CORRAL_SERVER_PROT", "1")
    done = corral("validate", "--json")
    assert (done.status, done.json["ok"]) == (Exit.INVALID, False)
    assert [problem["source"] for problem in done.json["problems"]] == [
        "corral.yaml:2",
        "corral.yaml:3",
        "corral.yaml:5",
        "CORRAL_SERVER_PROT",
        "agents.py:3",
    ]
    shown = corral("validate")
    assert "corral.yaml:2: server.prot: There is no such setting. Did you mean `port`?" in shown.out
    assert "ValueError: no" in shown.out
    assert "5 problems to mend." in shown.err


@pytest.mark.parametrize(
    ("code", "place", "said"),
    [
        ("import nowhere_at_all\n", "agents.py:1", "nowhere_at_all"),
        ("def f(:\n", "agents.py:1", "SyntaxError"),
        ("x = 1\n", "agents.py", "has no corral.App"),
        ("from corral import App\napp = App()\n", "agents.py", "no agent"),
        ("import sys\nsys.exit(3)\n", "agents.py:2", "SystemExit"),
    ],
)
def test_validate_finds_the_line(here, corral, code, place, said):
    Path("agents.py").write_text(code)
    (problem,) = corral("validate", "--json").json["problems"]
    assert problem["source"] == place
    assert said in problem["message"]


def test_what_the_users_file_prints_is_no_result(project, corral):
    Path("agents.py").write_text(Path("agents.py").read_text() + "\nprint('loading')\n")
    done = corral("validate", "--json")
    assert done.json["ok"]
    assert done.err == "loading\n"


def test_validate_knows_what_does_not_fit_together(project, corral):
    Path("corral.yaml").write_text(
        "server:\n  host: 0.0.0.0\n  aliases:\n    /agent: nobody\n    odd: main\nstore:\n  url: mysql://x\n"
    )
    found = {problem["source"]: problem["message"] for problem in corral("validate", "--json").json["problems"]}
    assert "no keys are configured" in found["corral.yaml:2"]
    assert "mysql" in found["corral.yaml:7"]
    messages = " ".join(p["message"] for p in corral("validate", "--json").json["problems"])
    assert "there is: ask, fragile, main, order" in messages
    assert "'odd' is not a path" in messages


def test_validate_knows_whether_the_jobs_of_schedules_can_be_made(project, corral):
    Path("corral.yaml").write_text(
        "jobs:\n  schedules:\n"
        "    who: {cron: '@daily', agent: mian, input: {prompt: Hi}}\n"
        "    what: {cron: '@daily', agent: main, inptu: {prompt: Hi}}\n"
        "    good: {cron: '@daily', agent: main, input: {prompt: Hi}}\n"
    )
    done = corral("validate")
    assert done.status == Exit.INVALID
    who, what = done.out.splitlines()
    place = "corral.yaml:2: jobs.schedules"
    assert (
        who
        == f"{place}.who: There is no agent named 'mian' (did you mean 'main'?); there is: ask, fragile, main, order."
    )
    assert what == f"{place}.what: 'inptu' is not known; did you mean 'input'?"
    Path("agents.py").write_text("raise ValueError('no')\n")
    messages = [problem["message"] for problem in corral("validate", "--json").json["problems"]]
    assert len(messages) == 2  # whether there is such an agent cannot be known
    assert "did you mean 'input'?" in messages[1]


def test_validate_points_at_the_setting_of_callbacks_that_is_wrong(project, corral):
    Path("corral.yaml").write_text("jobs:\n  callback_allow: [10.0.0.0/99]\n  callback_secret: whsec_x\n")
    problems = corral("validate", "--json").json["problems"]
    assert {problem["key"]: problem["source"] for problem in problems} == {
        "jobs.callback_allow": "corral.yaml:2",
        "jobs.callback_secret": "corral.yaml:3",
    }


def test_validate_warns(project, corral):
    Path("corral.yaml").write_text("server:\n  host: 0.0.0.0\nsecurity:\n  allow_unauthenticated: true\n")
    done = corral("validate")
    assert done.status == 0
    assert "Warning: Anybody who can reach" in done.err


def test_validate_another_file_with_its_settings_beside_it(project, corral, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = corral("validate", "here/agents.py", "--json").json
    assert content["files"] == [str(project / "corral.yaml")]
    assert content["ok"]
    monkeypatch.chdir(project)
    assert corral("validate", "agents.py:app").status == 0
    assert corral("validate", "nothing.py").status == Exit.INVALID
    assert corral("validate", "--config", "nothing.yaml").status == Exit.INVALID


def test_the_entrypoint_stands_beside_the_settings(project, corral, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = corral("validate", "--config", "here/corral.yaml", "--json").json
    assert content["ok"]
    assert content["entrypoint"] == "here/agents.py"


def test_lazy_agents_are_named(here, corral):
    Path("agents.py").write_text("from corral import App\napp = App()\napp.lazy(lambda: print, name='later')\n")
    assert corral("validate", "--json").json["agents"] == [{"name": "later", "lazy": True}]


# -- schema


def test_schema(here, corral):
    schema = corral("schema").json
    assert schema["properties"]["server"]
    done = corral("schema", "--output", "deep/schema.json")
    assert done.out == "Wrote deep/schema.json\n"
    assert json.loads(Path("deep/schema.json").read_text()) == schema
    assert corral("schema", "-o", "deep/schema.json", "--json").json == {"written": ["deep/schema.json"]}


# -- db


def test_db(project, corral):
    done = corral("db", "check")
    assert (done.status, done.out) == (Exit.FAILED, "")
    assert "no schema" in done.err
    assert "corral db migrate" in done.err
    assert corral("db", "check", "--json").error["code"] == "schema_outdated"
    assert not Path(".corral/corral.db").exists()  # checking makes nothing
    content = corral("db", "migrate", "--json").json
    assert (content["from_version"], content["changed"]) == (0, True)
    assert corral("db", "check").status == 0
    assert corral("db", "check", "--json").json["up_to_date"]
    assert "was up to date" in corral("db", "migrate").out


def test_db_names_what_it_cannot_reach(here, corral):
    done = corral("db", "check", "--store", "postgresql://u:secret@127.0.0.1:1/x", "--json")
    assert (done.status, done.error["code"]) == (Exit.NOT_FOUND, "store_unavailable")
    assert "secret" not in done.err
    assert corral("db", "check", "--store", "mysql://x").status == Exit.INVALID


# -- status


def test_status_without_a_server(here, corral):
    done = corral("status")
    assert (done.status, done.out) == (Exit.NOT_FOUND, "")
    assert "corral dev" in done.err
    done = corral("status", "--json")
    assert (done.status, done.json) == (Exit.NOT_FOUND, {"servers": []})


def test_status_of_a_server(shared_server, corral, monkeypatch):
    monkeypatch.chdir(shared_server.folder)
    done = corral("status", "--json")
    assert done.status == 0
    (server,) = done.json["servers"]
    assert (server["url"], server["health"], server["state"]) == (shared_server.url, "ok", "serving")
    assert server["pid"] == shared_server.process.pid
    assert server["parts"]["store"]["status"] == "ok"
    assert shared_server.url in corral("status").out
    assert corral("status", "--url", shared_server.url).status == 0
    assert corral("status", "--url", "http://127.0.0.1:1").status == Exit.NOT_FOUND


def test_status_of_a_server_that_was_killed(here, corral):
    folder = Path(".corral/run")
    folder.mkdir(parents=True)
    content = {"pid": 2**22 + 1, "host": "::", "port": 1, "target": "a.py", "state": "serving", "workers": [1]}
    more = {"started_at": 0.0, "version": "0", "directory": "/"}
    (folder / "1.json").write_text(json.dumps(content | more))
    done = corral("status", "--json")
    assert done.status == Exit.NOT_FOUND
    assert done.json["servers"][0]["health"] == "gone"
    assert done.json["servers"][0]["url"] == "http://[::1]:1"


# -- serve


def test_serve_refuses_what_is_wrong_before_it_starts(here, corral):
    done = corral("serve")
    assert (done.status, done.out) == (Exit.INVALID, "")
    assert "There is no file agents.py" in done.err
    assert "corral init" in done.err
    assert corral("dev", "nothing.py", "--json").error["code"] == "app_load_error"


def test_serve_names_the_flag_that_is_wrong(project, corral):
    done = corral("serve", "--port", "99999", "--workers", "0", "--json")
    assert done.status == Exit.INVALID
    assert [fault["source"] for fault in done.error["errors"]] == ["--workers", "--port"]


def test_serve_refuses_to_be_open_without_keys(project, corral):
    done = corral("serve", "--host", "0.0.0.0", "--port", "0", "--json")
    assert (done.status, done.error["code"]) == (Exit.INVALID, "config_error")
    assert "--allow-unauthenticated" in done.error["message"]


def test_serve_shows_the_users_traceback(project):
    Path("agents.py").write_text("import corral\n\n1 / 0\n")
    done = subprocess.run([CORRAL, "serve", "--port", "0"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == Exit.FAILED
    assert "ZeroDivisionError" in done.stderr
    assert 'agents.py", line 3' in done.stderr


def test_serve_with_workers_and_keys_then_ctrl_c(project, corral):
    text = Path("corral.yaml").read_text()
    Path("corral.yaml").write_text(text + "security:\n  api_keys:\n    - key: letmein\n")
    Path("agents.py").write_text(Path("agents.py").read_text() + LOADED)
    server = RunningServer(project, "--workers", "2", "--host", "0.0.0.0", "--json")
    try:
        denied = corral("invoke", "Hi")
        assert denied.status == Exit.FAILED
        assert "CORRAL_API_KEY" in denied.err
        assert corral("invoke", "Hi", "--api-key", "letmein").status == 0
        said = json.loads((project / "server.out").read_text())
        assert (said["status"], said["url"], len(said["workers"])) == ("serving", server.url, 2)
        status = corral("status", "--json").json["servers"][0]
        assert (len(status["workers"]), status["health"]) == (2, "ok")  # what anybody may know
        assert corral("sessions", "list", "--api-key", "letmein").status == 0
        loaded = corral("invoke", "--agent", "loaded", "-p", "{}", "--api-key", "letmein", "--json").json["reply"]
        assert "uvicorn" in loaded
        assert "rich" not in loaded  # people's colours cost a server nothing
    finally:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=30) == 0


def test_dev_serves(project, corral):
    server = RunningServer(project, verb="dev")
    try:
        assert corral("invoke", "What is 3 * 5?").out == "3 * 5 is 15.\n"
    finally:
        assert server.stop() == 0
