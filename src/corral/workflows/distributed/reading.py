"""The items of a distributed Map, one by one, from wherever its `ItemReader` says they are."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import msgspec

from corral.workflows.distributed.elements import NOT_ITERABLE, document, elements, pointed
from corral.workflows.distributed.faults import ItemsFailed
from corral.workflows.distributed.lines import DELIMITERS, lines, records
from corral.workflows.distributed.objects import Objects, Shelves
from corral.workflows.machine.distributed import Reader

PARQUET_MAX = 64 * 1024 * 1024
"""Bytes of a file whose end has to be read first."""

DUPLICATES = "CSV headers cannot contain duplicates."


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item, and what the context object says of it."""

    index: int
    value: Any
    key: str | None = None
    """Of an item that was a member of an object."""
    source: str = "STATE_DATA"

    @property
    def context(self) -> dict[str, Any]:
        """As `Map.Item` of the context object."""
        seen = {"Index": self.index, "Value": self.value, "Source": self.source}
        return seen if self.key is None else {**seen, "Key": self.key}


async def given(items: list[Any] | dict[str, Any]) -> AsyncIterator[Item]:
    """Items that came with the state's input."""
    if isinstance(items, dict):
        for index, (key, value) in enumerate(items.items()):
            yield Item(index=index, value=value, key=key)
    else:
        for index, value in enumerate(items):
            yield Item(index=index, value=value)


async def read(reader: Reader, shelves: Shelves) -> AsyncIterator[Item]:
    """Items that a reader finds, `MaxItems` of them at most. Raises `ItemsFailed` and `ObjectFailed`."""
    index = 0
    async for key, value, source in _values(reader, shelves):
        if index >= reader.max_items:
            return
        yield Item(index=index, value=value, key=key, source=source)
        index += 1


async def _values(reader: Reader, shelves: Shelves) -> AsyncIterator[tuple[str | None, Any, str]]:
    objects, action = shelves.of(reader.resource)
    bucket = _text(reader, "Bucket")
    if action == "listObjectsV2":
        async for one in _listing(reader, objects, bucket):
            yield one
        return
    key = _text(reader, "Key")
    version = str(reader.parameters.get("VersionId") or "")
    owner = str(reader.parameters.get("ExpectedBucketOwner") or "")
    pieces = objects.read(bucket, key, version=version, owner=owner)
    if reader.manifest == "ATHENA_DATA":
        async for where, name in _named_files(pieces):
            async for one in _file(reader, objects.read(where, name), f"S3://{where}/{name}"):
                yield one
        return
    source = f"S3://{bucket}/{key}"
    if reader.manifest:
        async for value in _inventory(objects, bucket, key):
            yield None, value, source
        return
    async for one in _file(reader, pieces, source):
        yield one


async def _listing(reader: Reader, objects: Objects, bucket: str) -> AsyncIterator[tuple[str | None, Any, str]]:
    """Objects, or what they hold."""
    prefix = str(reader.parameters.get("Prefix") or "")
    start_after = str(reader.parameters.get("StartAfter") or "")
    async for listed in objects.list(bucket, prefix, start_after=start_after):
        if not reader.loads:
            yield None, _listed(listed), f"S3://{bucket}"
        elif listed.size:  # what ends in a slash is a folder, made by hand
            async for one in _file(reader, objects.read(bucket, listed.key), f"S3://{bucket}/{listed.key}"):
                yield one


async def _file(
    reader: Reader, pieces: AsyncIterator[bytes], source: str
) -> AsyncIterator[tuple[str | None, Any, str]]:
    """What one file holds."""
    if reader.input_type == "JSON" and reader.pointer:
        found = pointed(await document(pieces), reader.pointer)
        if not isinstance(found, list | dict):
            raise ItemsFailed(NOT_ITERABLE)
        async for item in given(found):
            yield item.key, item.value, source
        return
    async for value in _of_type(reader, pieces):
        yield None, value, source


async def _named_files(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, str]]:
    """The files that a list of addresses names: `s3://bucket/key`, one a line."""
    async for line in lines(pieces):
        address = line.strip().strip('"')
        if not address:
            continue
        scheme, _, rest = address.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme.lower() != "s3" or not key:
            raise ItemsFailed(f"The manifest names {address[:200]!r}, which is no address such as s3://bucket/key.")
        yield bucket, key


