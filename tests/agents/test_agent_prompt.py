"""Instructions with variables, as texts and as files."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys

import pytest
from agent_scene import ScriptedModel
from hypothesis import given
from hypothesis import strategies as st

from corral.agents.agent import Agent
from corral.agents.prompt import Prompt, read_prompt
from corral.errors import ConfigError


def test_variables_are_filled_and_every_other_brace_is_its_own():
    prompt = Prompt('Be {tone}. Answer like {"a": {"b": 1}}, { x }, {} and {{tone}}; {tone}!')
    assert prompt.variables == ("tone",)
    assert prompt.filled({"tone": "kind"}) == 'Be kind. Answer like {"a": {"b": 1}}, { x }, {} and {tone}; kind!'


def test_values_that_are_no_text_are_said_as_json_and_functions_are_called_each_time():
    days = iter(["Monday", "Tuesday"])
    prompt = Prompt("{limits} {today}", fixed={"today": lambda: next(days)})
    assert prompt.open == ("limits",)
    assert prompt.filled({"limits": {"a": [1, None]}}) == '{"a":[1,null]} Monday'
    assert prompt.filled({"limits": dt.date(2026, 1, 2)}) == "2026-01-02 Tuesday"
    assert Prompt("{x}").filled({"x": 1 + 2j}) == "(1+2j)"


def test_what_is_missing_or_unknown_is_said_with_what_to_do():
    with pytest.raises(ConfigError, match=r"needs a value for customer=…, tone=…"):
        Prompt("{customer} {tone}").filled({})
    with pytest.raises(ConfigError, match=r"no variable \{tome\}; did you mean \{tone\}"):
        Prompt("{tone}").filled({"tome": 1})
    with pytest.raises(ConfigError, match=r"no variable \{x\}; it has: none"):
        Prompt("plain", fixed={"x": 1})
    with pytest.raises(ConfigError, match="that name is taken"):
        Prompt("{session}")


@given(st.text())
def test_a_text_without_variables_stays_as_it_is(text):
    prompt = Prompt(text)
    if not prompt.variables and "{{" not in text:
        assert prompt.filled({}) == text


@given(st.lists(st.tuples(st.text("ab {}\n"), st.from_regex(r"[a-z_]{1,5}", fullmatch=True)), max_size=5))
def test_every_variable_is_found_where_it_stands(pieces):
    pieces = [(text, name) for text, name in pieces if not text.endswith("{") and name != "self"]
    text = "".join(f"{before.replace('{', '(')}{{{name}}}|" for before, name in pieces)
    values = {name: f"<{name}>" for _, name in pieces}
    expected = "".join(f"{before.replace('{', '(')}<{name}>|" for before, name in pieces)
    assert Prompt(text).filled(values) == expected


def test_a_file_is_looked_for_beside_the_users_file_first_then_where_the_program_runs(tmp_path, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        (folder / "prompts").mkdir(parents=True)
    (project / "prompts" / "support.md").write_text("You help {customer}.\n")
    (elsewhere / "prompts" / "other.md").write_text("Other.")
    (project / "app.py").write_text(
        "from corral.agents.agent import Agent\n"
        "support = Agent('support', prompt='prompts/support.md')\n"
        "other = Agent('other', prompt='prompts/other.md')\n"
    )
    monkeypatch.chdir(elsewhere)
    spec = importlib.util.spec_from_file_location("users_app", project / "app.py")
    app = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "users_app", app)
    spec.loader.exec_module(app)
    assert app.support.prompt.filled({"customer": "Ann"}) == "You help Ann."
    assert app.support.open_variables == ("customer",)
    assert app.other.prompt.filled({}) == "Other."


def test_a_file_that_is_not_there_is_said_when_the_agent_is_made(tmp_path):
    with pytest.raises(ConfigError, match=r"no prompt 'prompts/suport.md': looked for .*prompts/suport.md"):
        Agent("support", prompt="prompts/suport.md")
    with pytest.raises(ConfigError, match="no prompt"):
        Agent("support", prompt=tmp_path / "none")
    unreadable = tmp_path / "binary.md"
    unreadable.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompt(unreadable)
    (tmp_path / "there.md").write_text("there")
    assert read_prompt("there.md", beside=tmp_path).filled({}) == "there"
    assert read_prompt("Answer in the file notes.md").filled({}) == "Answer in the file notes.md"


async def test_variables_are_given_to_each_run():
    model = ScriptedModel("ok")
    agent = Agent("a", "You serve {tenant}, in {language}.", model=model, variables={"language": "German"})
    await agent.run("?", tenant="Acme")
    assert model.last.messages[0].text == "You serve Acme, in German."
    await agent.run("?", tenant="Acme", language="Dutch")
    assert model.last.messages[0].text == "You serve Acme, in Dutch."
    with pytest.raises(ConfigError, match="needs a value for tenant=…"):
        await agent.run("?")
    with pytest.raises(ConfigError, match="no variable"):
        Agent("a", "plain", variables={"x": 1})
