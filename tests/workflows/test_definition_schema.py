"""The schema for editors says the same as the checks, as far as shapes go."""

from __future__ import annotations

import copy
import json

import jsonschema_rs
import pytest
from definition_scene import LARGE, machine, one

from corral.workflows.language.checking import faults
from corral.workflows.language.checks.fields import STATES
from corral.workflows.language.fault import errors_of
from corral.workflows.language.schema import json_schema

VALID = jsonschema_rs.Draft202012Validator(json_schema())


def test_a_definition_in_which_everything_stands_fits():
    assert VALID.is_valid(LARGE)
    assert VALID.is_valid({"$schema": "workflow.schema.json", **machine()})


def test_every_field_of_every_state_is_described():
    parts = json_schema()["$defs"]
    for kind, fields in STATES.items():
        properties = parts[f"{kind}State"]["properties"]
        assert set(properties) == set(fields)
        assert all("description" in properties[name] for name in fields if name != "Type")


@pytest.mark.parametrize(
    "document",
    [
        {},
        machine(Comments="x"),
        one(Type="Pass", Nxt="One"),
        one(Type="Nothing"),
        one(Type="Wait"),
        one(Type="Wait", Seconds=1, Timestamp="2030-01-01T00:00:00Z"),
        one(Type="Wait", Seconds=-1),
        one(Type="Task"),
        one(Type="Map"),
        one(Type="Parallel", Branches=[]),
        one(Type="Task", Resource="corral:agent:a", Retry=[{}]),
        one(Type="Choice", Choices=[{"Variable": "$.a", "IsNull": "yes", "Next": "One"}]),
    ],
    ids=json.dumps,
)
def test_what_does_not_fit_is_a_fault_as_well(document):
    assert not VALID.is_valid(document)
    assert errors_of(faults(document))


def test_the_schema_refers_to_nothing_else():
    text = json.dumps(json_schema())
    references = {piece.split('"')[0] for piece in text.split('"$ref": "')[1:]}
    assert all(reference.startswith("#/$defs/") for reference in references)
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(json_schema()["$defs"])
    assert json_schema() == copy.deepcopy(json_schema())
