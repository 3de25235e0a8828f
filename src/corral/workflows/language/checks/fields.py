"""Which field may stand on which state, in which language, and how its value is checked. One table to read."""

from __future__ import annotations

import msgspec

from corral.workflows.language.checks.choices import choices
from corral.workflows.language.checks.expression import (
    between,
    jsonata_text,
    literal,
    path_or_call,
    path_or_null,
    reference,
    reference_or_context,
    result_path,
    template,
    timestamp,
)
from corral.workflows.language.checks.handlers import catchers, retriers
from corral.workflows.language.checks.maps import credentials, item_batcher, item_reader, items, label, result_writer
from corral.workflows.language.checks.resources import resource
from corral.workflows.language.checks.value import Check, anything, array, boolean, filled, one_of, text, thing
from corral.workflows.language.definition import Language

SECONDS_MAX = 99_999_999
LANGUAGES = ("JSONPath", "JSONata")


class Field(msgspec.Struct, frozen=True):
    """A field of a state."""

    check: Check
    language: Language | None = None
    """Only there; none: in both."""


def _path(check: Check) -> Field:
    return Field(check, "JSONPath")


def _jsonata(check: Check) -> Field:
    return Field(check, "JSONata")


_ANY = {"Type": Field(text), "Comment": Field(text), "QueryLanguage": Field(one_of(*LANGUAGES))}
_DATA = {
    "InputPath": _path(path_or_null),
    "OutputPath": _path(path_or_null),
    "Output": _jsonata(template),
}
_ASSIGN = {"Assign": Field(thing)}
"""Its names are checked with the scopes of variables."""
_NEXT = {"Next": Field(text), "End": Field(boolean)}
_RESULT = {"Parameters": _path(template), "ResultPath": _path(result_path)}
_WORK = {
    **_RESULT,
    "ResultSelector": _path(template),
    "Retry": Field(retriers),
    "Catch": Field(catchers),
}
_FLOW = {**_ANY, **_DATA, **_ASSIGN, **_NEXT}

STATES: dict[str, dict[str, Field]] = {
    "Task": {
        **_FLOW,
        **_WORK,
        "Resource": Field(resource),
        "Arguments": _jsonata(template),
        "Credentials": Field(credentials),
        "TimeoutSeconds": Field(between(1, SECONDS_MAX)),
        "TimeoutSecondsPath": _path(reference_or_context),
        "HeartbeatSeconds": Field(between(1, SECONDS_MAX)),
        "HeartbeatSecondsPath": _path(reference_or_context),
    },
    "Pass": {**_FLOW, **_RESULT, "Result": _path(anything)},
    "Wait": {
        **_FLOW,
        "Seconds": Field(between(0, SECONDS_MAX)),
        "Timestamp": Field(timestamp),
        "SecondsPath": _path(reference_or_context),
        "TimestampPath": _path(reference_or_context),
    },
    "Choice": {**_ANY, **_DATA, **_ASSIGN, "Choices": Field(choices), "Default": Field(text)},
    "Succeed": {**_ANY, **_DATA},
    "Fail": {
        **_ANY,
        "Error": Field(jsonata_text),
        "Cause": Field(jsonata_text),
        "ErrorPath": _path(path_or_call),
        "CausePath": _path(path_or_call),
    },
    "Parallel": {**_FLOW, **_WORK, "Arguments": _jsonata(template), "Branches": Field(filled(array))},
    "Map": {
        **_FLOW,
        **_WORK,
        "ItemProcessor": Field(thing),
        "Iterator": Field(thing),
        "Items": _jsonata(items),
        "ItemsPath": _path(reference_or_context),
        "ItemSelector": Field(template),
        "ItemReader": Field(item_reader),
        "ItemBatcher": Field(item_batcher),
        "ResultWriter": Field(result_writer),
        "MaxConcurrency": Field(between(0)),
        "MaxConcurrencyPath": _path(reference),
        "ToleratedFailureCount": Field(between(0)),
        "ToleratedFailureCountPath": _path(reference),
        "ToleratedFailurePercentage": Field(between(0, 100, whole=False)),
        "ToleratedFailurePercentagePath": _path(reference),
        "Label": Field(label),
    },
}

REQUIRED: dict[str, tuple[str, ...]] = {"Task": ("Resource",), "Choice": ("Choices",), "Parallel": ("Branches",)}

ONE_OF: dict[str, tuple[tuple[str, ...], ...]] = {
    "Wait": (("SecondsPath", "Seconds", "TimestampPath", "Timestamp"),),
    "Map": (("ItemProcessor", "Iterator"),),
}
"""Exactly one of these."""

NOT_BOTH: dict[str, tuple[tuple[str, ...], ...]] = {
    "Task": (("TimeoutSeconds", "TimeoutSecondsPath"), ("HeartbeatSeconds", "HeartbeatSecondsPath")),
    "Fail": (("Error", "ErrorPath"), ("Cause", "CausePath")),
    "Map": (
        ("ItemSelector", "Parameters"),
        ("MaxConcurrency", "MaxConcurrencyPath"),
        ("ToleratedFailureCount", "ToleratedFailureCountPath"),
        ("ToleratedFailurePercentage", "ToleratedFailurePercentagePath"),
    ),
}

MACHINE: dict[str, Check] = {
    "Comment": text,
    "StartAt": text,
    "States": filled(thing),
    "Version": one_of("1.0"),
    "TimeoutSeconds": literal(between(1, SECONDS_MAX)),
    "QueryLanguage": one_of(*LANGUAGES),
}
BODY: dict[str, Check] = {"Comment": text, "StartAt": text, "States": filled(thing)}
"""A branch's, or what is done with an item (which has a `ProcessorConfig` as well)."""
