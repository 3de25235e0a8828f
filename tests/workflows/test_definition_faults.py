"""What is wrong with a definition, in the words of Step Functions and at its places."""

from __future__ import annotations

from typing import Any

import pytest
from definition_scene import LARGE, PASS, TASK, a_map, choice, distributed, machine, one

from corral.workflows.language.checking import faults, state_faults
from corral.workflows.language.fault import Fault, errors_of, said

S = "SCHEMA_VALIDATION_FAILED"
UNKNOWN = (
    "The resource provided {} is not recognized. The value is not a valid resource ARN, or the resource is not available in "
    "this region."
)
WHEN = {"Variable": "$.a", "IsPresent": True, "Next": "One"}


def jsonata(expression: Any) -> dict[str, Any]:
    return machine({"One": {"Type": "Pass", "Output": expression, "End": True}}, QueryLanguage="JSONata")


def express(resource: str) -> dict[str, Any]:
    return one(Type="Task", Resource=resource)


CASES: dict[str, tuple[Any, list[tuple[str, str, str | None]]]] = {
    "nothing there": ({}, [(S, "These fields are required: [States, StartAt]", "/")]),
    "no StartAt": ({"States": {"A": PASS}}, [(S, "These fields are required: [StartAt]", "/")]),
    "no object": ([], [(S, "Expected value of type [OBJECT]", "/")]),
    "no states": (machine() | {"States": {}}, [(S, "Value cannot be empty", "/States")]),
    "a field nobody knows": (machine(Comments="x"), [(S, "Field 'Comments' is not supported", "/")]),
    "version": (machine(Version="2.0"), [(S, "Value should be one of the following: [1.0]", "/Version")]),
    "the machine's timeout": (machine(TimeoutSeconds=0), [(S, "Minimum value is 1", "/TimeoutSeconds")]),
    "no type": (machine({"One": {"End": True}}), [(S, "These fields are required: [Type]", "/States/One")]),
    "a type nobody knows": (
        one(Type="Tasks"),
        [
            (
                S,
                "Value should be one of the following: [Task, Pass, Wait, Choice, Succeed, Fail, Parallel, Map]",
                "/States/One/Type",
            )
        ],
    ),
    "a field of another state": (
        one(Type="Pass", TimeoutSeconds=1),
        [(S, "Field 'TimeoutSeconds' is not supported", "/States/One")],
    ),
    "Next and End": (
        machine({"One": {"Type": "Pass", "Next": "Two", "End": True}, "Two": PASS}),
        [(S, "There should only be one of the following fields: [Next, End]", "/States/One")],
    ),
    "neither Next nor End": (
        machine({"One": {"Type": "Pass"}, "Two": PASS}),
        [
            (S, "This object should have only one of the following fields: [Next, End]", "/States/One"),
            ("MISSING_TRANSITION_TARGET", 'State "Two" is not reachable.', "/States/Two"),
        ],
    ),
    "a name of 81 letters": (
        machine({"x" * 81: PASS}),
        [
            (
                "INVALID_STATE_NAME",
                f"State name '{'x' * 81}' exceeds the 80-character limit allowed by the service",
                f"/States/{'x' * 81}",
            )
        ],
    ),
    # -- languages
    "a field of JSONata": (
        one(Type="Pass", Output={}),
        [
            (
                S,
                "The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage",
                "/States/One",
            )
        ],
    ),
    "a field of JSONPath": (
        machine({"One": {**PASS, "InputPath": "$.a"}}, QueryLanguage="JSONata"),
        [
            (
                S,
                "The QueryLanguage is set to 'JSONata', but field 'InputPath' is only supported for the 'JSONPath' QueryLanguage",
                "/States/One",
            )
        ],
    ),
    "back to JSONPath": (
        machine({"One": {**PASS, "QueryLanguage": "JSONPath", "Output": 1}}, QueryLanguage="JSONata"),
        [(S, "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine", "/States/One")],
    ),
    "a language nobody speaks": (
        machine({"One": {**PASS, "QueryLanguage": "jsonata", "Output": 1}}),
        [(S, "Value should be one of the following: [JSONPath, JSONata]", "/States/One/QueryLanguage")],
    ),
    "a number for a language": (machine(QueryLanguage=5), [(S, "Expected value of type [STRING]", "/QueryLanguage")]),
    "a language of a branch": (
        one(Type="Parallel", Branches=[machine({"Two": PASS}, QueryLanguage="JSONata")]),
        [(S, "Field 'QueryLanguage' is not supported", "/States/One/Branches[0]")],
    ),
    "the language of a Map is its own": (
        machine(
            {
                "M": {
                    "Type": "Map",
                    "QueryLanguage": "JSONata",
                    "ItemProcessor": machine({"P": {**PASS, "Output": 1}}),
                    "End": True,
                }
            }
        ),
        [
            (
                S,
                "The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage",
                "/States/M/ItemProcessor/States/P",
            )
        ],
    ),
    # -- where states lead
    "a target that is not there": (
        machine({"A": {"Type": "Pass", "Next": "C"}, "B": PASS}),
        [
            ("MISSING_TRANSITION_TARGET", "Missing 'Next' target: C", "/States/A/Next"),
            ("MISSING_TRANSITION_TARGET", 'State "B" is not reachable.', "/States/B"),
        ],
    ),
    "a start that is not there": (
        machine() | {"StartAt": "Nope"},
        [
            ("MISSING_TRANSITION_TARGET", "Missing 'Next' target: Nope", "/StartAt"),
            ("MISSING_TRANSITION_TARGET", 'State "One" is not reachable.', "/States/One"),
        ],
    ),
    "no end": (
        machine(
            {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}, "C": {"Type": "Pass", "Next": "A"}}
        ),
        [("MISSING_END_STATE", "Workflow has no terminal state", None)],
    ),
    "a circle apart": (
        machine({"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}, "C": PASS}),
        [("MISSING_TRANSITION_TARGET", 'State "C" is not reachable.', "/States/C")],
    ),
    "a default that is not there": (
        choice(WHEN, Default="Gone"),
        [("MISSING_TRANSITION_TARGET", "Missing 'Next' target: Gone", "/States/Route/Default")],
    ),
    "a rule's target that is not there": (
        choice(WHEN, {**WHEN, "Next": "Gone"}),
        [("MISSING_TRANSITION_TARGET", "Missing 'Next' target: Gone", "/States/Route/Choices[1]/Next")],
    ),
    "a catcher's target that is not there": (
        one(**TASK, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Gone"}]),
        [("MISSING_TRANSITION_TARGET", "Missing 'Next' target: Gone", "/States/One/Catch[0]/Next")],
    ),
    "a state that nothing leads to, in a branch": (
        one(Type="Parallel", Branches=[machine({"Two": PASS, "Three": PASS})]),
        [("MISSING_TRANSITION_TARGET", 'State "Three" is not reachable.', "/States/One/Branches[0]/States/Three")],
    ),
    "the same name twice": (
        one(Type="Parallel", Branches=[machine()]),
        [("DUPLICATE_STATE_NAME", "Duplicate State name: One", "/States/One/Branches[0]/States/One")],
    ),
    # -- tasks
    "no resource": (one(Type="Task"), [(S, "These fields are required: [Resource]", "/States/One")]),
    "a resource of nobody": (express("dynamo"), [(S, "Value is not a valid resource ARN", "/States/One/Resource")]),
    "a resource of ours, misspelt": (
        express("corral:agnt:x"),
        [(S, "Value is not a valid resource ARN", "/States/One/Resource")],
    ),
    "a resource that is elsewhere": (
        express("arn:aws:states:::dynamodb:query"),
        [
            (
                S,
                UNKNOWN.format("arn:aws:states:::dynamodb:query"),
                "/States/One/Resource",
            )
        ],
    ),
    "no function's name": (
        one(Type="Task", Resource="arn:aws:states:::lambda:invoke", Parameters={"Payload.$": "$", "Foo": 1}),
        [
            (S, "The field 'Foo' is not supported by Step Functions", "/States/One/Parameters"),
            (S, "The field 'FunctionName' is required but was missing", "/States/One/Parameters"),
        ],
    ),
    "two timeouts": (
        one(**TASK, TimeoutSeconds=1, TimeoutSecondsPath="$.t"),
        [(S, "There should only be one of the following fields: [TimeoutSeconds, TimeoutSecondsPath]", "/States/One")],
    ),
    "a heartbeat as long as the timeout": (
        one(**TASK, TimeoutSeconds=5, HeartbeatSeconds=5),
        [(S, "HeartbeatSeconds must be smaller than TimeoutSeconds", "/States/One/HeartbeatSeconds")],
    ),
    "credentials of nobody": (
        one(**TASK, Credentials={"Role": "x"}),
        [(S, "The field 'RoleArn' is required but was missing", "/States/One/Credentials")],
    ),
    "credentials for an activity": (
        one(Type="Task", Resource="arn:aws:states:us-east-1:000000000000:activity:a", Credentials={"RoleArn": "x"}),
        [(S, "The field 'Credentials' is not supported for activities", "/States/One/Credentials")],
    ),
    # -- Retry and Catch
    "no errors to look for": (
        one(**TASK, Retry=[{}]),
        [(S, "These fields are required: [ErrorEquals]", "/States/One/Retry[0]")],
    ),
    "none of them": (
        one(**TASK, Retry=[{"ErrorEquals": []}]),
        [(S, "Value cannot be empty", "/States/One/Retry[0]/ErrorEquals")],
    ),
    "ALL not alone": (
        one(**TASK, Retry=[{"ErrorEquals": ["A", "States.ALL"]}]),
        [(S, "States.ALL must appear alone and at end of list", "/States/One/Retry[0]/ErrorEquals")],
    ),
    "ALL not last": (
        one(**TASK, Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["A"]}]),
        [(S, "States.ALL must appear alone and at end of list", "/States/One/Retry[0]/ErrorEquals")],
    ),
    "no such jitter": (
        one(**TASK, Retry=[{"ErrorEquals": ["A"], "JitterStrategy": "HALF"}]),
        [(S, "Value should be one of the following: [NONE, FULL]", "/States/One/Retry[0]/JitterStrategy")],
    ),
    "times below": (
        one(
            **TASK,
            Retry=[
                {
                    "ErrorEquals": ["A"],
                    "IntervalSeconds": 0,
                    "MaxAttempts": -1,
                    "BackoffRate": 0.5,
                    "MaxDelaySeconds": 1,
                }
            ],
        ),
        [
            (S, "Minimum value is 1", "/States/One/Retry[0]/IntervalSeconds"),
            (S, "Minimum value is 0", "/States/One/Retry[0]/MaxAttempts"),
            (S, "Minimum value is 1.0", "/States/One/Retry[0]/BackoffRate"),
        ],
    ),
    "a delay below the first": (
        one(**TASK, Retry=[{"ErrorEquals": ["A"], "IntervalSeconds": 5, "MaxDelaySeconds": 5}]),
        [(S, "MaxDelaySeconds must be greater than IntervalSeconds", "/States/One/Retry[0]/MaxDelaySeconds")],
    ),
    "a catcher without a target": (
        one(**TASK, Catch=[{"ErrorEquals": ["A"]}]),
        [(S, "These fields are required: [Next]", "/States/One/Catch[0]")],
    ),
    # -- Wait
    "nothing to wait for": (
        one(Type="Wait"),
        [
            (
                S,
                "This object should have only one of the following fields: [SecondsPath, Seconds, TimestampPath, Timestamp]",
                "/States/One",
            )
        ],
    ),
    "two times to wait for": (
        one(Type="Wait", Seconds=1, Timestamp="2030-01-01T00:00:00Z"),
        [
            (
                S,
                "There should only be one of the following fields: [SecondsPath, Seconds, TimestampPath, Timestamp]",
                "/States/One",
            )
        ],
    ),
    "too long": (one(Type="Wait", Seconds=100_000_000), [(S, "Maximum value is 99999999", "/States/One/Seconds")]),
    "no whole number": (
        one(Type="Wait", Seconds=1.5),
        [(S, "Expected value of type [INTEGER]", "/States/One/Seconds")],
    ),
    "no timestamp": (
        one(Type="Wait", Timestamp="05-12-2016T21:29:29Z"),
        [(S, "String does not match RFC3339 timestamp", "/States/One/Timestamp")],
    ),
    # -- Choice
    "no rules": (choice(Default="One"), [(S, "Value cannot be empty", "/States/Route/Choices")]),
    "a rule that leads nowhere": (
        choice({"Variable": "$.a", "IsNull": True}, Default="One"),
        [(S, "These fields are required: [Next]", "/States/Route/Choices[0]")],
    ),
    "a rule of nothing": (
        choice({"Next": "One"}),
        [
            (
                S,
                "The object must have only one of the following fields, [And, Or, Not, Variable, Condition]",
                "/States/Route/Choices[0]",
            )
        ],
    ),
    "two comparisons": (
        choice({**WHEN, "IsNull": True}),
        [(S, "There should only be one of the following fields: [IsPresent, IsNull]", "/States/Route/Choices[0]")],
    ),
    "a target inside": (
        choice({"Not": WHEN, "Next": "One"}),
        [(S, "Field 'Next' is not supported", "/States/Route/Choices[0]/Not")],
    ),
    "a comparison of the wrong kind": (
        choice({"Variable": "$.a", "NumericEquals": "1", "Next": "One"}),
        [(S, "Expected value of type [NUMBER]", "/States/Route/Choices[0]/NumericEquals")],
    ),
    "no reference path": (
        choice({"Variable": "a", "IsNull": True, "Next": "One"}),
        [
            (
                S,
                "Value is not a Reference Path: Reference path didn't start with '$'",
                "/States/Route/Choices[0]/Variable",
            )
        ],
    ),
    "a condition of JSONata": (
        choice({"Condition": True, "Next": "One"}),
        [
            (
                S,
                "The QueryLanguage is set to 'JSONPath', but field 'Condition' is only supported for the 'JSONata' QueryLanguage",
                "/States/Route/Choices[0]",
            )
        ],
    ),
    # -- Map and Parallel
    "no branches": (one(Type="Parallel", Branches=[]), [(S, "Value cannot be empty", "/States/One/Branches")]),
    "a branch of nothing": (
        one(Type="Parallel", Branches=[{}]),
        [(S, "These fields are required: [States, StartAt]", "/States/One/Branches[0]")],
    ),
    "nothing to do with items": (
        one(Type="Map"),
        [(S, "This object should have only one of the following fields: [ItemProcessor, Iterator]", "/States/One")],
    ),
    "no execution type": (
        a_map(ItemProcessor={"ProcessorConfig": {"Mode": "DISTRIBUTED"}, **machine({"Two": PASS})}),
        [(S, "These fields are required: [ExecutionType]", "/States/One/ItemProcessor/ProcessorConfig")],
    ),
    "an execution type inline": (
        a_map(
            ItemProcessor={"ProcessorConfig": {"Mode": "INLINE", "ExecutionType": "STANDARD"}, **machine({"Two": PASS})}
        ),
        [(S, "Field 'ExecutionType' is not supported", "/States/One/ItemProcessor/ProcessorConfig")],
    ),
    "less than nobody at once": (
        a_map(ItemProcessor=machine({"Two": PASS}), MaxConcurrency=-1),
        [(S, "Minimum value is 0", "/States/One/MaxConcurrency")],
    ),
    "more than all may fail": (
        a_map(ItemProcessor=machine({"Two": PASS}), ToleratedFailurePercentage=101),
        [(S, "Maximum value is 100.0", "/States/One/ToleratedFailurePercentage")],
    ),
    "a path to many": (
        a_map(ItemProcessor=machine({"Two": PASS}), MaxConcurrencyPath="$.a[*]"),
        [(S, "Value is not a Reference Path", "/States/One/MaxConcurrencyPath")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_said_as_step_functions_says_it(name: str) -> None:
    document, expected = CASES[name]
    found = errors_of(faults(document))
    assert [(fault.code, fault.message, fault.location) for fault in found] == expected


MAPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a resource that reads nothing": (
        {"ItemReader": {"Resource": "arn:aws:states:::s3:putObject"}},
        "The field 'Resource' does not match any of the allowed values",
        "/ItemReader/Resource",
    ),
    "CSV without a word on headers": (
        {"ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "CSV"}}},
        "The field 'CSVHeaderLocation' is required",
        "/ItemReader/ReaderConfig",
    ),
    "headers that are not given": (
        {
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN"},
            }
        },
        "These fields are required: [CSVHeaders]",
        "/ItemReader/ReaderConfig",
    ),
    "headers of JSON": (
        {
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSON", "CSVHeaderLocation": "FIRST_ROW"},
            }
        },
        "Field 'CSVHeaderLocation' is not supported",
        "/ItemReader/ReaderConfig",
    ),
    "both numbers of items": (
        {
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSON", "MaxItems": 1, "MaxItemsPath": "$.n"},
            }
        },
        "There should only be one of the following fields: [MaxItems, MaxItemsPath]",
        "/ItemReader/ReaderConfig",
    ),
    "a batch of any size": (
        {"ItemBatcher": {"BatchInput": {}}},
        "An ItemBatcher has to say how large a batch may be",
        "/ItemBatcher",
    ),
    "a batch too large": (
        {"ItemBatcher": {"MaxInputBytesPerBatch": 262_145}},
        "Maximum value is 262144",
        "/ItemBatcher/MaxInputBytesPerBatch",
    ),
    "nowhere to write to": ({"ResultWriter": {}}, "Value cannot be empty", "/ResultWriter"),
    "half a config": (
        {"ResultWriter": {"WriterConfig": {"Transformation": "COMPACT"}}},
        "These fields are required: [OutputType]",
        "/ResultWriter/WriterConfig",
    ),
    "no bucket": (
        {"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject"}},
        "These fields are required: [Parameters]",
        "/ResultWriter",
    ),
    "a label with a control": ({"Label": "label_\x06"}, "Label contains invalid character: '\\x06'", "/Label"),
    "no label at all": ({"Label": ""}, "Label cannot be empty", "/Label"),
    "a label too long": (
        {"Label": "x" * 41},
        f"Label '{'x' * 41}' exceeds the 40-character limit allowed by the service",
        "/Label",
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_what_a_map_says_about_its_items_is_checked(name: str) -> None:
    fields, message, place = MAPS[name]
    document = distributed(**fields)
    document["States"]["One"]["ItemProcessor"] |= machine({"Two": PASS})
    (found,) = errors_of(faults(document))
    assert (found.message, found.location) == (message, f"/States/One{place}")


@pytest.mark.parametrize(
    ("expression", "code", "message"),
    [
        ("{% $states.input", S, "JSONata string must start with {% and end with %}"),
        ("{% $$ %}", "UNSUPPORTED_JSONATA_EXPRESSION", "Reference to '$$' is not supported."),
        (
            "{% phone.number %}",
            "UNSUPPORTED_JSONATA_EXPRESSION",
            "Reference to 'phone' at the top level is not supported.",
        ),
        ("{% $states.errorOutput %}", "UNSUPPORTED_JSONATA_EXPRESSION", "Field '$states.errorOutput' does not exist."),
        ("{% $states.inptu %}", "UNSUPPORTED_JSONATA_EXPRESSION", "Field '$states.inptu' does not exist."),
    ],
)
def test_an_expression_is_looked_at_before_anything_runs(expression: str, code: str, message: str) -> None:
    (found,) = faults(jsonata(expression))
    assert (found.code, found.message, found.location) == (code, message, "/States/One/Output")
    (found,) = faults(jsonata({"deep": [1, expression]}))
    assert found.location == "/States/One/Output/deep[1]"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{% 1 + %}", "Unexpected end of expression"),
        ("{%  %}", "Unexpected end of expression"),
        ('{% "open %}', "String literal must be terminated by a matching quote"),
        ("{% a[1,2) %}", 'Expected "]", got ","'),
        ("{% (1 %}", 'Expected ")" before end of expression'),
        ('{% {"a":} %}', 'The symbol "}" cannot be used as a unary operator'),
        ('{% $match("a", /abc %}', "No terminating / in regular expression"),
    ],
)
def test_an_expression_that_cannot_be_read_is_a_fault(expression: str, message: str) -> None:
    (found,) = faults(jsonata(expression))
    assert (found.code, found.message, found.location) == ("INVALID_JSONATA_EXPRESSION", message, "/States/One/Output")


