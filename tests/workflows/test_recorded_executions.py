"""Executions as they were recorded, run by the machine in memory. The recordings are read where they lie, and are no part of this."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from machine_scene import RECORDED, Lambdas, Scene, recorded_module

pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings lie beside the repository, or nowhere")

FEATURES = sorted(path.stem for path in (RECORDED / "cases").glob("*.json"))


def runs_of(feature: str) -> list[tuple[str, dict[str, Any]]]:
    """What can be run by the machine alone: no activities, no other machines, no objects to read."""
    cases = json.loads((RECORDED / "cases" / f"{feature}.json").read_text())
    return [
        (case["name"], {"type": case.get("type", "STANDARD"), **one})
        for case in cases
        if case["kind"] in ("execution", "execution_batch", "sync_execution")
        for one in case.get("runs", [case])
        if not (case.get("activity") or case.get("also_create") or case.get("s3"))
    ]


def differences(case: dict[str, Any], runner: Any, lambdas: Lambdas) -> list[str]:
    scene = Scene(case["definition"], case["input"], lambdas, kind=case["type"])
    ended, expected = scene.run(), case["expected"]
    found = []
    if ended.status != expected["status"]:
        return [f"status {ended}"]
    if "output" in expected and not runner.same(expected["output"], ended.output):
        found.append(f"output {ended.output}")
    if ended.status != "SUCCEEDED":
        if not runner.same(expected.get("error") or "", ended.error or ""):
            found.append(f"error {ended.error}")
        if "cause" in expected and not runner.same(expected["cause"], ended.cause or ""):
            found.append(f"cause {ended.cause}")
    if expected.get("events") and not same_types(scene.types, expected):
        found.append(f"events {scene.types}")
    return found


def same_types(types: list[str], expected: dict[str, Any]) -> bool:
    if not expected.get("events_unordered"):
        return types == expected["events"]
    # Who recorded Parallel states lost what stands before their exits: `ParallelStateSucceeded` without exception.
    missing = Counter(types) - Counter(expected["events"])
    is_lossy = all(one.startswith("ParallelState") for one in missing)
    return not Counter(expected["events"]) - Counter(types) and is_lossy


@pytest.mark.parametrize("feature", [feature for feature in FEATURES if runs_of(feature)])
def test_executions_go_as_they_were_recorded(feature):
    runner, lambdas = recorded_module("run"), Lambdas(recorded_module("functions").FUNCTIONS)
    wrong = {name: found for name, one in runs_of(feature) if (found := differences(one, runner, lambdas))}
    assert wrong == {}
