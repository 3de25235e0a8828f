"""From a target to an app, and what people are told when there is none."""

from __future__ import annotations

import os
import py_compile
import sys

import pytest

from corral.app import App
from corral.errors import AppLoadError
from corral.server.loading import is_loading, load_app

ONE = "from corral import App\n\napp = App('it')\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder one is in; what is imported from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = set(sys.modules)

    def write(name: str, content: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(target: str) -> str:
    with pytest.raises(AppLoadError) as caught:
        load_app(target)
    return caught.value.message


@pytest.mark.parametrize("target", ["served.py", "served.py:app", "served", "served:app", "./served.py"])
def test_a_file_or_a_module(project, target):
    project("served.py", ONE)
    assert isinstance(load_app(target), App)


def test_a_file_is_read_even_if_what_was_compiled_of_it_looks_fresh(project, tmp_path):
    project("served.py", ONE)
    path = tmp_path / "served.py"
    py_compile.compile(str(path), doraise=True)
    written = path.stat()
    project("served.py", ONE.replace("'it'", "'at'"))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert load_app("served.py").name == "at"


def test_a_file_elsewhere_finds_its_neighbours(project, tmp_path):
    project("deep/prompts_of_it.py", "NAME = 'neighbour'\n")
    project("deep/served.py", "from prompts_of_it import NAME\nfrom corral import App\nthing = App(NAME)\n")
    assert load_app("deep/served.py").name == "neighbour"
    assert load_app(str(tmp_path / "deep" / "served.py") + ":thing").name == "neighbour"
    assert sys.path[0] == str(tmp_path / "deep")


def test_the_project_comes_first_even_if_it_was_on_the_path_already(project, tmp_path):
    sys.path.append(str(tmp_path))
    project("served.py", ONE)
    load_app("served.py")
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_file_of_a_package_may_import_relatively(project):
    project("shop/__init__.py", "")
    project("shop/agents/__init__.py", "")
    project("shop/names.py", "NAME = 'shop'\n")
    project("shop/agents/served.py", "from ..names import NAME\nfrom corral import App\napp = App(NAME)\n")
    assert load_app("shop/agents/served.py").name == "shop"
    assert load_app("shop.agents.served").name == "shop"


def test_a_file_named_like_a_module_in_use_does_not_take_its_place(project):
    import json

    project("json.py", ONE)
    assert load_app("json.py").name == "it"
    assert sys.modules["json"] is json


def test_classes_of_the_file_can_be_found_by_name(project):
    project("served.py", ONE + "class Order: pass\napp.order = Order\n")
    order = load_app("served.py").order
    assert sys.modules[order.__module__].Order is order  # what pickle does


def test_the_app_may_have_any_name_if_it_is_the_only_one(project):
    project("served.py", "from corral import App\nmine = also = App('mine')\n")
    assert load_app("served.py").name == "mine"
    project("two.py", "from corral import App\nfirst = App('1')\nsecond = App('2')\n")
    assert refused("two.py") == "two.py has several apps (first, second): name one, `two.py:first`."
    assert load_app("two.py:second").name == "2"
    project("three.py", "from corral import App\nother = App('o')\napp = App('it')\n")
    assert load_app("three.py").name == "it"


def test_a_name_that_is_not_there(project):
    project("served.py", ONE + "other = 3\n")
    assert refused("served.py:nothing") == "served.py has no 'nothing'. It has 'app'."
    assert refused("served.py:other") == "'other' in served.py is a int, not a corral.App."


def test_there_is_no_such_file_or_module(project, tmp_path):
    assert refused("nothing.py").startswith("There is no file nothing.py.")
    assert refused("shop.nothing").startswith("There is no module 'shop.nothing' here.")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("class Graph:\n    def astream(self): ...\ngraph = Graph()\n", "`app.add(graph)`"),
        ("class Agent:\n    def stream_async(self): ...\n    def __call__(self): ...\nx = Agent()\n", "`app.add(x)`"),
        ("import os\nfrom json import loads\ndef handler(payload): ...\n", "`@app.entrypoint` over `def handler`"),
        ("def one(): ...\ndef two(): ...\nTHREE = 3\n", "It defines one, two, THREE."),
        ("import os\n", "It defines nothing."),
    ],
)
def test_no_app_but_something_else(project, content, told):
    project("served.py", content)
    message = refused("served.py")
    assert message.startswith("served.py has no corral.App. It ")
    assert told in message


def test_an_error_is_shown_from_the_users_first_line_to_the_users_last(project, tmp_path):
    project("helper_of_it.py", "def work():\n    return {}['missing']\n")
    project("served.py", "import helper_of_it\n\nhelper_of_it.work()\n")
    lines = refused("served.py").splitlines()
    assert lines[0] == "served.py could not be loaded:"
    assert lines[2] == "Traceback (most recent call last):"
    assert [line.split(", line")[0].rpartition("/")[2].strip('"') for line in lines if line.startswith("  File")] == [
        "served.py",
        "helper_of_it.py",
    ]
    assert lines[-1] == "KeyError: 'missing'"


def test_what_corral_itself_refuses_is_blamed_on_the_users_line(project):
    project("served.py", ONE + "@app.async_task\ndef task(): ...\n")
    message = refused("served.py")
    assert message.endswith("ValueError: @async_task can only be applied to async functions")
    assert message.count("  File") == 1
    assert 'served.py", line 4' in message


def test_the_cause_of_an_error_is_shown_as_well(project):
    project("served.py", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise RuntimeError('no key') from e\n")
    message = refused("served.py")
    assert "ZeroDivisionError" in message
    assert message.endswith("RuntimeError: no key")
    assert "corral/server" not in message
    assert "importlib" not in message


def test_a_syntax_error_points_at_its_place(project):
    project("served.py", "def broken(:\n    pass\n")
    message = refused("served.py")
    assert 'served.py", line 1' in message
    assert "^" in message
    assert "corral/server" not in message


def test_a_missing_library_is_not_a_missing_target(project):
    project("served.py", "import no_such_library\n")
    assert refused("served").endswith("ModuleNotFoundError: No module named 'no_such_library'")


def test_a_file_that_ends_the_program_is_told_how_not_to(project):
    project("served.py", "import sys\nsys.exit(3)\n")
    message = refused("served.py")
    assert "SystemExit: 3" in message
    assert message.endswith("`if __name__ == '__main__':`.")


def test_a_file_that_serves_itself_is_told_how_not_to(project):
    project("served.py", ONE + "@app.entrypoint\ndef it(payload): ...\napp.run(port=0)\n")
    assert refused("served.py").endswith("Put that under `if __name__ == '__main__':`.")
    assert not is_loading()


def test_ctrl_c_while_it_loads_is_no_error_of_the_users(project):
    project("served.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app("served.py")
    with pytest.raises(KeyboardInterrupt):
        load_app("served")
