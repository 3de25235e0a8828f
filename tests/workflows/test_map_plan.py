"""What a distributed Map asks for, evaluated; and how items become children."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_scene import GET, PASS, PUT, mapped

from corral.workflows.distributed import children as children_module
from corral.workflows.distributed.children import ChildInput, Chunks, children, size_of
from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.place import child_name, index_of
from corral.workflows.distributed.reading import given as given_items
from corral.workflows.failing import DATA_MAX_BYTES, StateFailed
from corral.workflows.language.definition import Map
from corral.workflows.language.reading import read
from corral.workflows.language.scope import Scope
from corral.workflows.machine import distributed
from corral.workflows.machine.distributed import Batching, Fault, MapPlan, concurrency_of, items_of, plan_from, plan_of
from corral.workflows.machines import Machines, part_of

MANY = 10_000_000


def state_of(language=None, **fields):
    state = read(mapped(language=language, **fields)).states["Each"]
    assert isinstance(state, Map)
    return state


def plan(given=None, language="JSONPath", **fields):
    state = state_of(None if language == "JSONPath" else language, **fields)
    scope = Scope(input={} if given is None else given, context={"Execution": {"Id": "x"}}, variables={"two": 2})
    limit = concurrency_of(state, scope, language)
    items = items_of(state, scope, language)
    made = plan_of(
        state,
        scope,
        language,
        body=("States", "Each", "ItemProcessor"),
        label="each",
        items=items,
        max_concurrency=limit,
    )
    assert plan_from(made.spec) == made
    return made


def fails(given=None, language="JSONPath", **fields):
    with pytest.raises(StateFailed) as caught:
        plan(given, language, **fields)
    return caught.value.error, caught.value.cause


def test_what_is_not_said_has_its_default():
    made = plan([1, 2])
    assert (made.items, made.max_concurrency, made.execution_type, made.label) == ([1, 2], 0, "STANDARD", "each")
    assert (made.tolerated_count, made.tolerated_percentage, made.reader, made.writer) == (None, None, None, None)
    assert (made.selector, made.batching, made.fault) == (None, None, None)


@pytest.mark.parametrize("value", [3, "3", 3.0])
def test_numbers_by_path(value):
    made = plan(
        {"n": value, "items": []},
        ItemsPath="$.items",
        MaxConcurrencyPath="$.n",
        ToleratedFailureCountPath="$.n",
        ToleratedFailurePercentagePath="$.n",
        ItemBatcher={"MaxItemsPerBatchPath": "$.n", "MaxInputBytesPerBatchPath": "$.n"},
    )
    assert (made.max_concurrency, made.tolerated_count, made.tolerated_percentage) == (3, 3, 3.0)
    assert made.batching == Batching(max_items=3, max_bytes=3)


@pytest.mark.parametrize("field", ["MaxConcurrency", "ToleratedFailureCount"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [("NoNumber", "NoNumber"), ({}, "{}"), (1.5, "1.5"), (True, "true"), (None, "null"), ([1], "[1]")],
)
def test_what_is_no_whole_number_by_path(field, value, shown):
    error, cause = fails({"n": value, "i": []}, ItemsPath="$.i", **{f"{field}Path": "$.n"})
    assert error == "States.Runtime"
    assert cause == f'The {field}Path field refers to value "{shown}" which is not a valid integer: $.n'


def test_bounds():
    assert fails({"n": -1, "i": []}, ItemsPath="$.i", ToleratedFailureCountPath="$.n") == (
        "States.Runtime",
        "ToleratedFailureCount cannot be negative.",
    )
    assert fails({"n": -1, "i": []}, ItemsPath="$.i", MaxConcurrencyPath="$.n")[0] == "States.Runtime"
    for wrong in (-0.1, 100.1):
        assert fails({"n": wrong, "i": []}, ItemsPath="$.i", ToleratedFailurePercentagePath="$.n") == (
            "States.Runtime",
            "ToleratedFailurePercentage must be between 0 and 100.",
        )
    cause = 'The ToleratedFailurePercentagePath field refers to value "x" which is not a valid float: $.n'
    assert fails({"n": "x", "i": []}, ItemsPath="$.i", ToleratedFailurePercentagePath="$.n") == (
        "States.Runtime",
        cause,
    )
    assert fails({"n": True, "i": []}, ItemsPath="$.i", ToleratedFailurePercentagePath="$.n")[0] == "States.Runtime"
    batcher = {"MaxItemsPerBatchPath": "$.n"}
    assert "must be positive" in fails({"n": 0, "i": []}, ItemsPath="$.i", ItemBatcher=batcher)[1]
    batcher = {"MaxInputBytesPerBatchPath": "$.n"}
    assert "between 1 and 262144" in fails({"n": 262_145, "i": []}, ItemsPath="$.i", ItemBatcher=batcher)[1]


def reader(**config):
    return {
        "Resource": GET,
        "Parameters": {"Bucket.$": "$.b", "Key": "k"},
        "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", **config},
    }


@pytest.mark.parametrize(("value", "most"), [(0, distributed.ITEMS_MAX), (5, 5), (100_000_001, 100_000_000)])
def test_a_reader(value, most):
    made = plan({"b": "bucket", "n": value}, ItemReader=reader(MaxItemsPath="$.n"))
    assert made.items is None
    assert made.reader.parameters == {"Bucket": "bucket", "Key": "k"}
    assert (made.reader.input_type, made.reader.max_items) == ("CSV", most)


def test_a_reader_s_bounds():
    made = plan({"b": "bucket", "n": -1}, ItemReader=reader(MaxItemsPath="$.n"))
    assert made.fault == Fault("States.ItemReaderFailed", "field MaxItems must be positive")
    error, cause = fails({"b": "bucket", "n": 1.5}, ItemReader=reader(MaxItemsPath="$.n"))
    assert error == "States.ItemReaderFailed"
    assert cause == 'The MaxItemsPath field refers to value "1.5" which is not a valid integer: $.n'
    error, _ = fails({"n": 1}, ItemReader=reader())
    assert error == "States.Runtime"


def test_a_writer():
    writer = {"Resource": PUT, "Parameters": {"Bucket.$": "$.b", "Prefix": "p"}}
    made = plan({"b": "out", "i": []}, ItemsPath="$.i", ResultWriter=writer)
    assert (made.writer.parameters, made.writer.transformation) == ({"Bucket": "out", "Prefix": "p"}, "NONE")
    writer = {"WriterConfig": {"OutputType": "JSON", "Transformation": "FLATTEN"}}
    made = plan({"i": []}, ItemsPath="$.i", ResultWriter=writer)
    assert (made.writer.resource, made.writer.transformation) == ("", "FLATTEN")


def test_expressions():
    made = plan(
        {"n": 4},
        "JSONata",
        Items="{% [1..$states.input.n] %}",
        MaxConcurrency="{% $two %}",
        ToleratedFailureCount="{% 1 + 1 %}",
        ToleratedFailurePercentage="{% 12.5 %}",
        ItemBatcher={"MaxItemsPerBatch": "{% 2 %}", "BatchInput": {"n": "{% $states.input.n %}"}},
    )
    assert (made.items, made.max_concurrency, made.tolerated_count) == ([1, 2, 3, 4], 2, 2)
    assert made.tolerated_percentage == 12.5
    assert made.batching == Batching(max_items=2, has_input=True, input={"n": 4})
    assert plan({}, "JSONata", Items=[1, "{% 2 %}"]).items == [1, 2]
    assert plan({}, "JSONata", Items="{% {'a': 1} %}").items == {"a": 1}
    said = "The JSONata expression '{}' specified for the field '{}' returned an unexpected result type. Expected '{}', but was '{}' for value: {}"
    for field, wanted, text, kind, value in (
        ("MaxConcurrency", "number", "'x'", "string", '"x"'),
        ("ToleratedFailureCount", "number", "true", "boolean", "true"),
        ("ToleratedFailurePercentage", "number", "[1,2]", "array", "[1,2]"),
        ("Items", "array", "null", "null", "null"),
    ):
        given = {"Items": [], field: f"{{% {text} %}}"}
        assert fails({}, "JSONata", **given) == (
            "States.QueryEvaluationError",
            said.format(text, field, wanted, kind, value),
        )
    assert fails({}, "JSONata", Items="{% 12 %}")[1].endswith("but was 'number' for value: 12")
    error, cause = fails(7, "JSONata")
    assert (error, cause) == ("States.QueryEvaluationError", "Map state input must be an array but was: 7")


def test_names():
    label = distributed.label_of(state_of(), "arn:machine", ("Each",))
    assert label == "each"
    plain = msgspec.structs.replace(state_of(), label=None)
    assert distributed.label_of(plain, "arn:machine", ("Each",)) == distributed.label_of(
        plain, "arn:machine", ("Each",)
    )
    assert distributed.label_of(plain, "arn:machine", ("Each",)) != distributed.label_of(
        plain, "arn:machine", ("Other",)
    )
    arn = distributed.map_run_arn("arn:aws:states:r:1:execution:machine/outer:name", "each", "secret")
    assert arn.startswith("arn:aws:states:r:1:mapRun:machine/each:")
    assert len(arn.rpartition(":")[2]) == 36


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40 - 1), st.text(max_size=40))
def test_the_name_of_a_child_says_which_it_is(index, run_id):
    name = child_name(run_id, index)
    assert index_of(run_id, name) == index
    assert index_of(run_id + "x", name) is None
    assert index_of(run_id, "no uuid") is None
    assert index_of(run_id, f"{index:032x}") is None


class Memory:
    def __init__(self):
        self.kept = {}

    async def put(self, tenant, name, body):
        self.kept[tenant, name] = body

    async def get(self, tenant, name):
        return self.kept.get((tenant, name))

    async def delete(self, tenant, prefix):
        names = [key for key in self.kept if key[0] == tenant and key[1].startswith(prefix)]
        for key in names:
            del self.kept[key]
        return len(names)


def batched(batching, items):
    made = MapPlan(body=(), language="JSONPath", batching=batching)
    return children(given_items(items), made)


@pytest.mark.asyncio
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.text(max_size=30), max_size=40),
    st.none() | st.integers(1, 7),
    st.integers(20, 200),
    st.booleans(),
)
async def test_batches_hold_all_items_in_order_and_no_more_than_they_may(items, most, size, has_input):
    batching = Batching(max_items=most, max_bytes=size, has_input=has_input, input={"a": 1})
    found = [one async for one in batched(batching, items)]
    assert [item for child, _ in found for item in child.input["Items"]] == items
    for number, (child, told) in enumerate(found):
        assert told == size_of(child.input)
        assert ("BatchInput" in child.input) is has_input
        assert child.items == len(child.input["Items"]) > 0
        assert most is None or child.items <= most
        assert told <= size or child.items == 1
        if number:  # what went before was full
            before, was = found[number - 1]
            assert before.items == most or was + size_of(child.input["Items"][0]) + 1 > size


@pytest.mark.asyncio
@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=60), st.integers(1, 9), st.integers(10, 200))
async def test_every_child_is_found_in_its_chunk(weights, in_chunk, chunk_bytes):
    keep = Memory()
    before = children_module.CHUNK_CHILDREN, children_module.CHUNK_BYTES
    children_module.CHUNK_CHILDREN, children_module.CHUNK_BYTES = in_chunk, chunk_bytes
    beats = []

    async def beat():
        beats.append(1)

    async def found():
        for number, weight in enumerate(weights):
            child = ChildInput(input={"n": number}, context={"Item": {"Index": number}}, items=weight)
            yield child, size_of(child.input)

    try:
        chunks = Chunks(keep, "acme", "r-1")
        total, items = await chunks.fill(found(), children_max=MANY, bytes_max=MANY, beat=beat)
    finally:
        children_module.CHUNK_CHILDREN, children_module.CHUNK_BYTES = before
    assert (total, items) == (len(weights), sum(weights))
    again = Chunks(keep, "acme", "r-1")
    for number in reversed(range(len(weights))):
        child = await again.read(number)
        assert child.input == {"n": number}
        assert child.map_context == {"Item": {"Index": number, "Value": {"n": number}}}
        assert await again.items_before(number) == sum(weights[:number])
    assert await again.items_before(total) == items
    with pytest.raises(ItemsFailed):
        await again.read(total)
    await again.forget()
    assert keep.kept == {}
    with pytest.raises(ItemsFailed):
        await Chunks(keep, "acme", "r-1").read(0)


@pytest.mark.asyncio
async def test_who_asks_before_the_items_are_read_does_not_make_them_vanish():
    async def beat():
        return

    keep = Memory()
    early = Chunks(keep, "acme", "r-1")
    assert (await early.table()).children == 0
    items = children(given_items([1, 2]), MapPlan(body=(), language="JSONPath"))
    await Chunks(keep, "acme", "r-1").fill(items, children_max=MANY, bytes_max=MANY, beat=beat)
    assert (await early.read(1)).input == 2


@pytest.mark.asyncio
async def test_a_map_run_is_bounded():
    async def beat():
        return

    async def fill(items, **most):
        made = MapPlan(body=(), language="JSONPath")
        bounds = {"children_max": MANY, "bytes_max": MANY, **most}
        return await Chunks(Memory(), "acme", "r").fill(children(given_items(items), made), beat=beat, **bounds)

    assert await fill([1, 2, 3], children_max=3) == (3, 3)
    with pytest.raises(ItemsFailed, match="map_children_max"):
        await fill([1, 2, 3], children_max=2)
    with pytest.raises(ItemsFailed, match="map_bytes_max"):
        await fill(["x" * 10] * 10, bytes_max=100)
    with pytest.raises(ItemsFailed, match="would begin with"):
        await fill(["x" * DATA_MAX_BYTES])


@pytest.mark.asyncio
async def test_a_part_of_a_definition_is_a_machine():
    inner = mapped(PASS, Label="inner")
    outer = mapped({"StartAt": "A/~b", "States": {"A/~b": inner["States"]["Each"]}}, language="JSONPath")
    text = msgspec.json.encode(outer).decode()

    async def definitions(tenant, digest):
        assert (tenant, digest) == ("acme", "d")
        return text

    machines = Machines(definitions, read)
    first = part_of("d", ("States", "Each", "ItemProcessor"))
    second = part_of(first, ("States", "A/~b", "ItemProcessor"))
    assert (await machines.get("acme", first)).start_at == "A/~b"
    assert (await machines.get("acme", second)).start_at == "One"
    assert (await machines.get("acme", second)).query_language == "JSONPath"
    assert (await machines.get("acme", "d")).start_at == "Each"
