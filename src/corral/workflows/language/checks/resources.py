"""Who may do a task: what Corral does itself, what Step Functions could do elsewhere, and what express workflows cannot wait for."""

from __future__ import annotations

import re
from typing import Any

from corral.workflows.language.checks.value import Where, text
from corral.workflows.language.fault import nearest
from corral.workflows.language.resource import resource_of

_OWN = ("agent", "tool", "function", "job", "http", "approval")
_ACTIVITY = re.compile(r"arn:[^:]+:states:[^:]*:[^:]*:activity:")
_SERVICE = re.compile(
    r"arn:aws[\w-]*:states:[\w-]*:[\w-]*:(?P<service>[\w-]+):(?P<action>[\w:-]+?)(?P<pattern>\.(?:sync(?::2)?|waitForTaskToken))?"
)

_WAITS = ".waitForTaskToken"
_RUNS = ".sync"

# What Step Functions can call besides Lambda and itself, and how the end can be awaited: TestState may be told their answers.
_ELSEWHERE: dict[str, tuple[str, str]] = {
    "apigateway": ("invoke", _WAITS),
    "athena": ("startQueryExecution stopQueryExecution getQueryExecution getQueryResults", _RUNS),
    "batch": ("submitJob", _RUNS),
    "bedrock": ("invokeModel createModelCustomizationJob", f"{_RUNS} {_WAITS}"),
    "codebuild": (
        "startBuild stopBuild batchDeleteBuilds batchGetReports startBuildBatch stopBuildBatch retryBuildBatch",
        _RUNS,
    ),
    "databrew": ("startJobRun", _RUNS),
    "dynamodb": ("getItem putItem deleteItem updateItem", ""),
    "ecs": ("runTask", f"{_RUNS} {_WAITS}"),
    "eks": (
        "call runJob createCluster deleteCluster createFargateProfile deleteFargateProfile createNodegroup deleteNodegroup",
        f"{_RUNS} {_WAITS}",
    ),
    "elasticmapreduce": (
        (
            "createCluster terminateCluster setClusterTerminationProtection addStep cancelStep modifyInstanceFleetByName "
            "modifyInstanceGroupByName"
        ),
        _RUNS,
    ),
    "emr-containers": ("createVirtualCluster deleteVirtualCluster startJobRun cancelJobRun", _RUNS),
    "emr-serverless": (
        "createApplication startApplication stopApplication deleteApplication startJobRun cancelJobRun",
        _RUNS,
    ),
    "events": ("putEvents", _WAITS),
    "glue": ("startJobRun", _RUNS),
    "http": ("invoke", ""),
    "mediaconvert": ("createJob", _RUNS),
    "sagemaker": (
        (
            "createEndpoint createEndpointConfig createHyperParameterTuningJob createLabelingJob createModel createProcessingJob "
            "createTrainingJob createTransformJob updateEndpoint"
        ),
        _RUNS,
    ),
    "sns": ("publish", _WAITS),
    "sqs": ("sendMessage", _WAITS),
}


def resource(value: Any, where: Where) -> None:
    """What a Task names."""
    text(value, where)
    if not isinstance(value, str):
        return
    if where.kind == "EXPRESS" and _not_in_express(value, where):
        return
    if resource_of(value) is not None or (where.mocked and _is_elsewhere(value)):
        return
    if value.startswith("corral:"):
        where.fault("Value is not a valid resource ARN", hint=_hint_of_own(value))
    elif not value.startswith("arn:"):
        where.fault(
            "Value is not a valid resource ARN", hint="Write `corral:function:NAME`, `corral:agent:NAME` or an ARN."
        )
    else:
        where.fault(
            f"The resource provided {value} is not recognized. The value is not a valid resource ARN, or the resource is not "
            "available in this region.",
            hint="Host a function that does it, and name `corral:function:NAME`; or call it with `corral:http`."
            if _is_elsewhere(value)
            else "",
        )


def _not_in_express(value: str, where: Where) -> bool:
    if _ACTIVITY.match(value):
        where.fault("Express state machine does not support Activity ARN ", hint="Make it a STANDARD workflow.")
        return True
    for pattern in (_WAITS, ".sync:2", _RUNS):
        if value.endswith(pattern):
            where.fault(
                f"Express state machine does not support '{pattern.partition(':')[0]}' service integration ",
                hint="Make it a STANDARD workflow.",
            )
            return True
    if resource_is_approval(value):
        where.fault("Express state machine does not support approvals", hint="Make it a STANDARD workflow.")
        return True
    return False


def resource_is_approval(value: str) -> bool:
    """Whether people are asked, who may take days."""
    found = resource_of(value)
    return found is not None and found.service == "approval"


def _is_elsewhere(value: str) -> bool:
    found = _SERVICE.fullmatch(value)
    if found is None:
        return False
    service, action, pattern = found["service"], found["action"], found["pattern"] or ""
    if service == "aws-sdk":
        return ":" in action and pattern in ("", _WAITS)
    actions, patterns = _ELSEWHERE.get(service, ("", ""))
    return action in actions.split() and (not pattern or pattern in patterns.split())


def _hint_of_own(value: str) -> str:
    service = value.split(":")[1].partition(".")[0]
    if service in ("agent", "tool", "function", "job"):
        return f"Write `corral:{service}:NAME`, perhaps with `.waitForTaskToken`."
    return nearest(service, _OWN) or f"There are: {', '.join(_OWN)}."
