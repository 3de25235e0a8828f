"""Rules of `Retry` and of `Catch`."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.workflows.failing import ALL
from corral.workflows.language.checks.expression import between, literal, result_path, template
from corral.workflows.language.checks.value import (
    Check,
    Where,
    array,
    filled,
    is_number,
    one_of,
    only_fields,
    required,
    text,
    thing,
)

_ATTEMPTS_MAX = 99_999_999
_DELAY_MAX = 31_622_400

_RETRIER: dict[str, Check] = {
    "ErrorEquals": filled(array),
    "IntervalSeconds": literal(between(1, _ATTEMPTS_MAX)),
    "MaxAttempts": literal(between(0, _ATTEMPTS_MAX)),
    "BackoffRate": literal(between(1, whole=False)),
    "MaxDelaySeconds": literal(between(1, _DELAY_MAX - 1)),
    "JitterStrategy": one_of("NONE", "FULL"),
    "Comment": text,
}
_CATCHER: dict[str, Check] = {
    "ErrorEquals": filled(array),
    "Next": text,
    "ResultPath": result_path,
    "Assign": template,
    "Output": template,
    "Comment": text,
}
_OTHER_LANGUAGE = {"ResultPath": "JSONPath", "Output": "JSONata"}


def retriers(value: Any, where: Where) -> None:
    """`Retry`."""
    _rules(value, where, _RETRIER, ("ErrorEquals",))
    for index, rule in enumerate(value if isinstance(value, list) else ()):
        if isinstance(rule, dict):
            _delay(rule, where.at(index))


def catchers(value: Any, where: Where) -> None:
    """`Catch`."""
    _rules(value, msgspec.structs.replace(where, catching=True), _CATCHER, ("ErrorEquals", "Next"))


def _rules(value: Any, where: Where, fields: dict[str, Check], needed: tuple[str, ...]) -> None:
    array(value, where)
    rules = value if isinstance(value, list) else []
    for index, rule in enumerate(rules):
        here = where.at(index)
        thing(rule, here)
        if not isinstance(rule, dict):
            continue
        required(rule, needed, here)
        only_fields(rule, fields, here)
        for name, inner in rule.items():
            if _OTHER_LANGUAGE.get(name, here.language) != here.language:
                wrong_language(name, here)
            elif name in fields:
                fields[name](inner, here.at(name))
        _errors(rule.get("ErrorEquals"), here.at("ErrorEquals"), last=index == len(rules) - 1)


def _errors(value: Any, where: Where, *, last: bool) -> None:
    if not isinstance(value, list):
        return
    for index, name in enumerate(value):
        text(name, where.at(index))
    if ALL in value and (len(value) > 1 or not last):
        where.fault(
            "States.ALL must appear alone and at end of list", hint="Move it into a rule of its own, the last one."
        )


def _delay(rule: dict[str, Any], where: Where) -> None:
    most, first = rule.get("MaxDelaySeconds"), rule.get("IntervalSeconds", 1)
    if is_number(most) and is_number(first) and most <= first:
        where.at("MaxDelaySeconds").fault("MaxDelaySeconds must be greater than IntervalSeconds")


def wrong_language(name: str, where: Where) -> None:
    """A field of the language that is not spoken here."""
    other = "JSONPath" if where.language == "JSONata" else "JSONata"
    where.fault(
        f"The QueryLanguage is set to '{where.language}', but field '{name}' is only supported for the '{other}' QueryLanguage",
        field=name,
    )
