"""From JSON or YAML to a machine, within bounds."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
import yaml
from definition_scene import LARGE, PASS, machine, one

from corral.workflows.language.definition import Choice, Map, Parallel, Pass, Task, Wait, language_of
from corral.workflows.language.document import DEPTH_MAX, SIZE_MAX, document_of
from corral.workflows.language.fault import DefinitionInvalid
from corral.workflows.language.reading import machine_of, read, state_of


def refused(text: object) -> tuple[str, str]:
    with pytest.raises(DefinitionInvalid) as caught:
        read(text)  # type: ignore[arg-type]  # that is what is tried
    return caught.value.faults[0].code, caught.value.faults[0].message


def test_a_definition_is_the_same_from_json_from_yaml_and_from_values():
    text = json.dumps(LARGE)
    assert read(text) == read(text.encode()) == read(LARGE) == read(yaml.safe_dump(LARGE)) == machine_of(LARGE)


def test_every_field_has_its_place():
    found = read(LARGE)
    work, route, both, each, pause = (found.states[name] for name in ("Work", "Route", "Both", "Each", "Pause"))
    assert isinstance(work, Task)
    assert (work.retry[0].backoff_rate, work.retry[1].jitter_strategy, work.catch[0].next) == (1.5, "FULL", "Broken")
    assert isinstance(route, Choice)
    assert route.choices[0].test == {"Variable": "$.value", "NumericGreaterThan": 10}
    assert (route.choices[0].assign, route.choices[0].next, route.default) == ({"large": True}, "Both", "Pause")
    assert isinstance(both, Parallel)
    assert [list(branch.states) for branch in both.branches] == [["Left"], ["Right"]]
    assert isinstance(each, Map)
    assert (each.max_concurrency, each.item_processor.processor_config.mode) == (3, "INLINE")
    assert isinstance(pause, Wait)
    assert found.body(("States", "Both", "Branches", "1")).start_at == "Right"
    assert found.timeout_seconds == 3600


def test_a_field_that_is_null_is_not_one_that_is_missing():
    state = read(one(Type="Pass", InputPath=None, ResultPath=None, Result=None)).states["One"]
    assert isinstance(state, Pass)
    assert (state.input_path, state.result_path, state.result, state.parameters) == (None, None, None, msgspec.UNSET)
    bare = read(machine()).states["One"]
    assert isinstance(bare, Pass)
    assert (bare.input_path, bare.result_path, bare.result) == ("$", "$", msgspec.UNSET)


def test_old_spellings_of_a_map_are_read():
    inner = machine({"Two": PASS})
    old = read(one(Type="Map", Iterator=inner, Parameters={"a.$": "$"}))
    new = read(one(Type="Map", ItemProcessor=inner, ItemSelector={"a.$": "$"}))
    assert old == new


def test_a_state_inside_of_a_map_speaks_the_machines_language():
    inner = machine({"Two": {**PASS, "Parameters": {"a.$": "$"}}})
    found = read(one(Type="Map", QueryLanguage="JSONata", ItemProcessor=inner))
    each = found.states["One"]
    assert isinstance(each, Map)
    assert language_of(each.item_processor, each.item_processor.states["Two"]) == "JSONPath"
    found = read(
        machine({"One": {"Type": "Map", "ItemProcessor": machine({"Two": PASS}), "End": True}}, QueryLanguage="JSONata")
    )
    each = found.states["One"]
    assert isinstance(each, Map)
    assert language_of(each.item_processor, each.item_processor.states["Two"]) == "JSONata"


def test_a_single_state_is_read_like_one_of_a_machine():
    choices = [{"Variable": "$.a", "IsNull": True, "Next": "X"}]
    found = state_of({"Type": "Choice", "Choices": choices})
    assert isinstance(found, Choice)
    assert found.choices[0].test == {"Variable": "$.a", "IsNull": True}


def test_yaml_says_what_json_can_say_and_nothing_else():
    text = """
    StartAt: no
    States:
      no: {Type: Wait, Timestamp: 2030-01-01T00:00:00Z, Next: "1"}
      "1":
        Type: Pass
        Result: [1, 1.5, -2, 1e3, 0x10, 010, yes, true, ~, null, "true", 2030-01-01, .5, -Infinity]
        End: true
    """
    found = document_of(text)
    assert found["StartAt"] == "no"
    assert found["States"]["no"]["Timestamp"] == "2030-01-01T00:00:00Z"
    assert found["States"]["1"]["Result"] == [
        1,
        1.5,
        -2,
        1000.0,
        "0x10",
        "010",
        "yes",
        True,
        None,
        None,
        "true",
        "2030-01-01",
        ".5",
        "-Infinity",
    ]
    assert list(read(text).states) == ["no", "1"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not a definition", "INVALID_JSON_DESCRIPTION"),
        ("", "INVALID_JSON_DESCRIPTION"),
        ("{not json", "INVALID_JSON_DESCRIPTION"),
        ('{"StartAt": "A",}', "INVALID_JSON_DESCRIPTION"),
        ('{"a": NaN}', "INVALID_JSON_DESCRIPTION"),
        ('{"a": 1e999}', "INVALID_JSON_DESCRIPTION"),
        ("a: -1e999", "INVALID_JSON_DESCRIPTION"),
        ("a: [1", "INVALID_JSON_DESCRIPTION"),
        ("a: !!python/object:os.system x", "INVALID_JSON_DESCRIPTION"),
        ("? {a: 1}\n: 2", "INVALID_JSON_DESCRIPTION"),
        ('{"a": 1, "a": 2}', "INVALID_JSON_DESCRIPTION"),
        ("a: 1\na: 2", "INVALID_JSON_DESCRIPTION"),
        (b"\xff\xfe", "INVALID_JSON_DESCRIPTION"),
        ("[]", "SCHEMA_VALIDATION_FAILED"),
        ("- a\n- b", "SCHEMA_VALIDATION_FAILED"),
        ('"text"', "SCHEMA_VALIDATION_FAILED"),
        ("{}", "SCHEMA_VALIDATION_FAILED"),
    ],
)
def test_what_is_no_definition_is_refused(text, code):
    assert refused(text)[0] == code


def test_a_state_that_stands_there_twice_is_named():
    state = '{"Type": "Pass", "End": true}'
    text = f'{{"StartAt": "A", "States": {{"A": {state}, "A": {state}}}}}'
    assert refused(text) == ("DUPLICATE_STATE_NAME", "Duplicate State name: A")
    assert refused("StartAt: A\nStates:\n  A: {Type: Pass}\n  A: {Type: Pass}")[0] == "DUPLICATE_STATE_NAME"


def test_faults_say_where_in_the_text():
    _code, message = refused('{"StartAt": "A",\n "States": }')
    assert message == "Expecting value at line 2, column 12"


# -- definitions that are meant to hurt


def nested(depth: int) -> str:
    return '{"StartAt":"A","States":{"A":{"Type":"Pass","End":true,"Result":' + "[" * depth + "]" * depth + "}}}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (nested(DEPTH_MAX + 1), "TOO_DEEPLY_NESTED"),
        (nested(400_000), "TOO_DEEPLY_NESTED"),
        ("a: " + "[" * 5_000, "TOO_DEEPLY_NESTED"),
        ("a: &a [*a]", "TOO_DEEPLY_NESTED"),
        ("a: &a {b: *a}", "TOO_DEEPLY_NESTED"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
            "SCHEMA_VALIDATION_FAILED",
        ),
        (" " * (SIZE_MAX + 1), "SCHEMA_VALIDATION_FAILED"),
        ("[" + "1," * 500_000 + "1]", "SCHEMA_VALIDATION_FAILED"),
        (
            '{"StartAt":"A","States":{' + ",".join(f'"s{n}":{{}}' for n in range(90_000)) + "}}",
            "SCHEMA_VALIDATION_FAILED",
        ),
    ],
    ids=["deep", "very deep", "deep YAML", "around", "around a key", "laughs", "long", "wide", "many states"],
)
def test_a_bomb_is_refused_at_once(text, code):
    began = time.process_time()
    assert refused(text)[0] == code
    assert time.process_time() - began < 5


def test_maps_in_maps_are_refused_beyond_reason():
    document = machine()
    for depth in range(60):
        document = machine({f"m{depth}": {"Type": "Map", "ItemProcessor": document, "End": True}})
    assert refused(document)[0] == "TOO_DEEPLY_NESTED"
    assert refused(json.dumps(document))[0] == "TOO_DEEPLY_NESTED"


def test_values_that_are_no_json_are_bounded_as_well():
    around: dict[str, object] = {}
    around["a"] = around
    assert refused(around)[0] == "TOO_DEEPLY_NESTED"


@pytest.mark.parametrize("digits", [20, 400, 5_000])
@pytest.mark.parametrize("field", ["TimeoutSeconds", "HeartbeatSeconds"])
def test_a_number_of_very_many_digits_is_a_fault(digits, field):
    text = json.dumps(one(Type="Task", Resource="corral:agent:a", TimeoutSeconds=2, HeartbeatSeconds=1))
    code, _message = refused(text.replace(f'"{field}": ', f'"{field}": {"9" * digits}'))
    assert code in ("SCHEMA_VALIDATION_FAILED", "INVALID_JSON_DESCRIPTION")


def test_any_number_of_items_may_be_worked_on_at_once():
    document = one(
        Type="Map", ItemProcessor=machine({"Two": PASS}), MaxConcurrency=10**30, ToleratedFailureCount=10**400
    )
    each = read(document).states["One"]
    assert isinstance(each, Map)
    assert each.max_concurrency == 10**30
