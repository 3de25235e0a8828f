"""The JSON schema of definitions, for editors: which fields a state has, what they are for, and which values they take.

An editor sees shapes. What leads where, which expressions can be read and what fits together is said by `checking.py`.
"""

from __future__ import annotations

from typing import Any

from corral.workflows.language.checks.choices import OPERATORS
from corral.workflows.language.checks.fields import LANGUAGES, ONE_OF, REQUIRED, SECONDS_MAX, STATES
from corral.workflows.language.checks.maps import LABEL_MAX

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_PATH: Schema = {"type": ["string", "null"], "pattern": "^\\$"}
_REFERENCE: Schema = {"type": "string", "pattern": "^\\$"}
_EXPRESSION: Schema = {"type": "string", "pattern": "^\\{%.*%\\}$"}
_OBJECT: Schema = {"type": "object"}


def _number(least: float, most: float | None = None, kind: str = "integer") -> Schema:
    bounds = {"minimum": least} | ({"maximum": most} if most is not None else {})
    return {"anyOf": [{"type": kind, **bounds}, _EXPRESSION]}


_FIELDS: dict[str, tuple[str, Schema]] = {
    "Type": ("What kind of state this is.", _TEXT),
    "Comment": ("For people.", _TEXT),
    "QueryLanguage": ("How data is taken from the input.", {"enum": list(LANGUAGES)}),
    "Next": ("The state that comes after this one.", _TEXT),
    "End": ("Nothing comes after this state.", {"type": "boolean"}),
    "InputPath": ("The part of the input that the state sees; null: nothing.", _PATH),
    "OutputPath": ("The part of the output that is handed on; null: nothing.", _PATH),
    "Output": ("What is handed on, with expressions in it.", {}),
    "Assign": ("Variables, for all states after this one.", _OBJECT),
    "Parameters": ("What is handed in; names that end with `.$` are evaluated.", {}),
    "Arguments": ("What is handed in, with expressions in it.", {}),
    "ResultPath": ("Where in the input the result is put; null: nowhere.", _PATH),
    "ResultSelector": ("What of the result is kept; names that end with `.$` are evaluated.", _OBJECT),
    "Result": ("What is handed on, as it stands here.", {}),
    "Retry": ("What is tried again, and how.", {"type": "array", "items": {"$ref": "#/$defs/Retrier"}}),
    "Catch": ("Where to go on after an error.", {"type": "array", "items": {"$ref": "#/$defs/Catcher"}}),
    "Resource": (
        "Who does it: `corral:agent:NAME`, `corral:tool:NAME`, `corral:function:NAME`, `corral:approval`, an ARN, …",
        _TEXT,
    ),
    "Credentials": ("As whom it is done.", {"type": ["object", "string"]}),
    "TimeoutSeconds": ("How long it may take.", _number(1, SECONDS_MAX)),
    "TimeoutSecondsPath": ("Where in the input that stands.", _REFERENCE),
    "HeartbeatSeconds": ("How long it may say nothing.", _number(1, SECONDS_MAX)),
    "HeartbeatSecondsPath": ("Where in the input that stands.", _REFERENCE),
    "Seconds": ("How long to wait.", _number(0, SECONDS_MAX)),
    "SecondsPath": ("Where in the input that stands.", _REFERENCE),
    "Timestamp": ("Until when to wait: `2030-01-31T12:00:00Z`.", _TEXT),
    "TimestampPath": ("Where in the input that stands.", _REFERENCE),
    "Choices": (
        "Rules; the first that is true decides.",
        {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Rule"}},
    ),
    "Default": ("Where to go on when no rule is true.", _TEXT),
    "Error": ("The error's name.", _TEXT),
    "ErrorPath": ("Where in the input that stands.", _TEXT),
    "Cause": ("What happened, for people.", _TEXT),
    "CausePath": ("Where in the input that stands.", _TEXT),
    "Branches": (
        "What is done at the same time.",
        {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Branch"}},
    ),
    "ItemProcessor": ("What is done with each item.", {"$ref": "#/$defs/ItemProcessor"}),
    "Iterator": ("An old name of `ItemProcessor`.", {"$ref": "#/$defs/ItemProcessor"}),
    "Items": ("The items: an array, or an expression for one.", {"type": ["array", "object", "string"]}),
    "ItemsPath": ("Where in the input the items stand.", _REFERENCE),
    "ItemSelector": ("What each item becomes before it is handed in.", {}),
    "ItemReader": ("Where the items are read from.", _OBJECT),
    "ItemBatcher": ("How items are put together.", _OBJECT),
    "ResultWriter": ("Where the results are written to.", _OBJECT),
    "MaxConcurrency": ("How many at the same time; 0: as many as possible.", _number(0)),
    "MaxConcurrencyPath": ("Where in the input that stands.", _REFERENCE),
    "ToleratedFailureCount": ("How many items may fail.", _number(0)),
    "ToleratedFailureCountPath": ("Where in the input that stands.", _REFERENCE),
    "ToleratedFailurePercentage": ("How many of a hundred items may fail.", _number(0, 100, "number")),
    "ToleratedFailurePercentagePath": ("Where in the input that stands.", _REFERENCE),
    "Label": ("A name in the ARNs of its runs.", {"type": "string", "minLength": 1, "maxLength": LABEL_MAX}),
    "Condition": ("True, false, or an expression for it.", {"anyOf": [{"type": "boolean"}, _EXPRESSION]}),
    "Variable": ("What is compared.", _REFERENCE),
    "ErrorEquals": ("Names of errors; `States.ALL` for any.", {"type": "array", "minItems": 1, "items": _TEXT}),
    "IntervalSeconds": ("How long to wait before the first time.", {"type": "integer", "minimum": 1}),
    "MaxAttempts": ("How often; 0: never.", {"type": "integer", "minimum": 0}),
    "BackoffRate": ("How many times as long each time.", {"type": "number", "minimum": 1}),
    "MaxDelaySeconds": ("How long to wait at most.", {"type": "integer", "minimum": 1}),
    "JitterStrategy": ("Whether the pause is left to chance.", {"enum": ["NONE", "FULL"]}),
    "StartAt": ("The state that comes first.", _TEXT),
    "States": (
        "All states, by name.",
        {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/State"}},
    ),
    "Version": ("The version of the language.", {"const": "1.0"}),
}


def json_schema() -> Schema:
    """The schema, complete and without references to anywhere else."""
    states = {f"{kind}State": _state(kind) for kind in STATES}
    config = {
        "type": "object",
        "properties": {"Mode": {"enum": ["INLINE", "DISTRIBUTED"]}, "ExecutionType": {"enum": ["STANDARD", "EXPRESS"]}},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workflow (Amazon States Language)",
        **_object(
            "Comment",
            "QueryLanguage",
            "StartAt",
            "States",
            "Version",
            needed=("StartAt", "States"),
            more={"TimeoutSeconds": {"type": "integer", "minimum": 1}, "$schema": _TEXT},
        ),
        "$defs": {
            "State": {
                "type": "object",
                "required": ["Type"],
                "properties": {"Type": {"enum": list(STATES)}},
                "allOf": [
                    {"if": {"properties": {"Type": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}State"}}
                    for kind in STATES
                ],
            },
            **states,
            "Branch": _object("Comment", "StartAt", "States", needed=("StartAt", "States")),
            "ItemProcessor": _object(
                "Comment", "StartAt", "States", needed=("StartAt", "States"), more={"ProcessorConfig": config}
            ),
            "Retrier": _object(
                "ErrorEquals",
                "IntervalSeconds",
                "MaxAttempts",
                "BackoffRate",
                "MaxDelaySeconds",
                "JitterStrategy",
                "Comment",
                needed=("ErrorEquals",),
            ),
            "Catcher": _object(
                "ErrorEquals", "Next", "ResultPath", "Assign", "Output", "Comment", needed=("ErrorEquals", "Next")
            ),
            "Rule": _rule(),
            "Test": _test(),
        },
    }


def _field(name: str) -> Schema:
    description, schema = _FIELDS[name]
    return {"description": description, **schema}


def _object(*names: str, needed: tuple[str, ...] = (), more: Schema | None = None) -> Schema:
    properties = {name: _field(name) for name in names} | (more or {})
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


def _state(kind: str) -> Schema:
    made = _object(*STATES[kind], needed=("Type", *REQUIRED.get(kind, ())))
    made["properties"]["Type"] = {"const": kind}
    choices = [{"oneOf": [{"required": [name]} for name in names]} for names in ONE_OF.get(kind, ())]
    return made | ({"allOf": choices} if choices else {})


def _tests() -> Schema:
    inner = {"$ref": "#/$defs/Test"}
    several = {"type": "array", "minItems": 1, "items": inner}
    kinds = {"String": _TEXT, "Numeric": {"type": "number"}, "Timestamp": _TEXT, "Boolean": {"type": "boolean"}}
    tests: Schema = {
        "Variable": _field("Variable"),
        "And": several,
        "Or": several,
        "Not": inner,
        "Comment": _field("Comment"),
    }
    for name in OPERATORS:
        kind = (
            {"type": "boolean"}
            if name.startswith("Is")
            else next(kinds[word] for word in kinds if name.startswith(word))
        )
        tests[name] = _REFERENCE if name.endswith("Path") else kind
    return tests


def _test() -> Schema:
    return {"type": "object", "properties": _tests(), "additionalProperties": False}


def _rule() -> Schema:
    return _object("Next", "Condition", "Assign", "Output", needed=("Next",), more=_tests())
