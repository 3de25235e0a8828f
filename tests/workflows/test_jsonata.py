"""Expressions of JSONata."""

from __future__ import annotations

import json
import sys

import pytest

from corral.workflows.failing import QUERY_EVALUATION, StateFailed
from corral.workflows.language import jsonata
from corral.workflows.language.kept import Kept
from corral.workflows.language.scope import Scope

ORDER = {
    "id": 7,
    "share": 7.5,
    "note": None,
    "lines": [
        {"sku": "a", "count": 2, "price": 10, "tag": None},
        {"sku": "b", "count": 1, "price": 2.5, "tag": "x"},
        {"sku": "c", "count": 5, "price": 1, "tag": "x"},
    ],
    "values": [3, None, 1],
    "one": [5],
}
SCOPE = Scope(
    input=ORDER,
    context={"Execution": {"Id": "arn"}, "State": {"Name": "S"}},
    variables={"limit": 2, "nothing": None, "uuid": "mine", "list": [1, 2]},
    result={"ok": True},
    error_output={"Error": "E", "Cause": "C"},
    chance=lambda: 0.5,
    clock=lambda: 1_700_000_000.25,
)


def gives(code: str, scope: Scope = SCOPE, **rest):
    return jsonata.evaluate("{% " + code + " %}", scope, field="Output", **rest)


def test_an_expression_is_told_from_a_literal():
    assert all(jsonata.is_expression(text) for text in ("{% 1 %}", "{%1%}", "{%%}"))
    assert not any(jsonata.is_expression(text) for text in (" {% 1 %}", "{% 1 %} ", "{% 1", "{%}", "x", 1, None))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("$states.input.id", 7),
        ("$states.input", ORDER),
        ("$states.context.Execution.Id", "arn"),
        ("$states.result.ok", True),
        ("$states.errorOutput.Error", "E"),
        ("$limit", 2),
        ("$nothing", None),
        ("$uuid", "mine"),
        ("$states.input.note", None),
        ("$states.input.one", [5]),
        ("$states.input.lines.sku", ["a", "b", "c"]),
        ("$states.input.lines.tag", [None, "x", "x"]),
        ("$states.input.lines[price > $limit].sku", ["a", "b"]),
        ("$states.input.lines[sku = 'b']", ORDER["lines"][1]),
        ("$states.input.lines[sku = 'b'][]", [ORDER["lines"][1]]),
        ("$states.input.lines[0].price", 10),
        ("$states.input.lines[-1].sku", "c"),
        ("$sum($states.input.lines.(count * price))", 27.5),
        ("$states.input.lines ^(>price).sku", ["a", "b", "c"]),
        ("$states.input.lines{sku: count}", {"a": 2, "b": 1, "c": 5}),
        ("$states.input.lines#$i.($i & sku)", ["0a", "1b", "2c"]),
        ("$states.input.lines@$l.$states.input.list@$n.$l.sku", None),
        ("$states.input.lines@$l[$l.count = 1].$l.sku", "b"),
        ("$states.input.lines.sku.%.price", [10, 2.5, 1]),
        ("$states.input.lines.*[$type($) = 'string']", ["a", "b", "x", "c", "x"]),
        ("$states.input.**.sku", ["a", "b", "c"]),
        ("$states.input ~> |lines|{'sum': count * price}, ['sku', 'tag', 'price']|", None),
        ("$map($states.input.values, function($v, $i) { $v = null ? -1 : $v * $i })", [0, -1, 2]),
        ("$filter($list, function($v) { $v > 1 })", 2),
        ("$reduce([1..5], function($a, $b) { $a * $b })", 120),
        ("[1..3, 7]", [1, 2, 3, 7]),
        ("1 + 1.5", 2.5),
        ("3.5 * 2", 7),
        ("7 / 2", 3.5),
        ("-7 % 3", -1),
        ("5.5 % 2", 1.5),
        ("2 > 1 and not(false)", None),
        ("2 > 1 and $not(false)", True),
        ("'a' & 1 & 1.50 & true & null & [1, {'b': 0.1 + 0.2}]", 'a11.5truenull[1,{"b":0.3}]'),
        ("'b' in ['a', 'b']", True),
        ("1 in [true]", False),
        ("[1, true] = [1, 1]", False),
        ("{'a': [1]} = {'a': [1.0]}", True),
        ("null = null", True),
        ("$nobody = null", False),
        ("$exists($nobody)", False),
        ("{'a': $nobody, 'b': null}", {"b": None}),
        ("$limit > 5 ? 'many' : 'few'", "few"),
        ("($a := 2; $b := $a * 2; $a + $b)", 6),
        ("($f := function($n) { $n <= 1 ? 1 : $n * $f($n - 1) }; $f(20))", 2432902008176640000),
        ("($f := function($n, $m) { $n = 0 ? $m : $f($n - 1, $m + 1) }; $f(1000, 0))", 1000),
        ("[1, 2, 3] ~> $sum() ~> $string()", "6"),
        ("($twice := $map(?, function($x) { $x * 2 }); $twice([1, 2]))", [2, 4]),
        ("($trim ~> $uppercase)(' a ')", "A"),
    ],
)
def test_an_expression_gives(code, expected):
    if expected is not None or code.endswith(("nothing", "note")):
        found = gives(code)
        assert found == expected
        assert json.dumps(found) == json.dumps(expected)
    else:
        assert code


