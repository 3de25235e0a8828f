"""Which variables each state reads."""

from __future__ import annotations

from definition_scene import LARGE, PASS, TASK, a_map, choice, machine, one

from corral.workflows.language.names import names_in
from corral.workflows.language.reading import read
from corral.workflows.language.references import variable_references


def of(document):
    return variable_references(read(document))


def test_paths_calls_and_rules_are_looked_at():
    rules = [
        {"Variable": "$guess", "StringEqualsPath": "$answer", "Next": "One", "Assign": {"n.$": "$count"}},
        {"Or": [{"Variable": "$deep.er", "IsNull": True}], "Next": "One"},
    ]
    assert of(choice(*rules)) == {"Route": ["answer", "count", "deep", "guess"]}
    template = {"a.$": "States.Format('{} $no', $one, $$.State.Name)", "b": [{"c.$": "$two[0]"}], "d": "$literal"}
    assert of(one(Type="Pass", Parameters=template, Result="$literal")) == {"One": ["one", "two"]}
    assert of(one(Type="Wait", SecondsPath="$pause")) == {"One": ["pause"]}


def test_a_map_reads_its_own_and_its_states_theirs():
    inner = machine({"Two": {**PASS, "Parameters": {"x.$": "$inner"}}})
    found = of(a_map(ItemProcessor=inner, ItemSelector={"a.$": "$outer"}, MaxConcurrencyPath="$most"))
    assert found == {"One": ["most", "outer"], "Two": ["inner"]}


def test_expressions_are_read_and_what_they_bind_themselves_is_theirs():
    output = {
        "a": "{% ($n := $x; $map($y, function($v, $i) { $v + $n + $i })) %}",
        "b": ["{% $z.deep & '$no' %}", "$no"],
    }
    document = machine(
        {
            "One": {**TASK, "Output": output, "Arguments": "{% $a %}", "Next": "Two"} | {"End": False},
            "Two": {"Type": "Succeed"},
        },
        QueryLanguage="JSONata",
    )
    del document["States"]["One"]["End"]
    assert of(document) == {"One": ["a", "x", "y", "z"]}


def test_what_a_catch_reads_counts_for_its_state():
    document = machine(
        {"One": {**TASK, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "One", "Assign": {"e.$": "$before"}}]}}
    )
    assert of(document) == {"One": ["before"]}


def test_states_that_read_none_are_left_out():
    assert of(machine()) == {}
    assert of(LARGE) == {"Route": ["who"]}


def test_names_of_an_expression_that_cannot_be_read_are_none():
    assert names_in("{% 1 + %}").variables == ()


def test_what_a_step_of_a_path_names_is_a_field_of_it():
    found = names_in("{% $states.input.items[price > $least].(name & $suffix)^(<order){kind: $sum(n)} %}")
    assert (found.variables, found.bare, found.states) == (("least", "suffix"), (), ("input",))
    assert names_in("{% * %}").bare == ("*",)
    assert names_in("{% **.a %}").bare == ("**",)
    assert names_in("{% $ %}").bare == ("$",)
    assert names_in("{% $x ~> |$|{'a': b}| %}").bare == ()
    assert names_in("{% $list@$one.$one.a #$at[$at = 1] %}").variables == ("list",)
