"""The items of distributed Maps: every form of file, however its bytes are cut."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from datetime import date
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.workflows.distributed import elements as elements_module
from corral.workflows.distributed import lines as lines_module
from corral.workflows.distributed import reading as reading_module
from corral.workflows.distributed.faults import ItemsFailed, ObjectFailed
from corral.workflows.distributed.objects import ObjectInfo, Shelves
from corral.workflows.distributed.reading import given as given_items
from corral.workflows.distributed.reading import read
from corral.workflows.machine.distributed import Reader

pytestmark = pytest.mark.asyncio

GET = "arn:aws:states:::s3:getObject"
LIST = "arn:aws:states:::s3:listObjectsV2"


class Held:
    """Objects in memory, cut into pieces of one size."""

    def __init__(self, objects, cut=7):
        self.objects = {key: body.encode() if isinstance(body, str) else body for key, body in objects.items()}
        self.cut = cut

    async def read(self, bucket, key, *, version="", owner=""):
        if key not in self.objects:
            raise ObjectFailed(f"{bucket}/{key} is not there")
        body = self.objects[key]
        for start in range(0, len(body), self.cut):
            yield body[start : start + self.cut]

    async def list(self, bucket, prefix, *, start_after=""):
        for key, body in sorted(self.objects.items()):
            if key.startswith(prefix) and key > start_after:
                yield ObjectInfo(key=key, size=len(body), etag="e", modified_at=1.5)


async def items(body, *, cut=7, resource=GET, parameters=None, **reader):
    objects = body if isinstance(body, dict) else {"k": body}
    asked = Reader(resource=resource, parameters=parameters or {"Bucket": "b", "Key": "k"}, **reader)
    return [item async for item in read(asked, Shelves({"s3": Held(objects, cut)}))]


async def values(body, **reader):
    return [item.value for item in await items(body, **reader)]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON_VALUES, max_size=8), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
async def test_an_array_is_read_however_it_is_cut(wanted, cut, indent, plain):
    text = json.dumps(wanted, indent=indent, ensure_ascii=plain)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        body = json.dumps(wanted).encode()
    assert await values(body, cut=cut) == wanted


@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"Hello": "world"}', "Attempting to map over non-iterable node."),
        ('"text"', "Attempting to map over non-iterable node."),
        ("12", "Attempting to map over non-iterable node."),
        ("nonsense", "The file is not JSON"),
        ("", "The file is empty."),
        ("  \n", "The file is empty."),
        ("[1, 2", "does not end|followed by neither"),
        ("[1 2]", "followed by neither"),
        ("[1,,2]", "a comma, and nothing before it"),
        ("[1] 2", "something follows"),
        ("[NaN]", "not JSON"),
        ("[1,]", "not JSON"),
        ("[,1]", "a comma, and nothing before it"),
        (b'["\xff"]', "not UTF-8"),
        ("[" * 5000, "nested too deeply|not JSON"),
    ],
)
async def test_what_is_no_array_says_why(body, why, cut):
    with pytest.raises(ItemsFailed, match=why):
        await items(body, cut=cut)


async def test_an_element_without_end_is_not_read_on(monkeypatch):
    monkeypatch.setattr(elements_module, "RECORD_MAX", 1000)
    with pytest.raises(ItemsFailed, match="longer than 1000"):
        await items('["' + "x" * 5000, cut=100)
    with pytest.raises(ItemsFailed, match="non-iterable"):
        await items('{"a": "' + "x" * 5000 + '"}', cut=100)


async def test_a_pointer_leads_into_a_document():
    body = json.dumps({"a": {"b/c": [1, 2, 3]}, "o": {"x": 1, "y": [2]}})
    assert await values(body, pointer="/a/b~1c") == [1, 2, 3]
    found = await items(body, pointer="/o")
    assert [(item.key, item.value) for item in found] == [("x", 1), ("y", [2])]
    assert found[1].context == {"Index": 1, "Value": [2], "Key": "y", "Source": "S3://b/k"}
    for pointer in ("/nothing", "/a/b~1c/9", "/a/b~1c/x/y"):
        with pytest.raises(ItemsFailed, match="leads nowhere"):
            await values(body, pointer=pointer)
    with pytest.raises(ItemsFailed, match="non-iterable"):
        await values(body, pointer="/o/x")
    with pytest.raises(ItemsFailed, match="not JSON"):
        await values("{", pointer="/o/x")


async def test_a_document_with_a_pointer_is_bounded(monkeypatch):
    monkeypatch.setattr(elements_module, "DOCUMENT_MAX", 10)
    with pytest.raises(ItemsFailed, match="may have 10 characters"):
        await values("[1, 2, 3, 4, 5]", pointer="/0")


@pytest.mark.parametrize("cut", [1, 5, 1000])
async def test_lines_of_json(cut):
    assert await values('{"a": 1}\n\n[2]\r\n"three"', cut=cut, input_type="JSONL") == [{"a": 1}, [2], "three"]
    with pytest.raises(ItemsFailed, match="Line 2 of the file is not JSON"):
        await values("1\n{\n", cut=cut, input_type="JSONL")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=2, max_size=2), max_size=6
    ),
    st.integers(1, 30),
    st.sampled_from([("COMMA", ","), ("PIPE", "|"), ("SEMICOLON", ";"), ("TAB", "\t"), ("SPACE", " ")]),
)
async def test_rows_are_read_however_they_are_cut(rows, cut, delimiter):
    name, char = delimiter
    file = io.StringIO()
    csv.writer(file, delimiter=char).writerows([["one", "two"], *rows])
    found = await values(file.getvalue(), cut=cut, input_type="CSV", delimiter=name)
    assert found == [{"one": row[0], "two": row[1]} for row in rows]


async def test_rows_with_more_and_less_than_the_headers():
    body = 'H1,H2\na,b,c\n,,,\nNull,None,\n   \n\nx"y,"q""r"\n'
    assert await values(body, input_type="CSV") == [
        {"H1": "a", "H2": "b"},
        {"H1": "", "H2": ""},
        {"H1": "Null", "H2": "None"},
        {"H1": "   ", "H2": ""},
        {"H1": 'x"y', "H2": 'q"r'},
    ]
    given_headers = await values("a,b\n", input_type="CSV", header_location="GIVEN", headers=["H1"])
    assert given_headers == [{"H1": "a"}]
    assert await values("\ufeffH\n1\n", input_type="CSV") == [{"H": "1"}]
    assert await values("", input_type="CSV") == []


async def test_headers_are_unique_and_delimiters_known():
    with pytest.raises(ItemsFailed, match="headers cannot contain duplicates"):
        await values("a,a\n1,2\n", input_type="CSV")
    with pytest.raises(ItemsFailed, match="headers cannot contain duplicates"):
        await values("1,2\n", input_type="CSV", header_location="GIVEN", headers=["a", "a"])
    with pytest.raises(ItemsFailed, match="is none of COMMA"):
        await values("1,2\n", input_type="CSV", delimiter="DOT")


async def test_lines_and_records_without_end_are_not_read_on(monkeypatch):
    monkeypatch.setattr(lines_module, "RECORD_MAX", 1000)
    with pytest.raises(ItemsFailed, match="A line is longer"):
        await values("x" * 5000, cut=100, input_type="JSONL")
    with pytest.raises(ItemsFailed, match="A record is longer"):
        await values('a\n"' + "x\n" * 3000, cut=100, input_type="CSV")


async def test_only_so_many_items_are_read():
    assert await values("[1, 2, 3]", max_items=2) == [1, 2]
    assert await values("h\n1\n2\n3\n", input_type="CSV", max_items=1) == [{"h": "1"}]


async def test_a_listing_is_items():
    objects = {"a/1": "x", "a/2": "yy", "b": "z"}
    found = await items(objects, resource=LIST, parameters={"Bucket": "b", "Prefix": "a/", "StartAfter": "a/1"})
    assert [item.value for item in found] == [
        {"Etag": '"e"', "Key": "a/2", "LastModified": 1, "Size": 2, "StorageClass": "STANDARD"}
    ]
    assert found[0].context["Source"] == "S3://b"


async def test_what_listed_objects_hold_are_the_items():
    objects = {"a/": "", "a/1": "1\n2\n", "a/2": "3\n", "b": "4\n"}
    where = {"Bucket": "b", "Prefix": "a/"}
    found = await items(objects, resource=LIST, parameters=where, input_type="JSONL", loads=True)
    assert [(item.value, item.context["Source"]) for item in found] == [
        (1, "S3://b/a/1"),
        (2, "S3://b/a/1"),
        (3, "S3://b/a/2"),
    ]


async def test_a_list_of_addresses_names_files():
    objects = {"m": '"s3://b/1.csv"\n\ns3://b/2.csv', "1.csv": "h\n1\n", "2.csv": "h\n2\n"}
    where = {"Bucket": "b", "Key": "m"}
    found = await values(objects, parameters=where, input_type="CSV", manifest="ATHENA_DATA")
    assert found == [{"h": "1"}, {"h": "2"}]
    for wrong in ("http://b/1", "s3://b", "nonsense"):
        with pytest.raises(ItemsFailed, match="which is no address"):
            await values({"m": wrong}, parameters=where, input_type="CSV", manifest="ATHENA_DATA")


async def test_an_inventory_names_its_files():
    objects = {
        "m": json.dumps(
            {
                "fileFormat": "CSV",
                "fileSchema": "Bucket, Key",
                "destinationBucket": "arn:aws:s3:::b",
                "files": [{"key": "1.csv.gz"}, {"key": "2.csv"}],
            }
        ),
        "1.csv.gz": gzip.compress(b'"b","one"\n"b","two"\n'),
        "2.csv": '"b","three"\n',
    }
    where = {"Bucket": "b", "Key": "m"}
    found = await values(objects, parameters=where, input_type="MANIFEST", manifest="S3_INVENTORY")
    assert [row["Key"] for row in found] == ["one", "two", "three"]
    with pytest.raises(ItemsFailed, match="not that of an S3 inventory"):
        await values({"m": "[]"}, parameters=where, input_type="MANIFEST", manifest="S3_INVENTORY")
    orc = json.dumps({"fileFormat": "ORC", "fileSchema": "a", "files": []})
    with pytest.raises(ItemsFailed, match="only CSV is read"):
        await values({"m": orc}, parameters=where, input_type="MANIFEST", manifest="S3_INVENTORY")
    with pytest.raises(ItemsFailed, match="not gzip"):
        await values(
            {**objects, "1.csv.gz": b"plain"}, parameters=where, input_type="MANIFEST", manifest="S3_INVENTORY"
        )


async def test_rows_of_columns_where_their_package_is_there(monkeypatch):
    class ArrowException(Exception):
        pass

    class Batch(list):
        def to_pylist(self):
            return list(self)

    class ParquetFile:
        def __init__(self, file):
            if file.read() != b"columns":
                raise ArrowException("no magic bytes")

        def iter_batches(self, batch_size):
            return iter([Batch([{"n": 1}, {"n": date(2026, 1, 2)}]), Batch([{"n": None}])])

    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(ArrowException=ArrowException))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", SimpleNamespace(ParquetFile=ParquetFile))
    assert await values("columns", input_type="PARQUET") == [{"n": 1}, {"n": "2026-01-02"}, {"n": None}]
    with pytest.raises(ItemsFailed, match="not PARQUET: no magic bytes"):
        await values("rows", input_type="PARQUET")
    monkeypatch.setattr(reading_module, "PARQUET_MAX", 3)
    with pytest.raises(ItemsFailed, match="may have 3 bytes"):
        await values("columns", input_type="PARQUET")


async def test_what_cannot_be_read_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ItemsFailed, match="pyarrow"):
        await values("x", input_type="PARQUET")
    with pytest.raises(ItemsFailed, match="cannot be read"):
        await values("x", input_type="XML")
    with pytest.raises(ItemsFailed, match="Bucket is missing"):
        await values("x", parameters={"Key": "k"})
    with pytest.raises(ObjectFailed, match="is not there"):
        await values("x", parameters={"Bucket": "b", "Key": "other"})
    with pytest.raises(ObjectFailed, match=r"workflows\.files_folder"):
        await values("x", resource="corral:files:getObject")


async def test_items_that_come_with_the_input():
    found = [item async for item in given_items({"a": 1, "b": 2})]
    assert [item.context for item in found] == [
        {"Index": 0, "Value": 1, "Key": "a", "Source": "STATE_DATA"},
        {"Index": 1, "Value": 2, "Key": "b", "Source": "STATE_DATA"},
    ]
    assert [item.value async for item in given_items([1, 2])] == [1, 2]
