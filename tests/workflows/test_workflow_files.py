"""Files of workflows beside an app: found, judged by line, and told by `corral validate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from definition_scene import LARGE, machine

from corral import Workflow
from corral.cli.main import run
from corral.errors import ConfigError
from corral.workflows.declared import declared, files_in, problems_in
from corral.workflows.language.lines import line_of

YAML = """\
StartAt: one
States:
  one:
    Type: Pass
    Nxt: two
  two:
    Type: Pass
    End: true
"""
NO_END = "This object should have only one of the following fields: [Next, End]."


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_files_of_a_folder_are_declared_with_those_that_were_built(tmp_path):
    text = json.dumps(machine(), indent=4)
    folder = write(
        tmp_path / "workflows",
        triage__asl__json=text,
        quick__express__asl__yaml=yaml.safe_dump(machine()),
        notes__md="# no",
    )
    built = Workflow("built").shape("a")
    found = {workflow.name: workflow for workflow in declared(folder, [built])}
    assert list(found) == ["quick", "triage", "built"]
    assert (found["triage"].definition, found["triage"].kind) == (text, "STANDARD")
    assert (json.loads(found["quick"].definition), found["quick"].kind) == (machine(), "EXPRESS")
    assert (found["built"].definition, found["built"].source) == (built.to_json(indent=None), "Workflow('built')")
    assert declared(tmp_path / "nothing") == declared(None) == []


def test_everything_that_is_wrong_with_any_file_is_said_at_once(tmp_path):
    folder = write(tmp_path / "workflows", a__asl__yaml=YAML, b__asl__json='{"StartAt": "x",\n "States": }')
    with pytest.raises(ConfigError) as caught:
        declared(folder)
    assert caught.value.message.replace(str(folder), "workflows").splitlines() == [
        "workflows/a.asl.yaml:5: /States/one: Field 'Nxt' is not supported. Did you mean 'Next'?",
        f"workflows/a.asl.yaml:3: /States/one: {NO_END} There is none of them.",
        'workflows/a.asl.yaml:6: /States/two: State "two" is not reachable. Lead another state to it with `Next`, or remove it.',
        "workflows/b.asl.json:2: Expecting value at line 2, column 12.",
    ]
    assert caught.value.errors[0]["key"] == "/States/one"


def test_names_are_those_of_step_functions_and_stand_once(tmp_path):
    folder = write(tmp_path / "a", **{"two words__asl__json": json.dumps(machine())})
    with pytest.raises(ConfigError, match="no spaces"):
        declared(folder)
    folder = write(tmp_path / "b", same__asl__json=json.dumps(machine()))
    with pytest.raises(ConfigError, match="both define the workflow 'same'"):
        declared(folder, [Workflow("same").shape("a")])
    with pytest.raises(ConfigError, match="no spaces"):
        declared(None, [Workflow("two words").shape("a")])
    with pytest.raises(ConfigError, match=r"Workflow\('w'\): /States/a/Next: Missing"):
        declared(None, [Workflow("w").shape("a", next="gone")])


def test_a_file_that_is_no_text_is_a_problem(tmp_path):
    path = tmp_path / "a.asl.json"
    path.write_bytes(b"\xff")
    (problem,) = problems_in(path)
    assert "cannot be read" in str(problem)


@pytest.mark.parametrize(
    "written", [json.dumps(LARGE, indent=2), yaml.safe_dump(LARGE, sort_keys=False)], ids=["JSON", "YAML"]
)
@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("", None),
        ("/TimeoutSeconds", "TimeoutSeconds"),
        ("/States/Work", "Work"),
        ("/States/Work/Retry/1/JitterStrategy", "JitterStrategy"),
        ("/States/Route/Choices/1/And/1/Not/Variable", "$who"),
        ("/States/Work/Nothing", "Work"),
        ("/States/Work/Retry/7", "Retry"),
    ],
)
def test_a_pointer_leads_to_its_line(written, pointer, words):
    line = written.splitlines()[line_of(written, pointer) - 1]
    assert words is None or words in line


@pytest.mark.parametrize("text", ["{", '{"a": ', "[", "a: [", "{]", '{"a" "b"}'])
def test_a_line_of_what_cannot_be_read_is_the_first(text):
    assert line_of(text, "/a/b") == 1


def test_files_are_found_by_their_endings(tmp_path):
    write(tmp_path / "w", a__asl__json="", b__asl__yml="", c__json="", d__asl="")
    assert [path.name for path in files_in(tmp_path / "w")] == ["a.asl.json", "b.asl.yml"]


def test_corral_validate_looks_at_them(tmp_path, monkeypatch, capsys):
    write(tmp_path, agents__py="from corral import App\napp = App()\n@app.entrypoint\ndef f(p): return p\n")
    good = machine({"One": {"Type": "Pass", "Result": "$.a", "End": True}})
    write(tmp_path / "workflows", bad__asl__yaml=YAML, good__asl__json=json.dumps(good))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["corral", "validate", "--json"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert [problem["source"] for problem in found["problems"]] == [
        f"workflows/bad.asl.yaml:{line}" for line in (5, 3, 6)
    ]
    assert found["problems"][0]["message"] == "Field 'Nxt' is not supported. Did you mean 'Next'?"
    assert [workflow["file"] for workflow in found["workflows"]] == ["workflows/good.asl.json"]
    assert any("Result is taken as it stands" in warning for warning in found["warnings"])
