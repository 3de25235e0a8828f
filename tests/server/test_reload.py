"""What `corral dev` notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.server.reload import FileWatch


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "agents.py").write_text("1")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "support.md").write_text("1")
    return tmp_path


def watch(folder) -> FileWatch:
    return FileWatch(folder, sleep=lambda _: None)


def test_nothing_happens(folder):
    assert watch(folder).changed() == ""


@pytest.mark.parametrize("name", ["agents.py", "prompts/support.md", "corral.yaml", ".env", "new/folder/tool.py"])
def test_it_notices_what_is_written(folder, name):
    watching = watch(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("two")
    assert watching.changed() == name
    assert watching.changed() == ""


def test_it_notices_what_goes(folder):
    watching = watch(folder)
    (folder / "agents.py").unlink()
    assert watching.changed() == "agents.py"


@pytest.mark.parametrize(
    "name", [".venv/lib.py", ".git/x.md", ".corral/x.yaml", "__pycache__/x.py", "notes.txt", "a.pyc"]
)
def test_it_leaves_alone_what_is_not_the_projects(folder, name):
    watching = watch(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("two")
    assert watching.changed() == ""


def test_it_waits_until_all_is_written(folder):
    later = ["b.py", "c.py"]

    def write_more(_seconds: float) -> None:
        if later:
            (folder / later.pop()).write_text("x")

    watching = FileWatch(folder, sleep=write_more)
    (folder / "a.py").write_text("x")
    assert watching.changed() == "a.py"
    assert not later
    assert watching.changed() == ""


def test_it_does_not_wait_for_ever(folder):
    rounds = []

    def write_on(_seconds: float) -> None:
        rounds.append(1)
        (folder / "log.md").write_text("x" * len(rounds))

    watching = FileWatch(folder, sleep=write_on)
    (folder / "a.py").write_text("x")
    assert watching.changed() == "a.py"
    assert len(rounds) < 100


def test_a_folder_that_goes_while_it_looks_is_no_error(folder):
    (folder / "locked").mkdir()
    (folder / "locked" / "x.py").write_text("1")
    (folder / "dangling.py").symlink_to(folder / "nowhere.py")
    watching = watch(folder)
    (folder / "locked" / "x.py").unlink()
    (folder / "locked").rmdir()
    assert watching.changed() == str(Path("locked", "x.py"))


def test_it_looks_less_often_where_there_is_much_to_see(folder, monkeypatch):
    watching = watch(folder)
    assert watching.pause_s == 0.25
    times = iter([0.0, 0.1])
    monkeypatch.setattr("corral.server.reload.time.perf_counter", lambda: next(times))
    watching.changed()
    assert watching.pause_s == pytest.approx(2.0)
