from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cli.failure import Exit, Failure
from corral.cli.yaml_text import scalar, set_value
from corral.settings.load import load_settings

FILE = """\
# The head.
name: old  # the name

server:   # where
  # a comment
  port: 8080   # the port
  aliases:
    /agent: main
  # the end

sessions:
# store: here
security: {allow_unauthenticated: false}  # flow
"""


def settings():
    return load_settings(env={}).settings


def test_a_new_file(here, corral):
    done = corral("configure", "--name", "shop", "--entrypoint", "src/shop.py:app", "--region", "eu-west-1")
    assert done.status == 0
    assert Path("corral.yaml").read_text() == (
        "# yaml-language-server: $schema=.corral/schema.json\n"
        "name: shop\n"
        "entrypoint: src/shop.py:app\n"
        "\n"
        "agentcore:\n"
        "  region: eu-west-1\n"
    )
    found = settings()
    assert (found.name, found.entrypoint, found.agentcore.region) == ("shop", "src/shop.py:app", "eu-west-1")


def test_every_flag_has_its_key(here, corral):
    done = corral("configure", "--disable-memory", "--disable-otel", "--set", "server.port=9000", "--json")
    assert done.json == {
        "file": "corral.yaml",
        "changed": True,
        "set": {"agentcore.disable_memory": True, "agentcore.disable_otel": True, "server.port": 9000},
    }
    assert settings().agentcore.disable_memory
    corral("configure", "--enable-memory")
    assert not settings().agentcore.disable_memory
    assert settings().agentcore.disable_otel


def test_comments_and_order_stay(here, corral):
    Path("corral.yaml").write_text(FILE)
    changes = ["name=new", "server.port=9000", "server.workers=2", "sessions.record=false", "store.pool_max=3"]
    changes += ["security.allow_unauthenticated=true", "runtime.timeout_s=1.5"]
    done = corral("configure", *(part for change in changes for part in ("--set", change)))
    assert done.status == 0
    assert Path("corral.yaml").read_text() == (
        FILE.replace("old", "new")
        .replace("8080", "9000")
        .replace("    /agent: main\n", "    /agent: main\n  workers: 2\n")
        .replace("sessions:\n", "sessions:\n  record: false\n")
        .replace("unauthenticated: false", "unauthenticated: true")
        + "\nstore:\n  pool_max: 3\n\nruntime:\n  timeout_s: 1.5\n"
    )


def test_what_is_there_already_changes_nothing(here, corral):
    Path("corral.yaml").write_text(FILE)
    assert not corral("configure", "--name", "old", "--json").json["changed"]
    assert Path("corral.yaml").read_text() == FILE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("server.prot=1", "Did you mean `port`?"),
        ("server.port=high", "Expected `int`"),
        ("server.port=99999", "Expected `int` <= 65535"),
        ("server.aliases=1", "more than one value"),
    ],
)
def test_what_is_not_valid_is_not_written(here, corral, change, said):
    Path("corral.yaml").write_text(FILE)
    done = corral("configure", "--set", change)
    assert done.status == Exit.INVALID
    assert said in done.err
    assert Path("corral.yaml").read_text() == FILE


@pytest.mark.parametrize("text", ["- a list\n", "server: 3\n"])
def test_a_file_of_another_shape_is_left_alone(here, corral, text):
    Path("corral.yaml").write_text(text)
    done = corral("configure", "--set", "server.port=9000")
    assert done.status == Exit.INVALID
    assert Path("corral.yaml").read_text() == text


def test_a_file_that_is_no_yaml_is_left_alone(here, corral):
    Path("corral.yaml").write_text("a: [\n")
    done = corral("configure", "--name", "x", "--json")
    assert (done.status, done.error["code"]) == (Exit.INVALID, "config_error")
    assert Path("corral.yaml").read_text() == "a: [\n"


def test_faults_that_were_there_before_do_not_stand_in_the_way(here, corral):
    Path("corral.yaml").write_text("store:\n  url: ${NOT_SET_HERE}\n")
    assert corral("configure", "--name", "shop").status == 0
    assert "name: shop\n" in Path("corral.yaml").read_text()


def test_without_a_terminal_it_does_not_ask(here, corral):
    done = corral("configure")
    assert done.status == Exit.USAGE
    assert corral("configure", "--set", "port").status == Exit.USAGE


def test_on_a_terminal_it_asks(here, corral, monkeypatch):
    Path("corral.yaml").write_text("name: old\n")
    stdin = io.StringIO("shop\n\neu-west-1\n")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = corral("configure", "--json")
    assert done.status == 0
    assert done.json["set"] == {"name": "shop", "agentcore.region": "eu-west-1"}
    assert Path("corral.yaml").read_text() == "name: shop\n\nagentcore:\n  region: eu-west-1\n"


@given(value=st.text(), before=st.sampled_from(["", FILE, "name: 'x'\n", 'name:\n"a": 1', "{name: x, server: {}}\n"]))
def test_any_text_can_be_set_and_read_again(value, before):
    import yaml

    after = set_value(set_value(before, "name", value), "server.host", value)
    read = yaml.load(after, Loader=yaml.BaseLoader)
    assert (read["name"], read["server"]["host"]) == (value, value)
    assert set_value(after, "name", value) == after


def test_texts_that_yaml_would_take_for_something_else_are_quoted():
    assert [scalar(text) for text in ("true", "no", "", "1", "a: b", "a#b", "plain/one.py:app")] == [
        '"true"',
        '"no"',
        '""',
        '"1"',
        '"a: b"',
        '"a#b"',
        "plain/one.py:app",
    ]


def test_a_block_of_text_is_not_replaced():
    with pytest.raises(Failure, match="more than one value"):
        set_value("name: |\n  a\n  b\n", "name", "x")