@pytest.mark.parametrize(
    "expression",
    [
        "{% $states %}",
        "{% $count($states.input[$ > 1]) %}",
        "{% ($n := 1; $n + $other) %}",
        "{% $map([1], function($v) { $v + 1 }) %}",
    ],
)
def test_an_expression_of_known_names_is_none(expression: str) -> None:
    assert faults(jsonata(expression)) == []


def test_an_error_is_there_in_a_catch_only() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "One", "Output": "{% $states.errorOutput.Cause %}"}]
    assert faults(machine({"Work": {**TASK, "Catch": catch}, "One": PASS}, QueryLanguage="JSONata")) == []


@pytest.mark.parametrize(
    "template",
    [
        {"a.$": "b"},
        {"a.$": 1},
        {"a.$": "$.["},
        {"a.$": "States.Nothing($.a)"},
        {"a.$": 'States.StringToJson(\'{"text":"An \\"escaped\\" quote"}\')'},
    ],
)
def test_a_template_is_evaluated_by_paths_and_calls_alone(template: dict[str, Any]) -> None:
    (found,) = faults(one(Type="Pass", Parameters={"deep": [template]}))
    expected = "The value for the field 'a.$' must be a valid JSONPath or a valid intrinsic function call"
    assert (found.message, found.location) == (expected, "/States/One/Parameters/deep[0]")


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (
            "arn:aws:states:::sns:publish.waitForTaskToken",
            "Express state machine does not support '.waitForTaskToken' service integration ",
        ),
        (
            "arn:aws:states:::states:startExecution.sync:2",
            "Express state machine does not support '.sync' service integration ",
        ),
        ("arn:aws:states:us-east-1:000000000000:activity:a", "Express state machine does not support Activity ARN "),
        ("corral:approval", "Express state machine does not support approvals"),
    ],
)
def test_an_express_workflow_waits_for_nobody(resource: str, message: str) -> None:
    (found,) = faults(one(Type="Task", Resource=resource), kind="EXPRESS")
    assert (found.message, found.location) == (message, "/States/One/Resource")


