"""Rules of a Choice."""

from __future__ import annotations

from typing import Any

from corral.workflows.language.checks.expression import condition, reference_or_context, template
from corral.workflows.language.checks.handlers import wrong_language
from corral.workflows.language.checks.value import (
    Check,
    Where,
    array,
    boolean,
    exactly_one,
    filled,
    moment,
    number,
    only_fields,
    required,
    text,
    thing,
)
from corral.workflows.language.fault import nearest


def _operators() -> dict[str, Check]:
    orders = ("Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals")
    made: dict[str, Check] = {
        "StringMatches": text,
        "BooleanEquals": boolean,
        "BooleanEqualsPath": reference_or_context,
    }
    for kind, check in (("String", text), ("Numeric", number), ("Timestamp", moment)):
        for order in orders:
            made[kind + order] = check
            made[f"{kind}{order}Path"] = reference_or_context
    made |= {f"Is{kind}": boolean for kind in ("Null", "Present", "Numeric", "String", "Boolean", "Timestamp")}
    return made


OPERATORS = _operators()
_KINDS = ("And", "Or", "Not", "Variable", "Condition")
_OUTER = ("Next", "Assign", "Output", "Comment")
_FIELDS = frozenset((*OPERATORS, *_KINDS))


def choices(value: Any, where: Where) -> None:
    """`Choices`."""
    filled(array)(value, where)
    for index, rule in enumerate(value if isinstance(value, list) else ()):
        _rule(rule, where.at(index))


def _rule(rule: Any, where: Where) -> None:
    thing(rule, where)
    if not isinstance(rule, dict):
        return
    required(rule, ("Next",), where)
    if "Next" in rule:
        text(rule["Next"], where.at("Next"))
    if "Comment" in rule:
        text(rule["Comment"], where.at("Comment"))
    if "Assign" in rule:
        template(rule["Assign"], where.at("Assign"))
    if "Output" in rule:
        if where.language == "JSONata":
            template(rule["Output"], where.at("Output"))
        else:
            wrong_language("Output", where)
    _test({key: inner for key, inner in rule.items() if key not in _OUTER}, where)


def _test(test: dict[str, Any], where: Where) -> None:
    if where.language == "JSONata":
        _jsonata_test(test, where)
        return
    if "Condition" in test:
        wrong_language("Condition", where)
        return
    only_fields(test, _FIELDS, where)
    there = [kind for kind in _KINDS if kind in test]
    if len(there) != 1:
        where.fault(
            f"The object must have only one of the following fields, [{', '.join(_KINDS)}]", hint=_meant(test, there)
        )
        return
    (kind,) = there
    if kind == "Variable":
        reference_or_context(test["Variable"], where.at("Variable"))
        _comparison(test, where)
        return
    for name in test:
        if name in OPERATORS:
            where.fault(
                f"Field '{name}' is not supported", hint=f"It stands with a `Variable`, inside of `{kind}`.", field=name
            )
    if kind == "Not":
        _inner(test["Not"], where.at("Not"))
    else:
        filled(array)(test[kind], where.at(kind))
        for index, inner in enumerate(test[kind] if isinstance(test[kind], list) else ()):
            _inner(inner, where.at(kind).at(index))


def _inner(test: Any, where: Where) -> None:
    thing(test, where)
    if not isinstance(test, dict):
        return
    if "Comment" in test:
        text(test["Comment"], where.at("Comment"))
        test = {key: value for key, value in test.items() if key != "Comment"}
    _test(test, where)


def _jsonata_test(test: dict[str, Any], where: Where) -> None:
    strange = [name for name in test if name != "Condition"]
    for name in strange:
        if name in _FIELDS:
            wrong_language(name, where)
        else:
            where.fault(f"Field '{name}' is not supported", hint=nearest(name, ("Condition", *_OUTER)), field=name)
    if "Condition" in test:
        condition(test["Condition"], where.at("Condition"))
    elif not strange:
        required(test, ("Condition",), where)


def _comparison(test: dict[str, Any], where: Where) -> None:
    operators = [name for name in test if name in OPERATORS]
    exactly_one(test, operators or ["StringEquals", "NumericEquals", "BooleanEquals", "IsPresent", "…"], where)
    for name in operators:
        OPERATORS[name](test[name], where.at(name))


def _meant(test: dict[str, Any], there: list[str]) -> str:
    if there:
        return f"There are {' and '.join(map(repr, there))}."
    return "A comparison needs its `Variable`." if any(name in OPERATORS for name in test) else ""
