"""What a Map says about its items: where they come from, how they are batched, and where results go."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from corral.workflows.language.checks.expression import (
    between,
    jsonata_text,
    reference,
    template,
)
from corral.workflows.language.checks.handlers import wrong_language
from corral.workflows.language.checks.value import (
    Check,
    Where,
    array,
    at_most_one,
    filled,
    one_of,
    only_fields,
    required,
    text,
    thing,
)
from corral.workflows.language.fault import LABEL

LABEL_MAX = 40
_NOT_IN_LABELS = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_ITEMS_MAX = 100_000_000
_BATCH_BYTES_MAX = 262_144
_ANY = r"arn:aws[\w-]*:states:[\w-]*:[\w-]*:s3:"
_READS = re.compile(rf"({_ANY}|corral:files:)(getObject|listObjectsV2)")
_WRITES = re.compile(rf"({_ANY}|corral:files:)putObject")

_JSONPATH_ONLY = frozenset({"Parameters", "MaxItemsPath", "MaxItemsPerBatchPath", "MaxInputBytesPerBatchPath"})
_JSONATA_ONLY = frozenset({"Arguments"})


def _one_resource(form: re.Pattern[str]) -> Check:
    def check(value: Any, where: Where) -> None:
        text(value, where)
        if isinstance(value, str) and form.fullmatch(value) is None:
            where.fault("The field 'Resource' does not match any of the allowed values")

    return check


def _fields(value: Any, fields: dict[str, Check], where: Where) -> bool:
    """Check an object's fields by a table; False: it is no object."""
    thing(value, where)
    if not isinstance(value, dict):
        return False
    only_fields(value, fields, where)
    for name, inner in value.items():
        if name not in fields:
            continue
        if (name in _JSONPATH_ONLY and where.language == "JSONata") or (
            name in _JSONATA_ONLY and where.language == "JSONPath"
        ):
            wrong_language(name, where)
        else:
            fields[name](inner, where.at(name))
    return True


def _headers(value: Any, where: Where) -> None:
    filled(array)(value, where)
    for index, name in enumerate(value if isinstance(value, list) else ()):
        text(name, where.at(index))


_READER_CONFIG: dict[str, Check] = {
    "InputType": one_of("CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"),
    "Transformation": one_of("NONE", "LOAD_AND_FLATTEN"),
    "ManifestType": one_of("ATHENA_DATA", "S3_INVENTORY"),
    "CSVHeaderLocation": one_of("FIRST_ROW", "GIVEN"),
    "CSVHeaders": _headers,
    "CSVDelimiter": one_of("COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"),
    "MaxItems": between(0, _ITEMS_MAX),
    "MaxItemsPath": reference,
    "ItemsPointer": text,
}


def reader_config(value: Any, where: Where) -> None:
    """`ReaderConfig`."""
    if not _fields(value, _READER_CONFIG, where):
        return
    at_most_one(value, ("MaxItems", "MaxItemsPath"), where)
    kind = value.get("InputType")
    if kind == "CSV":
        if "CSVHeaderLocation" not in value:
            where.fault(
                "The field 'CSVHeaderLocation' is required", hint="Write FIRST_ROW, or GIVEN with `CSVHeaders`."
            )
        elif value["CSVHeaderLocation"] == "GIVEN":
            required(value, ("CSVHeaders",), where)
    elif isinstance(kind, str):
        for name in ("CSVHeaderLocation", "CSVHeaders", "CSVDelimiter"):
            if name in value and kind != "MANIFEST":
                where.fault(f"Field '{name}' is not supported", hint="It is for `InputType` CSV.", field=name)


def item_reader(value: Any, where: Where) -> None:
    """`ItemReader`."""
    fields: dict[str, Check] = {
        "Resource": _one_resource(_READS),
        "ReaderConfig": reader_config,
        "Parameters": template,
        "Arguments": template,
    }
    if _fields(value, fields, where):
        required(value, ("Resource",), where)