def test_an_express_workflow_has_no_distributed_map() -> None:
    document = distributed()
    document["States"]["One"]["ItemProcessor"] |= machine({"Two": PASS})
    (found,) = faults(document, kind="EXPRESS")
    assert found.message == "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines"
    assert found.location == "/States/One/ItemProcessor/ProcessorConfig/Mode"
    assert faults(document) == []


@pytest.mark.parametrize(
    ("resource", "there"),
    [
        ("arn:aws:states:::sqs:sendMessage.waitForTaskToken", True),
        ("arn:aws:states:::apigateway:invoke", True),
        ("arn:aws:states:::aws-sdk:dynamodb:query", True),
        ("arn:aws:states:::dynamodb:query", False),
        ("arn:aws:states:::sqs:sendMessage.sync", False),
        ("arn:aws:states:::nobody:knows", False),
    ],
)
def test_what_others_do_can_be_tried_with_answers_of_ones_own(resource: str, there: bool) -> None:
    assert (state_faults({"Type": "Task", "Resource": resource, "End": True}, mocked=True) == []) is there
    assert faults(one(Type="Task", Resource=resource)) != []


# -- variables


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("states", "RESERVED_VARIABLE_NAME", "Cannot assign to reserved variable '$states'."),
        ("a-b", "INVALID_VARIABLE_NAME", "Invalid variable name 'a-b': the variable name contains invalid characters."),
        ("1a", "INVALID_VARIABLE_NAME", "Invalid variable name '1a': the variable name contains invalid characters."),
        (
            "x" * 81,
            "INVALID_VARIABLE_NAME",
            f"Invalid variable name '{'x' * 81}': the variable name exceeds the 80-character limit allowed by the service.",
        ),
    ],
)
def test_a_variable_has_a_name(name: str, code: str, message: str) -> None:
    (found,) = faults(one(Type="Pass", Assign={name: 1}))
    assert (found.code, found.message, found.location) == (code, message, f"/States/One/Assign/{name}")
    (found,) = faults(one(Type="Pass", Assign={f"{name}.$": "$.a"}))
    assert found.message == message


