"""Values with expressions in them."""

from __future__ import annotations

import pytest

from corral.workflows.failing import DATA_LIMIT, QUERY_EVALUATION, RUNTIME, StateFailed
from corral.workflows.language import templates
from corral.workflows.language.scope import Scope

SCOPE = Scope(
    input={"name": "Ada", "items": [1, 2]},
    context={"Execution": {"Id": "e"}},
    variables={"limit": 5},
)


def test_keys_that_say_so_are_evaluated_at_any_depth():
    template = {
        "plain": "$.name",
        "name.$": "$.name",
        "deep": [{"id.$": "$$.Execution.Id", "limit.$": "$limit"}, "x"],
        "said.$": "States.Format('{}!', $.name)",
        "all.$": "$",
        "n": None,
    }
    assert templates.evaluate(template, SCOPE, language="JSONPath", field="Parameters") == {
        "plain": "$.name",
        "name": "Ada",
        "deep": [{"id": "e", "limit": 5}, "x"],
        "said": "Ada!",
        "all": SCOPE.input,
        "n": None,
    }


def test_a_path_that_finds_nothing_tells_its_field():
    with pytest.raises(StateFailed) as failed:
        templates.evaluate({"a": {"value.$": "$.x"}}, SCOPE, language="JSONPath", field="Parameters")
    assert failed.value.error == RUNTIME
    assert "'$.x' specified for the field 'value.$' could not be found in the input" in (failed.value.cause or "")


def test_a_key_that_wants_a_path_wants_text():
    with pytest.raises(StateFailed, match="valid JSONPath"):
        templates.evaluate({"a.$": 1}, SCOPE, language="JSONPath", field="Parameters")


def test_expressions_stand_at_any_depth():
    template = {
        "a": "{% $states.input.name %}",
        "b": [1, "{% $limit + 1 %}", [" {% no %} "]],
        "c": {"$.d": "$.name"},
        "e.$": "$.name",
    }
    assert templates.evaluate(template, SCOPE, language="JSONata", field="Output") == {
        "a": "Ada",
        "b": [1, 6, [" {% no %} "]],
        "c": {"$.d": "$.name"},
        "e.$": "$.name",
    }
    assert templates.evaluate("{% $states.input.items %}", SCOPE, language="JSONata", field="Output") == [1, 2]


@pytest.mark.parametrize(
    ("template", "field"),
    [("{% $x %}", "Output"), ({"a": {"b": "{% $x %}"}}, "Output/a/b"), ({"a": [1, "{% $x %}"]}, "Output/a[1]")],
)
def test_a_failing_expression_tells_where_it_stands(template, field):
    with pytest.raises(StateFailed) as failed:
        templates.evaluate(template, SCOPE, language="JSONata", field="Output")
    assert failed.value.error == QUERY_EVALUATION
    assert (
        failed.value.cause
        == f"The JSONata expression '$x' specified for the field '{field}' returned nothing (undefined)."
    )
    assert failed.value.evaluation
    assert failed.value.location == field


@pytest.mark.parametrize("language", ["JSONPath", "JSONata"])
def test_one_document_put_in_a_thousand_times_is_refused(language):
    scope = Scope(input={"t": "x" * 200_000})
    template = {
        f"k{number}" if language == "JSONata" else f"k{number}.$": "{% $states.input %}"
        if language == "JSONata"
        else "$"
        for number in range(1_000)
    }
    with pytest.raises(StateFailed) as failed:
        templates.evaluate(template, scope, language=language, field="Output")
    assert failed.value.error == DATA_LIMIT
    small = Scope(input={"t": "x"})
    assert len(templates.evaluate(template, small, language=language, field="Output")) == 1_000


def test_a_template_that_is_nested_too_deep_is_refused():
    template: dict = {}
    for _ in range(500):
        template = {"a": template}
    for language in ("JSONPath", "JSONata"):
        with pytest.raises(StateFailed, match="nested"):
            templates.evaluate(template, SCOPE, language=language, field="Output")
