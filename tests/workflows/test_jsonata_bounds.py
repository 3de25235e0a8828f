"""Hostile expressions end soon, with the right error, and the process lives."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from corral.workflows.failing import QUERY_EVALUATION, StateFailed
from corral.workflows.language import jsonata
from corral.workflows.language.scope import Scope

DOCUMENT = {
    "numbers": list(range(50_000)),
    "text": "ab " * 60_000,
    "object": {f"k{number}": number for number in range(10_000)},
}
SCOPE = Scope(input=DOCUMENT, variables={"long": "x" * 200_000})
TIME, DEPTH, MEMORY = "D1012", "D1011", "D1013"
BOUNDS = {TIME: {TIME, MEMORY}, MEMORY: {TIME, MEMORY}}
"""On a slow machine the time is over before the memory is used up, and the other way round."""


def doubling(first: str, step: str, last: str = "$x") -> str:
    return f"($x := {first}; " + f"$x := {step}; " * 60 + f"{last})"


HOSTILE = {
    "a loop": ("($f := function() { $f() }; $f())", TIME),
    "a recursion": ("($f := function($n) { 1 + $f($n + 1) }; $f(0))", DEPTH),
    "two recursions": ("($f := function($n) { $n > 0 ? $f($n - 1) & $f($n - 1) : 'x' }; $f(40))", TIME),
    "a range": ("[1..10000000]", MEMORY),
    "a range of huge numbers": ("$count([1..1e15])", MEMORY),
    "$range": ("$range(0, 1e15, 1)", MEMORY),
    "a map over ranges": ("$map([1..1000], function($i) { $map([1..1000], function($j) { $i * $j }) })", TIME),
    "a product of paths": ("$states.input.numbers.($states.input.numbers)", MEMORY),
    "a join": ("$states.input.numbers@$a.$states.input.numbers@$b.($a + $b)", MEMORY),
    "a filter by numbers": ("$states.input.numbers[$states.input.numbers]", TIME),
    "a quadratic search": ("$states.input.numbers[$ in $states.input.numbers]", TIME),
    "a long sort": ("$sort($states.input.numbers, function($l, $r) { $l * 7919 % 104729 > $r * 7919 % 104729 })", TIME),
    "a long reduce": ("$reduce([1..100000], $append)", TIME),
    "growing text": ("$reduce([1..100000], function($a, $b) { $a & 'xxxxxxxxxx' }, '')", MEMORY),
    "doubling text": (doubling("'x'", "$x & $x"), MEMORY),
    "doubling arrays": (doubling("[1]", "[$x, $x]"), MEMORY),
    "doubling nested arrays": (doubling("[[1]]", "[[$x], [$x]]"), MEMORY),
    "doubling objects": (doubling("{'a': 1}", "{'a': $x, 'b': $x}", "$string($x)"), MEMORY),
    "doubling by $append": (doubling("[1]", "$append($x, $x)", "$count($x)"), MEMORY),
    "doubling by $zip": (doubling("[1, 2]", "$zip($x, $x)", "$x"), MEMORY),
    "$zip": ("$zip(" + ", ".join(["$states.input.numbers"] * 400) + ")", MEMORY),
    "$pad": ("$pad('x', 1000000000)", MEMORY),
    "$pad to the left": ("$pad('x', -1e300)", MEMORY),
    "$join": ("$join([1..50000].('x'), $long)", MEMORY),
    "$replace by text": ("$replace($states.input.text, 'a', $long)", MEMORY),
    "$replace by a pattern": ("$replace($states.input.text, /a/, $long)", MEMORY),
    "$each": ("$each($states.input.object, function($v, $k) { $k & $long })", MEMORY),
    "transforms": (
        "$states.input ~> |object|{'a': $long, 'b': $states.input}| ~> |object.b|{'c': $states.input}| ~> $string",
        None,
    ),
    "doubling by transforms": (doubling("{'a': 1}", "$x ~> |$|{'b': $x, 'c': $x}|"), MEMORY),
    "a pattern that backtracks": ("$contains('" + "a" * 5_000 + "b', /(a+)+$/)", TIME),
    "a pattern with choices": ("$match($states.input.text, /(a|b| )*c/)", TIME),
    "a picture that pads": ("$fromMillis(0, '[Y,999999999]')", "D3137"),
    "a picture that is a pattern": ("$toMillis('" + "1" * 60 + "x', '[d][w][W][f][d][w][W][f][d]')", TIME),
    "a separator that is a pattern": ("$formatNumber(1, '0', {'exponent-separator': '(a+)+$'})", "D3137"),
    "roman numerals": ("$formatInteger(1e15, 'I')", DEPTH),
    "words": ("$formatInteger(1e300, 'w')", "D3137"),
    "a power": ("$power(10, 1000000)", "D3061"),
    "deep text": ("$parse('" + "[" * 100_00 + "')", None),
    "closures": ("$map([1..100000], function($x) { function() { $x } })", None),
    "long text to many": ("$split($long, '') ~> $map(function($c) { $c & $long })", None),
    "an error with all the data": ("$error($long)", "D3137"),
    "a key that is all the data": ("{$states.input: 1}", "T1003"),
}


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    jsonata.evaluate("{% $string(1) %}", SCOPE, field="Output")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_expression_ends_soon(name):
    code, error = HOSTILE[name]
    began = time.thread_time()
    with pytest.raises(StateFailed) as failed:
        jsonata.evaluate("{% " + code + " %}", SCOPE, field="Output")
    assert time.thread_time() - began < 2.0  # half a second, on a machine that does other things as well
    assert failed.value.error == QUERY_EVALUATION
    assert len(failed.value.cause or "") <= jsonata.CAUSE_MAX
    errors = BOUNDS.get(error, {error})
    assert error is None or any(f"evaluation. {one}: " in (failed.value.cause or "") for one in errors)
    assert jsonata.evaluate("{% $sum([1, 2]) %}", SCOPE, field="Output") == 3


GREEDY = [
    "a join",
    "growing text",
    "doubling arrays",
    "doubling objects",
    "$each",
    "closures",
    "transforms",
    "$replace by text",
]


@pytest.mark.parametrize("name", GREEDY)
def test_a_hostile_expression_takes_little_memory(name):
    jsonata.fault_of("{% " + HOSTILE[name][0] + " %}")
    tracemalloc.start()
    try:
        with pytest.raises(StateFailed):
            jsonata.evaluate("{% " + HOSTILE[name][0] + " %}", SCOPE, field="Output")
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000


@pytest.mark.parametrize(
    "code",
    [
        "$count([1..100000])",
        "$sum($map([1..2000], function($x) { $x * 2 }))",
        "$count($states.input.numbers)",
        "$length($join($map([1..500], $string), ','))",
        "$count($keys($states.input.object))",
        "$length($string($states.input.object)) > 1000",
        "$count($distinct($states.input.numbers))",
        "$count($split($states.input.text, ' '))",
        "$count($match($substring($states.input.text, 0, 3000), /a(b)/))",
        "($f := function($n) { $n = 0 ? 0 : 1 + $f($n - 1) }; $f(50))",
        "($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f(2000)) = 0",
    ],
)
def test_honest_work_is_done(code):
    assert jsonata.evaluate("{% " + code + " %}", SCOPE, field="Output") is not None


def test_a_tree_that_is_shared_is_told_as_often_as_it_stands_there():
    shared = "($a := [1..10]; {'a': $a, 'b': $a, 'c': [$a, $a]})"
    ten = list(range(1, 11))
    assert jsonata.evaluate("{% " + shared + " %}", SCOPE, field="Output") == {"a": ten, "b": ten, "c": [*ten, *ten]}


def test_evaluations_in_threads_do_not_meet():
    found: dict[int, object] = {}

    def work(number: int) -> None:
        scope = Scope(input={"n": number, "items": list(range(50))})
        code = "{% $sum($map($states.input.items, function($i) { $i * $states.input.n })) %}"
        found[number] = [jsonata.evaluate(code, scope, field="Output") for _ in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [1_225 * number] * 20 for number in range(1, 5)}
