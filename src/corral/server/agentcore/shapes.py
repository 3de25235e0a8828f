"""What requests to memories are made of, as the service model describes them."""

from __future__ import annotations

from typing import Any

from corral.server.agentcore.checking import Shape, mapping, number, one_of, several, structure, text, union
from corral.server.agentcore.ids import NAME, RESOURCE_ID
from corral.server.agentcore.runtime_shapes import ENDPOINT, RUNTIME_ID
from corral.server.routes import Param

LABEL = r"[a-zA-Z0-9\s._:/=+@-]*"
_ARN = r"arn:[a-z0-9-\.]{1,63}:[a-z0-9-\.]{0,63}:[a-z0-9-\.]{0,63}:[a-z0-9-\.]{0,63}:[^/].{0,1023}"
_TEMPLATE = r"[a-zA-Z0-9\-_/]*(\{[a-zA-Z][a-zA-Z0-9]*\}[a-zA-Z0-9\-_/]*)*"
_VARIABLE = r"(?!memoryStrategyId$|actorId$|sessionId$)[a-z][a-z0-9]*"

MEMORY_ID = text(
    f"(arn:(aws|aws-cn|aws-us-gov):bedrock-agentcore:[a-z0-9-]+:[0-9]{{12}}:memory/)?{RESOURCE_ID}", least=12
)
ACTOR_ID = text("[a-zA-Z0-9][a-zA-Z0-9-_/]*(?::[a-zA-Z0-9-_/]+)*[a-zA-Z0-9-_/]*", least=1, most=255)
SESSION_ID = text("[a-zA-Z0-9][a-zA-Z0-9-_]*", least=1, most=100)
EVENT_ID = text("[0-9]+#[a-fA-F0-9]+", most=100)
RECORD_ID = text("mem-[a-zA-Z0-9-_]*", least=40, most=50)
STRATEGY_ID = text("[a-zA-Z0-9][a-zA-Z0-9-_]*", least=1, most=100)
NAMESPACE = text("[a-zA-Z0-9/*][a-zA-Z0-9-_/*]*(?::[a-zA-Z0-9-_/*]+)*[a-zA-Z0-9-_/*]*", least=1, most=1024)
TOKEN = text(least=0, most=500)
TIMESTAMP = number(0, 253_402_300_799, whole=False)
PAGE = {"maxResults": number(1, 100), "nextToken": text()}
_DESCRIPTION = text(least=1, most=4096)

# -- events ---------------------------------------------------------------------------------------------------------------

_BRANCH = structure(
    ("name",),
    name=text("[a-zA-Z0-9][a-zA-Z0-9-_]*", least=1, most=100),
    rootEventId=text("[0-9]+#[a-fA-F0-9]+", most=100),
)
_CONVERSATIONAL = structure(
    ("content", "role"),
    content={**union(text=text(least=1, most=100_000)), "required": ["text"]},
    role=one_of("ASSISTANT", "USER", "TOOL", "OTHER"),
)
_PAYLOAD = several(union(conversational=_CONVERSATIONAL, blob={}, json=structure(("content",), content={})), most=100)
_LABEL_VALUE = {**union(stringValue=text(LABEL, most=256)), "required": ["stringValue"]}

CREATE_EVENT = structure(
    ("actorId", "eventTimestamp", "payload"),
    actorId=ACTOR_ID,
    sessionId=SESSION_ID,
    eventTimestamp=TIMESTAMP,
    payload=_PAYLOAD,
    branch=_BRANCH,
    clientToken=TOKEN,
    metadata=mapping(text(LABEL, least=1, most=128), _LABEL_VALUE, most=15),
    extractionMode=one_of("SKIP"),
    extractionConfig=structure(
        namespaceVariables=mapping(text(_VARIABLE, least=1, most=32), text(least=1, most=64), 1, 5)
    ),
)
_EVENT_FILTER = structure(
    ("left", "operator"),
    left={**union(metadataKey=text(LABEL, least=1, most=128)), "required": ["metadataKey"]},
    operator=one_of("EQUALS_TO", "EXISTS", "NOT_EXISTS"),
    right={**union(metadataValue=_LABEL_VALUE), "required": ["metadataValue"]},
)
LIST_EVENTS = structure(
    includePayloads={"type": "boolean"},
    filter=structure(
        branch=structure(("name",), name=_BRANCH["properties"]["name"], includeParentBranches={"type": "boolean"}),
        eventMetadata=several(_EVENT_FILTER, 1, 5),
    ),
    **PAGE,
)
LIST_SESSIONS = structure(filter=structure(eventFilter=one_of("HAS_EVENTS")), **PAGE)
LIST_ACTORS = structure(**PAGE)

# -- records --------------------------------------------------------------------------------------------------------------

