"""What a Map in DISTRIBUTED mode asks for, evaluated: the plan of its map run.

The machine evaluates in the order that histories show: first `concurrency_of` and `items_of`, then it writes `MapStateStarted` (with
the length of the items, 0 where a reader is to find them), then `plan_of`, then it writes `MapRunStarted` and orders the map run.
What the plan says to be wrong in `fault` is told as the map run's own end, as everything is that goes wrong while items are read.

Until `ItemsRead` comes, the machine orders the map run again whenever it is woken (it asks to be, every `ORDER_AGAIN_S`): the order
is taken once however often it is given, and a crash between the two is no loss. `plan_of` gives the same for the same scope.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from corral.workflows.failing import DATA_MAX_BYTES, ITEM_READER, QUERY_EVALUATION, RUNTIME, StateFailed
from corral.workflows.language import jsonata, paths, templates
from corral.workflows.language.definition import Language, Map
from corral.workflows.language.scope import Scope

ORDER_AGAIN_S = 5.0
"""How long a map run may be silent before it is ordered again."""

ITEMS_MAX = 100_000_000
"""`MaxItems` where nothing is said, and at most."""

_WHOLE = 100.0


class Fault(msgspec.Struct, frozen=True):
    """Why a map run fails before it reads anything."""

    error: str
    cause: str


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Where the items come from."""

    resource: str
    parameters: dict[str, Any] = {}
    input_type: str = "JSON"
    header_location: str = "FIRST_ROW"
    headers: list[str] = []
    delimiter: str = "COMMA"
    pointer: str = ""
    loads: bool = False
    """Of a listing: what the objects hold are the items, not the objects."""
    manifest: str = ""
    """What kind of manifest names the files, where one does: `ATHENA_DATA` or `S3_INVENTORY`."""
    max_items: int = ITEMS_MAX


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """How many items go to one child."""

    max_items: int | None = None
    max_bytes: int = DATA_MAX_BYTES
    input: Any = None
    has_input: bool = False


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the results go; without a resource they are the state's result, transformed."""

    resource: str = ""
    parameters: dict[str, Any] = {}
    output_type: str = "JSON"
    transformation: str = "COMPACT"


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """What is evaluated for every item, and what it can see."""

    template: Any
    input: Any = None
    context: dict[str, Any] = {}
    variables: dict[str, Any] = {}


class MapPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a map run has to know. Plain JSON when written down: `StartMapRun.spec`."""

    body: tuple[str, ...]
    """Where the items' states stand in the definition."""
    language: Language
    execution_type: str = "STANDARD"
    label: str = ""
    items: list[Any] | dict[str, Any] | None = None
    """Given with the state's input; none: the reader finds them."""
    reader: Reader | None = None
    selector: Selector | None = None
    batching: Batching | None = None
    writer: Writer | None = None
    max_concurrency: int = 0
    """0: as many as the house allows."""
    tolerated_count: int | None = None
    tolerated_percentage: float | None = None
    fault: Fault | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """As an order carries it."""
        written: dict[str, Any] = msgspec.to_builtins(self)
        return written


def plan_from(spec: dict[str, Any]) -> MapPlan:
    """The plan that an order carries."""
    return msgspec.convert(spec, MapPlan)


def is_distributed(state: Map) -> bool:
    """Whether each item has an execution of its own."""
    return state.item_processor.processor_config.mode == "DISTRIBUTED"


