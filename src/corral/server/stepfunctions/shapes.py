"""What each operation takes, in one table: members, their types, lengths and ranges, as the service's model names them."""

from __future__ import annotations

from corral.server.agentcore.checking import Shape, number, one_of, several, structure, text

YES_NO: Shape = {"type": "boolean"}
ARN = text(least=1, most=256)
LONG_ARN = text(least=1, most=2000)
NAME = text(least=1, most=80)
ALIAS_NAME = text(r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$", least=1, most=80)
DEFINITION = text(least=1, most=1_048_576)
DATA = text(most=262_144)
DESCRIPTION = text(most=256)
ERROR = text(most=256)
CAUSE = text(most=32_768)
TOKEN = text(least=1, most=2048)
KIND = one_of("STANDARD", "EXPRESS")
INCLUDED = one_of("ALL_DATA", "METADATA_ONLY")
TRACE = text(r"[\x00-\x7f]*", most=256)
STATUS = one_of("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE")
TAG = structure((), key=text(least=1, most=128), value=text(most=256))
TAGS = several(TAG)
LOGGING = structure(
    (),
    level=one_of("ALL", "ERROR", "FATAL", "OFF"),
    includeExecutionData=YES_NO,
    destinations=several(structure((), cloudWatchLogsLogGroup=structure((), logGroupArn=ARN))),
)
TRACING = structure((), enabled=YES_NO)
ENCRYPTION = structure(
    ("type",),
    kmsKeyId=text(least=1, most=2048),
    kmsDataKeyReusePeriodSeconds=number(60, 900),
    type=one_of("AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"),
)
ROUTING = several(
    structure(("stateMachineVersionArn", "weight"), stateMachineVersionArn=ARN, weight=number(0, 100)), 1, 2
)
PAGING = {"maxResults": number(0, 1000), "nextToken": text(least=1, most=1024)}
MOCK = structure(
    (),
    result=DATA,
    errorOutput=structure((), error=ERROR, cause=CAUSE),
    fieldValidationMode=one_of("STRICT", "PRESENT", "NONE"),
)
CONFIGURATION = structure(
    (),
    retrierRetryCount=number(0),
    errorCausedByState=NAME,
    mapIterationFailureCount=number(0),
    mapItemReaderData=DATA,
)
TOLERANCE = {
    "maxConcurrency": number(0),
    "toleratedFailurePercentage": number(0, 100, whole=False),
    "toleratedFailureCount": number(0),
}

HIDDEN = frozenset({"definition", "input", "output", "error", "cause", "variables", "context", "result", "description"})
"""Members whose values no message repeats."""

SHAPES: dict[str, Shape] = {
    "CreateActivity": structure(("name",), name=NAME, tags=TAGS, encryptionConfiguration=ENCRYPTION),
    "CreateStateMachine": structure(
        ("name", "definition", "roleArn"),
        name=NAME,
        definition=DEFINITION,
        roleArn=ARN,
        type=KIND,
        loggingConfiguration=LOGGING,
        tags=TAGS,
        tracingConfiguration=TRACING,
        publish=YES_NO,
        versionDescription=DESCRIPTION,
        encryptionConfiguration=ENCRYPTION,
    ),
    "CreateStateMachineAlias": structure(
        ("name", "routingConfiguration"), description=DESCRIPTION, name=ALIAS_NAME, routingConfiguration=ROUTING
    ),
    "DeleteActivity": structure(("activityArn",), activityArn=ARN),
    "DeleteStateMachine": structure(("stateMachineArn",), stateMachineArn=ARN),
    "DeleteStateMachineAlias": structure(("stateMachineAliasArn",), stateMachineAliasArn=ARN),
    "DeleteStateMachineVersion": structure(("stateMachineVersionArn",), stateMachineVersionArn=LONG_ARN),
    "DescribeActivity": structure(("activityArn",), activityArn=ARN),
    "DescribeExecution": structure(("executionArn",), executionArn=ARN, includedData=INCLUDED),
    "DescribeMapRun": structure(("mapRunArn",), mapRunArn=LONG_ARN),
    "DescribeStateMachine": structure(("stateMachineArn",), stateMachineArn=ARN, includedData=INCLUDED),
    "DescribeStateMachineAlias": structure(("stateMachineAliasArn",), stateMachineAliasArn=ARN),
    "DescribeStateMachineForExecution": structure(("executionArn",), executionArn=ARN, includedData=INCLUDED),
    "GetActivityTask": structure(("activityArn",), activityArn=ARN, workerName=NAME),
    "GetExecutionHistory": structure(
        ("executionArn",), executionArn=ARN, reverseOrder=YES_NO, includeExecutionData=YES_NO, **PAGING
    ),
    "ListActivities": structure((), **PAGING),
    "ListExecutions": structure(
        (),
        stateMachineArn=ARN,
        statusFilter=STATUS,
        maxResults=number(0, 1000),
        nextToken=text(least=1, most=3096),
        mapRunArn=LONG_ARN,
        redriveFilter=one_of("REDRIVEN", "NOT_REDRIVEN"),
    ),
    "ListMapRuns": structure(("executionArn",), executionArn=ARN, **PAGING),
    "ListStateMachineAliases": structure(("stateMachineArn",), stateMachineArn=ARN, **PAGING),
    "ListStateMachineVersions": structure(("stateMachineArn",), stateMachineArn=ARN, **PAGING),
    "ListStateMachines": structure((), **PAGING),
    "ListTagsForResource": structure(("resourceArn",), resourceArn=ARN),
    "PublishStateMachineVersion": structure(
        ("stateMachineArn",), stateMachineArn=ARN, revisionId=text(), description=DESCRIPTION
    ),
    "RedriveExecution": structure(("executionArn",), executionArn=ARN, clientToken=text("[!-~]+", least=1, most=64)),
    "SendTaskFailure": structure(("taskToken",), taskToken=TOKEN, error=ERROR, cause=CAUSE),
    "SendTaskHeartbeat": structure(("taskToken",), taskToken=TOKEN),
    "SendTaskSuccess": structure(("taskToken", "output"), taskToken=TOKEN, output=DATA),
    "StartExecution": structure(("stateMachineArn",), stateMachineArn=ARN, name=NAME, input=DATA, traceHeader=TRACE),
    "StartSyncExecution": structure(
        ("stateMachineArn",), stateMachineArn=ARN, name=NAME, input=DATA, traceHeader=TRACE, includedData=INCLUDED
    ),
    "StopExecution": structure(("executionArn",), executionArn=ARN, error=ERROR, cause=CAUSE),
    "TagResource": structure(("resourceArn", "tags"), resourceArn=ARN, tags=TAGS),
    "TestState": structure(
        ("definition",),
        definition=DEFINITION,
        roleArn=ARN,
        input=DATA,
        inspectionLevel=one_of("INFO", "DEBUG", "TRACE"),
        revealSecrets=YES_NO,
        variables=DATA,
        stateName=NAME,
        mock=MOCK,
        context=DATA,
        stateConfiguration=CONFIGURATION,
    ),
    "UntagResource": structure(("resourceArn", "tagKeys"), resourceArn=ARN, tagKeys=several(text(least=1, most=128))),
    "UpdateMapRun": structure(("mapRunArn",), mapRunArn=LONG_ARN, **TOLERANCE),
    "UpdateStateMachine": structure(
        ("stateMachineArn",),
        stateMachineArn=ARN,
        definition=DEFINITION,
        roleArn=ARN,
        loggingConfiguration=LOGGING,
        tracingConfiguration=TRACING,
        publish=YES_NO,
        versionDescription=DESCRIPTION,
        encryptionConfiguration=ENCRYPTION,
    ),
    "UpdateStateMachineAlias": structure(
        ("stateMachineAliasArn",), stateMachineAliasArn=ARN, description=DESCRIPTION, routingConfiguration=ROUTING
    ),
    "ValidateStateMachineDefinition": structure(
        ("definition",),
        definition=DEFINITION,
        type=KIND,
        severity=one_of("ERROR", "WARNING"),
        maxResults=number(0, 100),
    ),
}