_RECORD_VALUE = union(
    stringValue=text(LABEL, least=1, most=256),
    stringListValue=several(text(LABEL, least=1, most=64), 1, 5),
    numberValue=number(whole=False),
    dateTimeValue=TIMESTAMP,
)
_RECORD_METADATA = mapping(text(LABEL, least=1, most=128), _RECORD_VALUE, 1, 20)
_CONTENT = {**union(text=text(least=1, most=16_000)), "required": ["text"]}
_EXPIRY = union(recordExpiryDurationDays=number(31, 36_500), action=one_of("REMOVE"))
_REQUEST_ID = text("[a-zA-Z0-9_-]+", least=1, most=80)
_NAMESPACES = several(NAMESPACE, most=1)
OPERATORS = {
    "EQUALS_TO": "=",
    "EXISTS": "exists",
    "NOT_EXISTS": "absent",
    "BEFORE": "<",
    "AFTER": ">",
    "CONTAINS": "contains",
    "GREATER_THAN": ">",
    "GREATER_THAN_OR_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_OR_EQUALS": "<=",
}
_RECORD_FILTERS = several(
    structure(
        ("left", "operator"),
        left={**union(metadataKey=text(LABEL, least=1, most=128)), "required": ["metadataKey"]},
        operator=one_of(*OPERATORS),
        right={**union(metadataValue=_RECORD_VALUE), "required": ["metadataValue"]},
    ),
    1,
    5,
)
RETRIEVE = structure(
    ("searchCriteria",),
    namespace=NAMESPACE,
    namespacePath=NAMESPACE,
    searchCriteria=structure(
        ("searchQuery",),
        searchQuery=text(least=1, most=10_000),
        memoryStrategyId=STRATEGY_ID,
        topK=number(1, 100),
        metadataFilters=_RECORD_FILTERS,
    ),
    **PAGE,
)
LIST_RECORDS = structure(
    namespace=NAMESPACE, namespacePath=NAMESPACE, memoryStrategyId=STRATEGY_ID, metadataFilters=_RECORD_FILTERS, **PAGE
)
_CREATED_RECORD = structure(
    ("requestIdentifier", "namespaces", "content", "timestamp"),
    requestIdentifier=_REQUEST_ID,
    namespaces=_NAMESPACES,
    content=_CONTENT,
    timestamp=TIMESTAMP,
    memoryStrategyId=STRATEGY_ID,
    metadata=_RECORD_METADATA,
)
BATCH_CREATE = structure(
    ("records",), records=several(_CREATED_RECORD, most=100), clientToken=TOKEN, recordExpirySpecification=_EXPIRY
)
_UPDATED_RECORD = structure(
    ("memoryRecordId", "timestamp"),
    memoryRecordId=RECORD_ID,
    timestamp=TIMESTAMP,
    content=_CONTENT,
    namespaces=_NAMESPACES,
    sourceNamespaces=_NAMESPACES,
    memoryStrategyId=STRATEGY_ID,
    metadata=_RECORD_METADATA,
)
BATCH_UPDATE = structure(("records",), records=several(_UPDATED_RECORD, most=100), recordExpirySpecification=_EXPIRY)
BATCH_DELETE = structure(
    ("records",),
    records=several(structure(("memoryRecordId",), memoryRecordId=RECORD_ID, namespace=NAMESPACE), most=100),
)

# -- extraction -----------------------------------------------------------------------------------------------------------

LIST_JOBS = structure(
    maxResults=number(1, 50),
    nextToken=text(),
    filter=structure(strategyId=text(), sessionId=text(), actorId=text(), status=one_of("FAILED")),
)
START_JOB = structure(
    ("extractionJob",), extractionJob=structure(("jobId",), jobId=text(least=1, most=100)), clientToken=TOKEN
)

# -- the control plane ----------------------------------------------------------------------------------------------------