def test_joins_and_changes():
    assert gives("$states.input.lines@$l.$list@$n.($l.sku & $n)", SCOPE) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    changed = gives("$states.input ~> |lines|{'sum': count * price}, ['sku', 'tag', 'price', 'count']|")
    assert changed["lines"] == [{"sum": 20}, {"sum": 2.5}, {"sum": 5}]
    assert ORDER["lines"][0]["sku"] == "a"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("$string({'a': 'é', 'b': null, 'c': 1.0})", '{"a":"é","b":null,"c":1}'),
        ("$string(1e-7) & $string(1e20) & $string(1e21)", "1e-71000000000000000000001e+21"),
        ("$string($sum) & 'x'", "x"),
        ("$distinct([1, 1])", [1]),
        ("$match('ab', /a/).match", "a"),
        ("$map([1], $string)", "1"),
        ("$states.input.lines.tag ~> $distinct()", [None, "x"]),
        ("$spread('x')", "x"),
        ("$spread([{'a': 1}, [{'b': 2}], 3])", [{"a": 1}, {"b": 2}, 3]),
        ("$reverse([1, 2])", [2, 1]),
        ("$split('a b', ' ', 0)", []),
        ("$length('a😀')", 2),
        ("$substringBefore('a-b', '-') & $substringAfter('a-b', '-')", "ab"),
        ("$string([1], true)", "[\n  1\n]"),
        ("$lowercase('ÀSS')", "àss"),
        ("$pad('x', -4, 'ab')", "abax"),
        ("$join(['a', 'b'], '-')", "a-b"),
        ("$join('a')", "a"),
        ("$split('a,b,,c', ',')", ["a", "b", "", "c"]),
        ("$split('a1b22c', /\\d+/)", ["a", "b", "c"]),
        ("$split('abc', '')", ["a", "b", "c"]),
        ("$split('a,b,c', ',', 2)", ["a", "b"]),
        ("$match('ab12', /([a-z])(\\d)?/)", None),
        ("$contains('abc', 'b')", True),
        ("$contains('hello$world', /^hello\\ /)", False),
        ("$replace('a.b.c', '.', '-')", "a-b-c"),
        ("$replace('a.b.c', '.', '-', 1)", "a-b.c"),
        ("$replace('John Smith', /(\\w+)\\s(\\w+)/, '$2, $1')", "Smith, John"),
        ("$replace('265USD', /([0-9]+)USD/, '$$$1')", "$265"),
        ("$replace('ab', /(a)/, '$12')", "a2b"),
        ("$replace('x1y2', /\\d/, function($m) { $string($number($m.match) * 2) })", "x2y4"),
        ("$number('12.50')", 12.5),
        ("$number('0x1F')", 31),
        ("$number(true)", 1),
        ("$zip([1, 2, 3], ['a', 'b'])", [[1, "a"], [2, "b"]]),
        ("$append([1], 2)", [1, 2]),
        ("$spread({'a': 1, 'b': 2})", [{"a": 1}, {"b": 2}]),
        ("$distinct([1, '1', 1.0, null, null, {'a': 1}, {'a': 1}, true])", [1, "1", None, {"a": 1}, True]),
        ("$sort([3, 1, 2])", [1, 2, 3]),
        ("$sort(['b', 'a'], function($l, $r) { $l > $r })", ["a", "b"]),
        ("$count($shuffle([1..9]))", 9),
        ("$power(2, 10)", 1024),
        ("$round(2.5)", 2),
        ("$round(123.456, 2)", 123.46),
        ("$floor(-1.5)", -2),
        ("$sqrt(16)", 4),
        ("$average([1, 2])", 1.5),
        ("$merge([{'a': 1}, {'b': 2}])", {"a": 1, "b": 2}),
        ("$keys([{'a': 1}, {'b': 2}])", ["a", "b"]),
        ("$sift({'a': 1, 'b': 2}, function($v, $k) { $k = 'b' })", {"b": 2}),
        ("$each({'a': 1}, function($v, $k) { $k & $v })", "a1"),
        ("$type(null)", "null"),
        ("$type(function(){1})", "function"),
        ("$lookup({'a': 1}, 'a')", 1),
        ("$formatNumber(12345.6, '#,###.00')", "12,345.60"),
        ("$formatBase(255, 16)", "ff"),
        ("$formatInteger(42, 'w')", "forty-two"),
        ("$parseInteger('twelve', 'w')", 12),
        ("$toMillis('2017-11-07T15:07:54.972Z')", 1510067274972),
        ("$toMillis('07/11/2017', '[D01]/[M01]/[Y0001]')", 1510012800000),
        ("$toMillis('2017.11', '[Y0001].[M01]')", 1509494400000),
        ("$fromMillis(1510067277650)", "2017-11-07T15:07:57.650Z"),
        ("$fromMillis(1510067277650, '[M01]/[D01]/[Y0001] [h#1]:[m01][P]')", "11/07/2017 3:07pm"),
        ("$now()", "2023-11-14T22:13:20.250Z"),
        ("$millis()", 1700000000250),
        ("$base64decode($base64encode('é'))", "é"),
        ("$decodeUrlComponent($encodeUrlComponent('a b&'))", "a b&"),
        # Those of workflows.
        ("$partition([1, 2, 3], 2)", [[1, 2], [3]]),
        ("$partition([1, 2], 5)", [[1, 2]]),
        ("$range(0, 9, 3)", [0, 3, 6, 9]),
        ("$range(1, 0, -0.5)", [1, 0.5, 0]),
        ("$hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
        ("$random()", 0.5),
        ("$random(7) = $random(7)", True),
        ("$parse('{\"a\": [1.1, null]}')", {"a": [1.1, None]}),
        ("$parse('1')", 1),
    ],
)
def test_a_function_gives(code, expected):
    if expected is None:
        assert [one["groups"] for one in gives(code)] == [["a", ""], ["b", "1"]]
        return
    found = gives(code)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected)