def with_a_branch(**fields: Any) -> dict[str, Any]:
    branch = machine({"Two": {**PASS, "Assign": {"x": 2}}})
    first = {"Type": "Pass", "Next": "Both", **fields}
    return machine({"One": first, "Both": {"Type": "Parallel", "Branches": [branch], "Next": "End"}, "End": PASS})


def test_a_branch_assigns_no_variable_from_around_it() -> None:
    (found,) = faults(with_a_branch(Assign={"x": 1}))
    assert found.message == "Cannot assign to variable '$x' of an outer scope."
    assert found.location == "/States/Both/Branches[0]/States/Two/Assign/x"


def test_what_is_assigned_after_a_branch_is_free_in_it() -> None:
    document = with_a_branch()
    document["States"]["Both"]["Assign"] = document["States"]["End"]["Assign"] = {"x": 3}
    assert faults(document) == []


def test_what_may_have_been_assigned_in_a_circle_is_taken() -> None:
    document = machine(
        {
            "Both": {"Type": "Parallel", "Branches": [machine({"Two": {**PASS, "Assign": {"x": 2}}})], "Next": "After"},
            "After": {"Type": "Pass", "Assign": {"x": 1}, "Next": "Again"},
            "Again": {"Type": "Choice", "Choices": [{**WHEN, "Next": "Both"}], "Default": "End"},
            "End": PASS,
        }
    )
    (found,) = faults(document)
    assert found.code == "INVALID_VARIABLE_NAME"