def item_batcher(value: Any, where: Where) -> None:
    """`ItemBatcher`."""
    fields: dict[str, Check] = {
        "MaxItemsPerBatch": between(0, _ITEMS_MAX),
        "MaxItemsPerBatchPath": reference,
        "MaxInputBytesPerBatch": between(0, _BATCH_BYTES_MAX),
        "MaxInputBytesPerBatchPath": reference,
        "BatchInput": template,
    }
    if not _fields(value, fields, where):
        return
    at_most_one(value, ("MaxItemsPerBatch", "MaxItemsPerBatchPath"), where)
    at_most_one(value, ("MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"), where)
    if not any(name.startswith("Max") for name in value):
        where.fault(
            "An ItemBatcher has to say how large a batch may be",
            hint="Write `MaxItemsPerBatch` or `MaxInputBytesPerBatch`.",
        )


def _writer_config(value: Any, where: Where) -> None:
    fields: dict[str, Check] = {
        "Transformation": one_of("NONE", "COMPACT", "FLATTEN"),
        "OutputType": one_of("JSON", "JSONL"),
    }
    if _fields(value, fields, where):
        required(value, tuple(fields), where)


def result_writer(value: Any, where: Where) -> None:
    """`ResultWriter`."""
    fields: dict[str, Check] = {
        "Resource": _one_resource(_WRITES),
        "WriterConfig": _writer_config,
        "Parameters": template,
        "Arguments": template,
    }
    if not _fields(value, fields, where):
        return
    if "Resource" not in value and "WriterConfig" not in value:
        where.fault("Value cannot be empty")
    elif "Resource" in value and not {"Parameters", "Arguments"} & value.keys():
        needed = "Arguments" if where.language == "JSONata" else "Parameters"
        required(value, (needed,), where)


def processor_config(value: Any, where: Where) -> None:
    """`ProcessorConfig`."""
    fields: dict[str, Check] = {
        "Mode": one_of("INLINE", "DISTRIBUTED"),
        "ExecutionType": one_of("STANDARD", "EXPRESS"),
    }
    thing(value, where)
    if not isinstance(value, dict):
        return
    distributed = value.get("Mode") == "DISTRIBUTED"
    if not distributed and "ExecutionType" in value:
        where.fault(
            "Field 'ExecutionType' is not supported", hint="It is for `Mode` DISTRIBUTED.", field="ExecutionType"
        )
        value = {name: inner for name, inner in value.items() if name != "ExecutionType"}
    _fields(value, fields, where)
    if distributed:
        required(value, ("ExecutionType",), where)
        if where.kind == "EXPRESS":
            where.at("Mode").fault(
                "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines",
                hint="Make it a STANDARD workflow, or the Map INLINE.",
            )


def label(value: Any, where: Where) -> None:
    """`Label`."""
    text(value, where)
    if not isinstance(value, str):
        return
    strange = _NOT_IN_LABELS.search(value)
    if not value:
        where.fault("Label cannot be empty", code=LABEL)
    elif strange is not None:
        where.fault(f"Label contains invalid character: {strange[0]!r}", code=LABEL)
    elif len(value) > LABEL_MAX:
        where.fault(f"Label '{value}' exceeds the {LABEL_MAX}-character limit allowed by the service", code=LABEL)


def items(value: Any, where: Where) -> None:
    """`Items`: an array, an object, or an expression for one."""
    if isinstance(value, str):
        jsonata_text(value, where)
    template(value, where)


def credentials(value: Any, where: Where) -> None:
    """`Credentials` of a Task."""
    if isinstance(value, str) and where.language == "JSONata":
        jsonata_text(value, where)
        return
    thing(value, where)
    if not isinstance(value, dict):
        return
    names: Collection[str] = ("RoleArn",) if where.language == "JSONata" else ("RoleArn", "RoleArn.$")
    if not any(name in value for name in names):
        where.fault("The field 'RoleArn' is required but was missing")
    template(value, where)