def label_of(state: Map, machine_arn: str, path: tuple[str, ...]) -> str:
    """The label in the names of a Map's runs and their children: its own, or one that is always the same for this state."""
    if state.label is not None:
        return state.label
    digest = hashlib.sha256("\0".join((machine_arn, *path)).encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def map_run_arn(execution_arn: str, label: str, secret: str) -> str:
    """The name of a new map run of an execution; `secret` is what makes it one of a kind."""
    head, _, tail = execution_arn.partition(":execution:")
    machine = tail.partition(":")[0].partition("/")[0]
    run = uuid.UUID(bytes=hashlib.sha256(secret.encode()).digest()[:16], version=4)
    return f"{head}:mapRun:{machine}/{label}:{run}"


def concurrency_of(state: Map, scope: Scope, language: Language) -> int:
    """How many items at once; 0: no limit. Raises `StateFailed`."""
    found = _number("MaxConcurrency", state.max_concurrency, state.max_concurrency_path, scope, language)
    if found is None:
        return 0
    if found < 0:
        raise StateFailed(RUNTIME, "MaxConcurrency cannot be negative.", prefixed=True)
    return found


def items_of(state: Map, scope: Scope, language: Language) -> list[Any] | dict[str, Any] | None:
    """What to go over, an array or (distributed alone) an object; none: the reader finds it. Raises `StateFailed`."""
    if state.item_reader is not None and is_distributed(state):
        return None
    if state.items is not UNSET:
        found = templates.evaluate(state.items, scope, language=language, field="Items")
        asked = state.items if isinstance(state.items, str) else None
    elif language == "JSONPath" and state.items_path is not None:
        found = paths.find(state.items_path, scope)
        asked = None
    else:
        found, asked = scope.input, None
    if isinstance(found, list) or (isinstance(found, dict) and is_distributed(state)):
        return found
    if asked is not None:
        raise _unexpected(asked, "Items", "array", found)
    if language == "JSONPath":
        path = state.items_path or "$"
        raise StateFailed(RUNTIME, f'Reference path "{path}" must point to array.', prefixed=True)
    raise StateFailed(
        QUERY_EVALUATION, f"Map state input must be an array but was: {shown(found)}", prefixed=True, evaluation=True
    )


def plan_of(
    state: Map,
    scope: Scope,
    language: Language,
    *,
    body: tuple[str, ...],
    label: str,
    items: list[Any] | dict[str, Any] | None,
    max_concurrency: int,
) -> MapPlan:
    """Evaluate all the rest. Raises `StateFailed`."""
    count = _number(
        "ToleratedFailureCount", state.tolerated_failure_count, state.tolerated_failure_count_path, scope, language
    )
    if count is not None and count < 0:
        raise StateFailed(RUNTIME, "ToleratedFailureCount cannot be negative.", prefixed=True)
    percentage = _share(state, scope, language)
    fault: Fault | None = None
    reader: Reader | None = None
    if state.item_reader is not None:
        reader = _reader(state.item_reader, scope, language)
        if reader.max_items < 0:
            fault = Fault(ITEM_READER, "field MaxItems must be positive")
    return MapPlan(
        body=body,
        language=language,
        execution_type=state.item_processor.processor_config.execution_type or "STANDARD",
        label=label,
        items=items,
        reader=reader,
        selector=_selector(state, scope),
        batching=_batching(state.item_batcher, scope, language),
        writer=_writer(state.result_writer, scope, language),
        max_concurrency=max_concurrency,
        tolerated_count=count,
        tolerated_percentage=percentage,
        fault=fault,
    )


def shown(value: Any) -> str:
    """A value as messages show it: JSON without spaces, text without quotes."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# -- the parts ---------------------------------------------------------------------------------------------------------


def _selector(state: Map, scope: Scope) -> Selector | None:
    if state.item_selector is UNSET:
        return None
    return Selector(
        template=state.item_selector,
        input=scope.input,
        context=dict(scope.context),
        variables=dict(scope.variables),
    )


def _reader(said: dict[str, Any], scope: Scope, language: Language) -> Reader:
    config = said.get("ReaderConfig") or {}
    try:
        most = _number("MaxItems", config.get("MaxItems"), config.get("MaxItemsPath"), scope, language)
    except StateFailed as failure:
        if failure.error != RUNTIME:
            raise
        raise StateFailed(ITEM_READER, failure.cause, prefixed=True) from failure
    return Reader(
        resource=said["Resource"],
        parameters=_parameters(said, scope, language, "ItemReader"),
        input_type=config.get("InputType", "JSON"),
        header_location=config.get("CSVHeaderLocation", "FIRST_ROW"),
        headers=config.get("CSVHeaders") or [],
        delimiter=config.get("CSVDelimiter", "COMMA"),
        pointer=config.get("ItemsPointer", ""),
        loads=config.get("Transformation") == "LOAD_AND_FLATTEN",
        manifest=config.get("ManifestType", "S3_INVENTORY" if config.get("InputType") == "MANIFEST" else ""),
        max_items=min(most, ITEMS_MAX) if most else ITEMS_MAX,
    )


def _batching(said: dict[str, Any] | None, scope: Scope, language: Language) -> Batching | None:
    if said is None:
        return None
    field = "MaxItemsPerBatch"
    most = _number(field, said.get(field), said.get(f"{field}Path"), scope, language)
    if most is not None and most <= 0:
        raise StateFailed(RUNTIME, f"{field} must be positive.", prefixed=True)
    field = "MaxInputBytesPerBatch"
    size = _number(field, said.get(field), said.get(f"{field}Path"), scope, language)
    if size is not None and not 0 < size <= DATA_MAX_BYTES:
        raise StateFailed(RUNTIME, f"{field} must be between 1 and {DATA_MAX_BYTES}.", prefixed=True)
    given = said.get("BatchInput", UNSET)
    return Batching(
        max_items=most,
        max_bytes=DATA_MAX_BYTES if size is None else size,
        has_input=given is not UNSET,
        input=None
        if given is UNSET
        else templates.evaluate(given, scope, language=language, field="ItemBatcher/BatchInput"),
    )


def _writer(said: dict[str, Any] | None, scope: Scope, language: Language) -> Writer | None:
    if said is None:
        return None
    config = said.get("WriterConfig")
    exported = bool(said.get("Resource"))
    return Writer(
        resource=said.get("Resource", ""),
        parameters=_parameters(said, scope, language, "ResultWriter"),
        output_type=(config or {}).get("OutputType", "JSON"),
        transformation=(config or {}).get("Transformation", "NONE" if exported else "COMPACT"),
    )


def _parameters(said: dict[str, Any], scope: Scope, language: Language, field: str) -> dict[str, Any]:
    name = "Arguments" if language == "JSONata" else "Parameters"
    if name not in said:
        return {}
    found = templates.evaluate(said[name], scope, language=language, field=f"{field}/{name}")
    if not isinstance(found, dict):
        raise StateFailed(RUNTIME, f"The {name} of {field} must be an object, not: {shown(found)}", prefixed=True)
    return found


# -- numbers -----------------------------------------------------------------------------------------------------------


def _number(
    field: str, given: Any | UnsetType | None, path: str | None, scope: Scope, language: Language
) -> int | None:
    """A whole number, from a literal, an expression or a path."""
    if path is not None:
        found = paths.find(path, scope)
        whole = _whole_of(found)
        if whole is None:
            raise _not_valid(field, found, "integer", path)
        return whole
    if given is None or given is UNSET:
        return None
    if isinstance(given, str):
        found = _evaluated(given, scope, language, field)
        whole = None if isinstance(found, str) else _whole_of(found)
        if whole is None:
            raise _unexpected(given, field, "number", found)
        return whole
    return int(given)


def _share(state: Map, scope: Scope, language: Language) -> float | None:
    """`ToleratedFailurePercentage`, of a hundred."""
    field = "ToleratedFailurePercentage"
    given, path = state.tolerated_failure_percentage, state.tolerated_failure_percentage_path
    if path is not None:
        found = paths.find(path, scope)
        share = _float_of(found)
        if share is None:
            raise _not_valid(field, found, "float", path)
    elif given is None:
        return None
    elif isinstance(given, str):
        found = _evaluated(given, scope, language, field)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise _unexpected(given, field, "number", found)
        share = float(found)
    else:
        share = float(given)
    if not 0.0 <= share <= _WHOLE:
        raise StateFailed(RUNTIME, f"{field} must be between 0 and 100.", prefixed=True)
    return share


def _evaluated(text: str, scope: Scope, language: Language, field: str) -> Any:
    if language == "JSONata" and jsonata.is_expression(text):
        return jsonata.evaluate(text, scope, field=field)
    return text


def _whole_of(found: Any) -> int | None:
    if isinstance(found, str):
        try:
            return int(found)
        except ValueError:
            return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return int(found) if found == int(found) else None


def _float_of(found: Any) -> float | None:
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return None
    try:
        return float(found)
    except ValueError:
        return None


def _not_valid(field: str, found: Any, kind: str, path: str) -> StateFailed:
    return StateFailed(
        RUNTIME,
        f'The {field}Path field refers to value "{shown(found)}" which is not a valid {kind}: {path}',
        prefixed=True,
    )


def _unexpected(asked: str, field: str, wanted: str, found: Any) -> StateFailed:
    expression = asked.strip().removeprefix("{%").removesuffix("%}").strip()
    value = msgspec.json.encode(found).decode()
    return StateFailed(
        QUERY_EVALUATION,
        f"The JSONata expression '{expression}' specified for the field '{field}' returned an unexpected result type. "
        f"Expected '{wanted}', but was '{_kind(found)}' for value: {value}",
        prefixed=True,
        evaluation=True,
        location=field,
    )


def _kind(found: Any) -> str:
    if found is None:
        return "null"
    for kinds, name in ((bool, "boolean"), (int | float, "number"), (str, "string"), (list, "array")):
        if isinstance(found, kinds):
            return name
    return "object"