TEMPLATES = several(text(_TEMPLATE, least=1, most=512), 1, 1)
_OVERRIDE = structure(("appendToPrompt", "modelId"), appendToPrompt=text(least=1, most=30_000), modelId=text(least=1))
_SCHEMA = structure(metadataSchema=several(structure(("key",), key=text(LABEL, least=1, most=128)), 1, 20))
_REFLECTION = structure(namespaces=TEMPLATES, namespaceTemplates=TEMPLATES, memoryRecordSchema=_SCHEMA)
_REFLECTION_OVERRIDE = structure(("appendToPrompt", "modelId"), **_REFLECTION["properties"], **_OVERRIDE["properties"])
TRIGGERS = several(
    union(
        messageBasedTrigger=structure(messageCount=number(1, 50)),
        tokenBasedTrigger=structure(tokenCount=number(100, 500_000)),
        timeBasedTrigger=structure(idleSessionTimeout=number(10, 3000)),
    ),
    1,
)
_TARGET = structure(
    ("topicArn", "payloadDeliveryBucketName"),
    topicArn=text(_ARN),
    payloadDeliveryBucketName=text("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
)
_SELF_MANAGED = structure(
    ("invocationConfiguration",),
    triggerConditions=TRIGGERS,
    invocationConfiguration=_TARGET,
    historicalContextWindowSize=number(0, 50),
)
_COMMON: dict[str, Shape] = {
    "name": text(NAME),
    "description": _DESCRIPTION,
    "namespaces": TEMPLATES,
    "namespaceTemplates": TEMPLATES,
    "memoryRecordSchema": _SCHEMA,
    "recordExpirySpecification": _EXPIRY,
}
_PLAIN = structure(("name",), **_COMMON)
_EPISODIC = structure(("name",), **_COMMON, reflectionConfiguration=_REFLECTION)
_CUSTOM = structure(
    ("name",),
    **_COMMON,
    configuration=union(
        semanticOverride=structure(extraction=_OVERRIDE, consolidation=_OVERRIDE),
        summaryOverride=structure(consolidation=_OVERRIDE),
        userPreferenceOverride=structure(extraction=_OVERRIDE, consolidation=_OVERRIDE),
        episodicOverride=structure(extraction=_OVERRIDE, consolidation=_OVERRIDE, reflection=_REFLECTION_OVERRIDE),
        selfManagedConfiguration=_SELF_MANAGED,
    ),
)
_STRATEGIES = several(
    union(
        semanticMemoryStrategy=_PLAIN,
        summaryMemoryStrategy=_PLAIN,
        userPreferenceMemoryStrategy=_PLAIN,
        episodicMemoryStrategy=_EPISODIC,
        customMemoryStrategy=_CUSTOM,
    )
)
_INDEXED_KEYS = several(
    structure(("key", "type"), key=text(LABEL, least=1, most=128), type=one_of("STRING", "STRINGLIST", "NUMBER")), 1, 10
)
_NAMESPACE_KEYS = several(structure(("key",), key=text(_VARIABLE, least=1, most=32)), most=5)
CREATE_MEMORY = structure(
    ("name", "eventExpiryDuration"),
    clientToken=TOKEN,
    name=text(NAME),
    description=_DESCRIPTION,
    encryptionKeyArn=text(_ARN),
    memoryExecutionRoleArn=text(_ARN),
    eventExpiryDuration=number(3, 3650),
    memoryStrategies=_STRATEGIES,
    indexedKeys=_INDEXED_KEYS,
    namespaceKeys=_NAMESPACE_KEYS,
)
_MODIFIED = structure(
    ("memoryStrategyId",),
    memoryStrategyId=text(),
    description=_DESCRIPTION,
    namespaces=TEMPLATES,
    namespaceTemplates=TEMPLATES,
    configuration={"type": "object"},
    memoryRecordSchema=_SCHEMA,
    recordExpirySpecification=_EXPIRY,
)
UPDATE_MEMORY = structure(
    clientToken=TOKEN,
    description=_DESCRIPTION,
    eventExpiryDuration=number(3, 3650),
    memoryExecutionRoleArn=text(_ARN),
    memoryStrategies=structure(
        addMemoryStrategies=_STRATEGIES,
        modifyMemoryStrategies=several(_MODIFIED),
        deleteMemoryStrategies=several(structure(("memoryStrategyId",), memoryStrategyId=text())),
    ),
    addIndexedKeys=_INDEXED_KEYS,
    namespaceKeys=_NAMESPACE_KEYS,
)
LIST_MEMORIES = structure(**PAGE)

_PLACES: dict[str, tuple[Shape, str]] = {
    "memory_id": (MEMORY_ID, "The memory's id or ARN."),
    "actor_id": (ACTOR_ID, "Who the session is with."),
    "session_id": (SESSION_ID, "The session."),
    "event_id": (EVENT_ID, "The event."),
    "record_id": (RECORD_ID, "The record."),
    "runtime_id": (RUNTIME_ID, "The runtime's id."),
    "endpoint": (ENDPOINT, "The endpoint's name."),
}
PLACES: dict[str, Shape] = {name: shape for name, (shape, _) in _PLACES.items()}


def places(path: str) -> tuple[Param, ...]:
    """The parameters in an address, for its description."""
    return tuple(
        Param(name, "path", said, shape, required=True)
        for name, (shape, said) in _PLACES.items()
        if f"{{{name}}}" in path
    )


def camel(name: str) -> str:
    """`memory_id` as faults name it: `memoryId`."""
    words = {"record_id": "memory_record_id", "runtime_id": "agent_runtime_id", "endpoint": "endpoint_name"}
    first, *rest = words.get(name, name).split("_")
    return first + "".join(word.capitalize() for word in rest)


def described(fields: dict[str, Any]) -> Shape:
    """An answer, roughly: an object with these members."""
    return {"type": "object", "properties": fields, "required": list(fields)}