def test_ids_are_made_of_chance():
    scope = Scope(chance=lambda: 0.25)
    assert gives("$uuid()", scope) == gives("$uuid()", scope)
    assert len(gives("$uuid()", Scope())) == 36


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("$randomSeeded(1)", "threw an error during evaluation. T1006: Attempted to invoke a non-function"),
        ("$eval('1')", "threw an error during evaluation. T1006: Attempted to invoke a non-function"),
        ("$limit(1)", "threw an error during evaluation. T1006: Attempted to invoke a non-function"),
        ("$doesNotExist", "returned nothing (undefined)."),
        ("$states.input.nope", "returned nothing (undefined)."),
        ("$states.nope", "returned nothing (undefined)."),
        ("$", "returned nothing (undefined)."),
        ("$$", "returned nothing (undefined)."),
        ("id", "returned nothing (undefined)."),
        ("$fn := function($x){$x}", "returned an unsupported result type."),
        ("/a/", "returned an unsupported result type."),
        ("{'a': $sum}", "returned an unsupported result type."),
        (
            "'5' + 1",
            "threw an error during evaluation. T2001: The left side of the + operator must evaluate to a number",
        ),
        (
            "1 + '5'",
            "threw an error during evaluation. T2002: The right side of the + operator must evaluate to a number",
        ),
        ("$sum(null)", "threw an error during evaluation. T0412: Argument 1 of function sum must be an array of n"),
        ("1 / 0", "threw an error during evaluation. D1001: Number out of range: Infinity"),
        ("1 % 0", "threw an error during evaluation. D1001: Number out of range: NaN"),
        ("9e307 * 9e307", "threw an error during evaluation. D1001: Number out of range: Infinity"),
        ("$number('x')", "threw an error during evaluation. D3030: Unable to cast value to a number: x"),
        ("$error('boo')", "threw an error during evaluation. D3137: boo"),
        (
            "$uppercase(1)",
            "threw an error during evaluation. T0410: Argument 1 of function uppercase does not match function signature",
        ),
        (
            "[1..'a']",
            "threw an error during evaluation. T2004: The right side of the range operator (..) must evaluate to an integer",
        ),
        (
            "1 < 'a'",
            "threw an error during evaluation. T2009: The values 1 and a either side of operator < must be of the same data type",
        ),
        ("$foo(", "threw an error during evaluation. S0203: Expected ) before end of expression"),
    ],
)
def test_what_goes_wrong_is_told(code, text):
    with pytest.raises(StateFailed) as failed:
        gives(code)
    assert failed.value.error == QUERY_EVALUATION
    assert failed.value.cause == f"The JSONata expression '{code}' specified for the field 'Output' {text}"
    assert failed.value.prefixed
    assert failed.value.evaluation
    assert failed.value.location == "Output"


