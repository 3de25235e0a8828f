"""What AWS's clients are told of operations that nobody answers here: they show no error but one in their own shape."""

from __future__ import annotations

import re
from collections.abc import Iterable

from corral.errors import CorralError
from corral.server.agentcore.dialect import CONTROL, UnknownOperation
from corral.server.dialects import Dialect
from corral.server.http import Request
from corral.server.routes import Route

_OPERATIONS = frozenset({"agentcore", "aws"})
"""Tags of routes whose summary is the name of an operation of AgentCore."""
_AGENTCORE = "bedrock-agentcore"
_SIGNED = re.compile(rb"/([a-z0-9-]{1,64})/aws4_request", re.ASCII)
_PATH_MAX = 200


def is_from_aws(request: Request) -> bool:
    """Whether one of AWS's clients asks: they number their calls, and sign them."""
    return b"amz-sdk-invocation-id" in request.headers or bool(_service_of(request))


def unanswered(request: Request, missing: CorralError, routes: Iterable[Route]) -> CorralError:
    """`missing` as who asks can read it; AWS's clients hear which operations there are."""
    if not is_from_aws(request):
        return missing
    service = _service_of(request)
    path = request.scope["path"][:_PATH_MAX]
    if service and service != _AGENTCORE:
        return UnknownOperation(
            f"{request.method} {path} is an operation of {service!r}, and none of it is answered here: of AWS's services there are "
            "bedrock-agentcore, bedrock-agentcore-control, stepfunctions (states) and s3."
        )
    names = sorted({route.summary for route in routes if route.tag in _OPERATIONS})
    return UnknownOperation(
        f"{request.method} {path} is no operation of AgentCore that is answered here. There are: {', '.join(names)}."
    )


def dialect_for(request: Request, otherwise: Dialect) -> Dialect:
    """How errors look where there is no route."""
    return CONTROL if is_from_aws(request) else otherwise


def _service_of(request: Request) -> str:
    """The service that a signature is for; empty: there is none."""
    found = _SIGNED.search(request.headers.get(b"authorization") or b"")
    return found[1].decode() if found else ""