def test_an_item_of_its_own_sees_no_variables_from_around_it() -> None:
    document = distributed()
    document["States"]["One"]["ItemProcessor"] |= machine({"Two": {**PASS, "Assign": {"x": 2}}})
    first = {"Type": "Pass", "Assign": {"x": 1}, "Next": "One"}
    assert faults({"StartAt": "Zero", "States": {"Zero": first, **document["States"]}}) == []


# -- hints, places, warnings


def test_a_hint_names_what_was_probably_meant() -> None:
    (missing, wrong, gone) = faults(machine({"One": {"Type": "Pass", "Nxet": "Tow"}, "Two": PASS}))
    assert (missing.hint, missing.pointer, missing.location) == (
        "Did you mean 'Next'?",
        "/States/One/Nxet",
        "/States/One",
    )
    assert wrong.hint == "There is none of them."
    assert "Next" in gone.hint
    (fault,) = faults(machine({"A b": {"Type": "Pass", "Next": "two"}, "Two": PASS}))[:1]
    assert fault.hint == "Did you mean 'Two'?"


def test_a_pointer_is_one_of_json() -> None:
    (fault,) = faults(machine({"a/b~c": {"Type": "Pass", "End": True, "InputPath": "x"}}))
    assert (fault.pointer, fault.location) == ("/States/a~1b~0c/InputPath", "/States/a/b~c/InputPath")