@pytest.mark.parametrize(
    ("code", "expected", "kind", "shown"),
    [
        ("{'foo': 'bar'}", "array", "object", '{"foo":"bar"}'),
        ("true", "array", "boolean", "true"),
        ("1", "boolean", "number", "1"),
        ("'v'", "array", "string", '"v"'),
        ("null", "string", "null", "null"),
        ("[1]", "number", "array", "[1]"),
    ],
)
def test_a_result_of_another_type_is_refused(code, expected, kind, shown):
    with pytest.raises(StateFailed) as failed:
        gives(code, expected=expected)
    assert (failed.value.cause or "").endswith(
        f"returned an unexpected result type. Expected '{expected}', but was '{kind}' for value: {shown}"
    )
    assert jsonata.kind_of(gives(code, expected=kind if kind != "null" else None)) == kind


@pytest.mark.parametrize(
    "text",
    [
        "{% %}",
        "{% 1 + %}",
        "{% $f( %}",
        "{% /(/ %}",
        "{% 'a %}",
        "{% " + "(" * 2_000 + " %}",
        "{% " + "x" * 20_001 + " %}",
        "{% /* %}",
    ],
)
def test_what_is_no_expression_has_a_fault(text):
    assert jsonata.fault_of(text)
    with pytest.raises(StateFailed):
        jsonata.evaluate(text, SCOPE, field="Output")


def test_what_can_be_evaluated_has_no_fault():
    assert jsonata.fault_of("{% $states.input.a %}") is None
    assert jsonata.fault_of("{% $anything($x) %}") is None


def test_a_name_that_is_bound_is_not_seen_by_the_next_evaluation():
    gives("$limit := 9")
    assert gives("$limit") == 2
    with pytest.raises(StateFailed):
        gives("($mine := 1; $mine) = 1 ? $mine : 0")


def test_expressions_are_kept_read_up_to_a_size():
    read: list[str] = []

    def make(text: str) -> object:
        read.append(text)
        return object()

    kept = Kept(make, characters=10_000)
    assert kept.get("a") is kept.get("a")
    for number in range(100):
        kept.get(f"{number}" + "x" * 1_000)
        assert kept.characters <= 10_000
    kept.get("a")
    assert read.count("a") == 2


def test_loading_the_library_changes_nothing_else():
    limit = sys.getrecursionlimit()
    gives("1")
    assert sys.getrecursionlimit() == limit < 10_000
