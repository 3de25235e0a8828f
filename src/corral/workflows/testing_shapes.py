"""Whether a mocked answer looks like what the service would answer.

What services answer is known by botocore, where it is installed (`corral[aws]`); where it is not, every answer will do.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any

from corral.errors import ValidationFailed
from corral.workflows.testing_request import Mock, ValidationMode, json_of

_CALL = re.compile(
    r"arn:aws[\w-]*:states:[\w-]*:[\w-]*:(?:aws-sdk:)?(?P<service>[\w-]+):(?P<action>\w+)(?P<pattern>\.sync(?::2)?)?"
)
_CALLED = {"states": "stepfunctions", "sfn": "stepfunctions", "elasticmapreduce": "emr"}
"""Services whose name in a resource is another one."""
_FREE = ("http", "apigateway", "eks")
"""Services that answer whatever they are asked for."""
_POLLED = {"startExecution": "describeExecution"}
"""What is asked until a call has come to its end."""

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "a string"),
    "timestamp": (str, "a string"),
    "blob": (str, "a string"),
    "integer": (int, "a number"),
    "long": (int, "a number"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
    "boolean": (bool, "a boolean"),
    "list": (list, "an array"),
    "map": (dict, "an object"),
    "structure": (dict, "an object"),
}


async def check_shape(resource: str, mock: Mock) -> None:
    """Raises `ValidationFailed` where the service would never answer so."""
    found = _CALL.fullmatch(resource)
    if found is None or mock.field_validation_mode == "NONE" or mock.result is None:
        return
    result = json_of(mock.result, ValidationFailed, "Mocked result must be valid JSON")
    service, action = _CALLED.get(found["service"], found["service"]), found["action"]
    if found["pattern"]:
        action = _POLLED.get(action, "")
    if service in _FREE or not action:
        return
    shape = await asyncio.to_thread(_answer_of, service, action)
    if shape is None:
        return
    if not isinstance(result, dict):
        raise ValidationFailed("Mock result must be a valid JSON object.")
    _check(result, shape, mock.field_validation_mode, "", service)


@lru_cache(maxsize=64)
def _answer_of(service: str, action: str) -> Any:
    """The shape of an answer; none: it is not known, or there is none."""
    try:
        from botocore import exceptions, loaders, model  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, slow to load
    except ImportError:
        return None
    try:
        described = loaders.Loader().load_service_model(service, "service-2")
        operation = action[:1].upper() + action[1:]
        return model.ServiceModel(described, service_name=service).operation_model(operation).output_shape
    except (exceptions.UnknownServiceError, exceptions.DataNotFoundError, model.OperationNotFoundError):
        return None


def _check(value: Any, shape: Any, mode: ValidationMode, field: str, service: str) -> None:
    kind, said = _KINDS.get(shape.type_name, (object, "a value"))
    # What a function or an execution answers is JSON already when a state gets it.
    is_json = field in ("Payload", "Input", "Output") and service in ("lambda", "stepfunctions")
    if is_json or getattr(shape, "is_document_type", False):
        return
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise _wrong(f"Field '{field}' must be {said}")
    if shape.type_name == "structure":
        _check_members(value, shape, mode, service)
    elif shape.type_name == "list":
        for one in value:
            _check(one, shape.member, mode, field, service)
    elif shape.type_name == "map":
        for one in value.values():
            _check(one, shape.value, mode, field, service)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise _wrong(f"Field '{field}' is not an expected value")


def _check_members(value: dict[str, Any], shape: Any, mode: ValidationMode, service: str) -> None:
    members = {name[:1].upper() + name[1:]: member for name, member in shape.members.items()}
    if mode == "STRICT":
        for name in shape.required_members:
            wanted = name[:1].upper() + name[1:]
            if wanted not in value:
                raise _wrong(f"Required field '{wanted}' is missing")
    for name, one in value.items():
        # A field that nobody knows may be newer than what is known here.
        if name in members:
            _check(one, members[name], mode, name, service)


def _wrong(why: str) -> ValidationFailed:
    return ValidationFailed(f"Mock result schema validation error: {why}")
