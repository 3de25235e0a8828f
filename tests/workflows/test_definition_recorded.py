"""Definitions that Step Functions took and refused, as it was recorded: all of them are judged the same way here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.workflows.language.checking import faults, state_faults
from corral.workflows.language.document import document_of
from corral.workflows.language.fault import DefinitionInvalid, Fault, errors_of, said
from corral.workflows.language.reading import machine_of, read, state_of
from corral.workflows.language.references import variable_references

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "asl" / "cases"

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not beside the project")


def cases(*kinds: str) -> list[dict[str, Any]]:
    found = [case for path in sorted(RECORDED.glob("*.json")) for case in json.loads(path.read_text(encoding="utf-8"))]
    return [case for case in found if case["kind"] in kinds]


def found_in(definition: Any, kind: str = "STANDARD", *, single: bool = False) -> list[Fault]:
    try:
        document = document_of(definition)
    except DefinitionInvalid as invalid:
        return invalid.faults
    if single and "States" not in document:
        return state_faults(document, mocked=True)
    return faults(document, kind=kind, mocked=single)


def taken() -> Iterator[tuple[str, Any, str]]:
    """What Step Functions took: everything that was executed."""
    for case in cases("execution", "sync_execution", "execution_batch"):
        for run in case.get("runs", [case]):
            yield case["name"], run["definition"], run.get("type", "STANDARD")
            for other in run.get("also_create", []):
                yield case["name"], other["definition"], other["type"]
    for case in cases("api_script"):
        for step in case["steps"]:
            writes = step["op"] in ("create_state_machine", "update_state_machine") and not step.get("raises")
            if writes and "definition" in step["args"]:
                yield case["name"], step["args"]["definition"], step["args"].get("type", "STANDARD")


def test_every_definition_that_was_executed_is_taken_and_read() -> None:
    count = 0
    for name, definition, kind in taken():
        assert said(found_in(definition, kind)) == "", name
        machine_of(document_of(definition))
        count += 1
    assert count > 300


def test_every_state_that_was_tried_alone_is_taken_and_read() -> None:
    for case in cases("test_state"):
        if "exception" in case["expected"]:
            continue
        definition = case["args"]["definition"]
        assert said(found_in(definition, single=True)) == "", case["name"]
        document = document_of(definition)
        if "States" in document:
            machine_of(document)
        else:
            state_of(document)


def test_what_was_refused_is_refused_in_the_same_words() -> None:
    for case in cases("create_error"):
        args = case["args"]
        message = (
            f"Invalid State Machine Definition: '{said(found_in(args['definition'], args.get('type', 'STANDARD')))}'"
        )
        expected = case["expected"]["exception"]
        wanted = (expected.get("Message") or expected["Raw"]).replace("<partition>", "aws")
        assert wanted.endswith(message), case["name"]


def test_what_was_refused_between_other_calls_is_refused() -> None:
    for case in cases("api_script"):
        for step in case["steps"]:
            if step.get("raises") and "InvalidDefinition" in json.dumps(step.get("expect")):
                args = step["args"]
                assert errors_of(found_in(args["definition"], args.get("type", "STANDARD"))), case["name"]


def test_diagnostics_are_those_that_were_given() -> None:
    checked = 0
    for case in cases("api_script"):
        for step in case["steps"]:
            if step["op"] != "validate_state_machine_definition" or step.get("raises"):
                continue
            found = errors_of(found_in(step["args"]["definition"], step["args"].get("type", "STANDARD")))
            given = [
                {"code": fault.code, "location": fault.location, "message": fault.message, "severity": fault.severity}
                for fault in found
            ]
            assert given == step["expect"]["diagnostics"], case["name"]
            checked += 1
    assert checked


def test_variables_that_states_read_are_those_that_were_given() -> None:
    checked = 0
    for case in cases("api_script"):
        for step in case["steps"]:
            expected = step.get("expect")
            if (
                step["op"].startswith("describe_state_machine")
                and isinstance(expected, dict)
                and "definition" in expected
            ):
                definition = expected["definition"]
                text = definition if isinstance(definition, str) else json.dumps(definition)
                found = variable_references(read(text.replace("<partition>", "aws")))
                assert found == expected.get("variableReferences", found), case["name"]
                checked += 1
    assert checked
