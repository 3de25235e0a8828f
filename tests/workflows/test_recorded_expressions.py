"""Expressions of recorded executions, evaluated without a machine. The recordings are read where they lie, and are no part of this."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from corral.workflows.failing import StateFailed
from corral.workflows.language import choosing, templates
from corral.workflows.language.scope import Scope

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "asl"
pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings lie beside the repository, or nowhere")


def cases(feature: str):
    return json.loads((RECORDED / "cases" / f"{feature}.json").read_text())


def runner():
    spec = importlib.util.spec_from_file_location("recorded_run", RECORDED / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only_state(definition):
    (state,) = definition["States"].values()
    return state


@pytest.mark.parametrize("feature", ["intrinsics", "base_states", "jsonata_functions", "jsonata_output"])
def test_templates_of_one_state(feature):
    equal, count = runner().eq, 0
    for case in cases(feature):
        if len(case["definition"]["States"]) != 1 or only_state(case["definition"])["Type"] != "Pass":
            continue
        state, language = only_state(case["definition"]), case["query_language"]
        field = "Parameters" if language == "JSONPath" else "Output"
        scope = Scope(
            input=case["input"], context={"Execution": {"Input": case["input"]}, "StateMachine": {"Name": "a-b-a"}}
        )
        try:
            found, failed = templates.evaluate(state[field], scope, language=language, field=field), None
        except StateFailed as failure:
            found, failed = None, failure
        expected = case["expected"]
        if failed is not None:
            assert failed.error == expected.get("error"), case["name"]
            assert (expected.get("cause") or "").endswith(failed.cause or "?"), case["name"]
        else:
            assert (
                equal(expected["output"], found)
                or "<ArnPart" in json.dumps(expected)
                or "<any>" in json.dumps(expected)
            )
        count += 1
    assert count


def test_rules_of_choices():
    count = 0
    for case in cases("choice_operators"):
        for run in case["runs"]:
            state = run["definition"]["States"][run["definition"]["StartAt"]]
            (rule,) = state["Choices"]
            goes = rule["Next"] if choosing.matches(rule, Scope(input=run["input"])) else state["Default"]
            target = run["definition"]["States"][goes]
            assert target["Result"] == run["expected"]["output"], (rule, run["input"])
            count += 1
    assert count