def _of_type(reader: Reader, pieces: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    match reader.input_type:
        case "JSON":
            return elements(pieces)
        case "JSONL":
            return _json_lines(pieces)
        case "CSV":
            return _rows(reader, pieces)
        case "PARQUET":
            return _parquet(pieces)
        case other:
            raise ItemsFailed(f"InputType {other!r} cannot be read: use JSON, JSONL, CSV, MANIFEST or PARQUET.")


async def _json_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    number = 0
    async for line in lines(pieces):
        number += 1
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ItemsFailed(f"Line {number} of the file is not JSON: {error}.") from error
        yield value


async def _rows(reader: Reader, pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, str]]:
    """Rows as objects: what a row has more than the headers is left out, what it has less is empty text."""
    delimiter = DELIMITERS.get(reader.delimiter)
    if delimiter is None:
        raise ItemsFailed(f"CSVDelimiter {reader.delimiter!r} is none of {', '.join(DELIMITERS)}.")
    headers = reader.headers if reader.header_location == "GIVEN" else None
    if headers is not None:
        _check_headers(headers)
    async for row in records(pieces, delimiter):
        if headers is None:
            headers = row
            _check_headers(headers)
            continue
        yield {header: row[at] if at < len(row) else "" for at, header in enumerate(headers)}


def _check_headers(headers: list[str]) -> None:
    if len(set(headers)) < len(headers):
        raise ItemsFailed(DUPLICATES)


async def _inventory(objects: Objects, bucket: str, key: str) -> AsyncIterator[dict[str, str]]:
    """Rows of an S3 inventory: its manifest names the schema and the files, CSV in gzip or not."""
    manifest = await document(objects.read(bucket, key))
    try:
        schema = [field.strip() for field in manifest["fileSchema"].split(",")]
        kind = manifest.get("fileFormat", "CSV")
        files = [str(one["key"]) for one in manifest["files"]]
        where = str(manifest.get("destinationBucket") or bucket).rpartition(":")[2]
    except (AttributeError, KeyError, TypeError):
        raise ItemsFailed("The manifest is not that of an S3 inventory: it has no fileSchema and files.") from None
    if kind != "CSV":
        raise ItemsFailed(f"The inventory's files are {kind}; only CSV is read.")
    for name in files:
        pieces = objects.read(where, name)
        async for row in records(_unpacked(pieces) if name.endswith(".gz") else pieces, ","):
            yield dict(zip(schema, row, strict=False))


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    import zlib  # noqa: PLC0415 - for those who read inventories

    inflate = zlib.decompressobj(wbits=31)
    most = 1 << 20
    try:
        async for piece in pieces:
            rest = piece
            while rest:
                yield inflate.decompress(rest, most)  # a piece at a time, whatever it unpacks to
                rest = inflate.unconsumed_tail
    except zlib.error as error:
        raise ItemsFailed(f"A file of the inventory is not gzip: {error}.") from error
    yield inflate.flush()


async def _parquet(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Rows; what JSON does not know, such as a day, is its text."""
    try:  # not everybody's: large, and only for this
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ItemsFailed("PARQUET files need the package pyarrow: install it, or write CSV or JSONL.") from None
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > PARQUET_MAX:
            raise ItemsFailed(f"A PARQUET file may have {PARQUET_MAX} bytes; this one has more.")
    try:
        file = await asyncio.to_thread(parquet.ParquetFile, io.BytesIO(bytes(body)))
        batches = file.iter_batches(batch_size=1000)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            for row in batch.to_pylist():
                yield json.loads(json.dumps(row, default=str))
    except pyarrow.ArrowException as error:
        raise ItemsFailed(f"The file is not PARQUET: {error}.") from error


def _listed(one: Any) -> dict[str, Any]:
    return {
        "Etag": f'"{one.etag}"',
        "Key": one.key,
        "LastModified": int(one.modified_at),
        "Size": one.size,
        "StorageClass": one.storage_class,
    }


def _text(reader: Reader, name: str) -> str:
    found = reader.parameters.get(name)
    if not isinstance(found, str) or not found:
        raise ItemsFailed(f"The ItemReader's {name} is missing.")
    return found
