"""What requests about runtimes, their versions and endpoints are made of."""

from __future__ import annotations

from corral.server.agentcore.checking import Shape, mapping, number, one_of, several, structure, text, union
from corral.server.agentcore.ids import NAME
from corral.server.routes import Param

RUNTIME_ID = text("[a-zA-Z][a-zA-Z0-9_]{0,99}-[a-zA-Z0-9]{10}")
ENDPOINT = text(NAME)
VERSION = text("[1-9][0-9]{0,4}", least=1, most=5)
_TOKEN = text("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,256}", least=33, most=256)
_OBJECT: Shape = {"type": "object"}

CLIENT_TOKEN = Param("clientToken", "query", "Makes the request happen once.", _TOKEN)
PAGING = (
    Param("maxResults", "query", "The most that are wanted.", number(1, 100)),
    Param("nextToken", "query", "Where the page before ended.", text(r"\S*", least=1, most=2048)),
)
VERSION_ASKED = Param("version", "query", "The version; without it, the latest.", VERSION)

_CODE = structure(
    ("code", "runtime", "entryPoint"),
    code=_OBJECT,
    runtime=one_of("PYTHON_3_10", "PYTHON_3_11", "PYTHON_3_12", "PYTHON_3_13", "PYTHON_3_14", "NODE_22"),
    entryPoint=several(text(least=1, most=128), 1, 2),
)
_SETUP: dict[str, Shape] = {
    "agentRuntimeArtifact": union(
        containerConfiguration=structure(("containerUri",), containerUri=text(least=1, most=1024)),
        codeConfiguration=_CODE,
    ),
    "roleArn": text("arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+", least=1, most=2048),
    "networkConfiguration": structure(("networkMode",), networkMode=one_of("PUBLIC", "VPC"), networkModeConfig=_OBJECT),
    "clientToken": _TOKEN,
    "description": text(least=1, most=4096),
    "authorizerConfiguration": _OBJECT,
    "requestHeaderConfiguration": _OBJECT,
    "protocolConfiguration": structure(
        ("serverProtocol",),
        serverProtocol=one_of("MCP", "HTTP", "A2A", "AGUI"),
        port=number(8000, 12_000),
        path=text(r"/[A-Za-z0-9\-._~/%]*", least=1, most=2048),
    ),
    "lifecycleConfiguration": structure(
        idleRuntimeSessionTimeout=number(60, 1_209_600), maxLifetime=number(60, 1_209_600)
    ),
    "hooksConfiguration": _OBJECT,
    "metadataConfiguration": _OBJECT,
    "environmentVariables": mapping(text(least=1, most=100), text(most=5000), most=50),
    "filesystemConfigurations": several(_OBJECT, most=5),
    "capacityProviderConfiguration": _OBJECT,
    "platformVersion": text(r"[^\s]+", least=1, most=128),
    "allowedPorts": several(_OBJECT, 1, 5),
    "resourceConfigurations": several(_OBJECT, most=1),
}
_TAGS = mapping(text(least=1, most=128), text(most=256), most=50)
CREATE_RUNTIME = structure(
    ("agentRuntimeName", "agentRuntimeArtifact", "roleArn"),
    agentRuntimeName=text(NAME),
    tags=_TAGS,
    **_SETUP,
)
UPDATE_RUNTIME = structure(("agentRuntimeArtifact", "roleArn"), **_SETUP)
CREATE_ENDPOINT = structure(
    ("name",),
    name=ENDPOINT,
    agentRuntimeVersion=VERSION,
    description=text(least=1, most=256),
    clientToken=_TOKEN,
    tags=_TAGS,
)
UPDATE_ENDPOINT = structure(agentRuntimeVersion=VERSION, description=text(least=1, most=256), clientToken=_TOKEN)
KEPT = tuple(name for name in _SETUP if name != "clientToken")
"""What a version is made of."""