def test_what_only_looks_wrong_is_a_warning() -> None:
    found = faults(one(Type="Pass", Result="$.a", Parameters={"x": "$.y", "f": "States.UUID()"}))
    assert [(fault.severity, fault.code, fault.location) for fault in found] == [
        ("WARNING", "NO_DOLLAR", "/States/One/Parameters/x"),
        ("WARNING", "NO_DOLLAR", "/States/One/Parameters/f"),
        ("WARNING", "PASS_RESULT_IS_STATIC", "/States/One/Result"),
    ]
    assert errors_of(found) == []


def test_all_faults_in_one_line_are_as_create_state_machine_says_them() -> None:
    faults_ = [Fault(code="A", message="It is so", location="/States/X"), Fault(code="B", message="So it is")]
    assert said(faults_) == "A: It is so at /States/X, B: So it is at null"


def test_nothing_is_wrong_with_a_definition_that_has_everything() -> None:
    assert faults(LARGE) == []


def test_a_single_state_may_lead_anywhere() -> None:
    assert state_faults({"Type": "Pass", "Next": "Somewhere"}) == []
    assert state_faults({"Type": "Pass", "Output": 1, "End": True}, language="JSONata") == []
    (found,) = state_faults({"Type": "Pass", "Nxt": "Somewhere", "End": True})
    assert (found.location, found.message) == ("/", "Field 'Nxt' is not supported")


def test_who_sends_what_is_wrong_everywhere_hears_of_it_soon() -> None:
    states = {f"s{number}": {"Type": "Nothing"} for number in range(5_000)}
    assert len(faults({"StartAt": "s0", "States": states})) == 500
