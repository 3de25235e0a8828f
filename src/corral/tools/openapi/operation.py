"""One operation of an OpenAPI document: what it takes, and the request that its arguments make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from corral.messages import ToolSpec
from corral.tools.failing import ToolFailed
from corral.tools.naming import tool_name
from corral.tools.openapi.document import Document

_DESCRIPTION_MAX = 4_000
_PLACES = frozenset({"path", "query", "header"})
_NEVER = frozenset({"accept", "content-type", "authorization"})
"""Headers that no parameter sets."""
_FORM = "application/x-www-form-urlencoded"
METHODS = ("get", "put", "post", "delete", "patch")
_encoder = msgspec.json.Encoder()


class Parameter(msgspec.Struct, frozen=True):
    """One parameter, and how it is written."""

    argument: str
    """What models call it."""
    name: str
    where: str
    required: bool
    explode: bool
    style: str


class Request(msgspec.Struct, frozen=True):
    """What arguments come to."""

    url: str
    headers: dict[str, str]
    body: bytes


class Operation(msgspec.Struct, frozen=True):
    """One way to call the API."""

    name: str
    method: str
    path: str
    spec: ToolSpec
    parameters: tuple[Parameter, ...]
    body_kind: str
    """Media type of the body; empty: it has none."""
    returns: dict[str, Any] | None

    def request(
        self, base_url: str, given: Mapping[str, Any], *, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Request:
        """The request for these arguments. Raises `ToolFailed` for what does not fit. What the operator says goes before."""
        known = {one.argument for one in self.parameters} | ({"body"} if self.body_kind else set())
        odd = [name for name in given if name not in known]
        required = self.spec.parameters.get("required", [])
        missing = [name for name in required if given.get(name) is None]
        if odd or missing:
            faults = [f"There is no `{name}`." for name in odd] + [f"`{name}` is missing." for name in missing]
            raise ToolFailed(" ".join(faults[:10]), code="invalid_input")
        path, pairs, sent = self.path, [], dict(headers)
        for one in self.parameters:
            value = given.get(one.argument)
            if value is None:
                continue
            if one.where == "path":
                path = path.replace(f"{{{one.name}}}", _segment(one, value))
            elif one.where == "query":
                pairs += list(_pairs(one, value))
            else:
                sent[one.name] = _joined(value)
        pairs += list(query.items())
        body = b""
        if self.body_kind and given.get("body") is not None:
            body = _body(self.body_kind, given["body"])
            sent["content-type"] = self.body_kind
        url = base_url + path + (f"?{urlencode(pairs)}" if pairs else "")
        return Request(url, sent, body)


def operations_of(document: Document, *, hidden: frozenset[str], prefix: str) -> Iterator[tuple[str, Operation | str]]:
    """Every operation by its `operationId`, or why it cannot be a tool. `hidden`: parameters that the operator fills in."""
    paths = document.content.get("paths")
    for path, said in (paths if isinstance(paths, dict) else {}).items():
        item = document.followed(said)
        for method in METHODS:
            if isinstance(item.get(method), dict):
                operation = item[method]
                named = str(operation.get("operationId") or f"{method}_{path.strip('/')}")
                common = item.get("parameters")
                yield named, _operation(document, prefix + named, method, path, operation, common, hidden)


def _operation(
    document: Document,
    named: str,
    method: str,
    path: str,
    said: dict[str, Any],
    common: Any,
    hidden: frozenset[str],
) -> Operation | str:
    properties: dict[str, Any] = {}
    parameters: list[Parameter] = []
    required: list[str] = []
    for one in _parameters(document, common, said.get("parameters")).values():
        name, where = str(one.get("name", "")), str(one.get("in", ""))
        if f"{where}:{name}".lower() in hidden or (where == "header" and name.lower() in _NEVER):
            continue
        needed = one.get("required") is True or where == "path"
        if where not in _PLACES:
            if needed:
                return f"its parameter {name!r} is in the {where or 'nowhere'}"
            continue
        argument = name if name not in properties and name != "body" else f"{name}_{where}"
        schema = document.schema(one.get("schema", {}))
        if one.get("description") and "description" not in schema:
            schema["description"] = str(one["description"])
        properties[argument] = schema
        style = str(one.get("style") or ("form" if where == "query" else "simple"))
        parameters.append(Parameter(argument, name, where, needed, one.get("explode") is not False, style))
        if needed:
            required.append(argument)
    kind, body_schema, body_needed = _body_of(document, said.get("requestBody"))
    if kind is None:
        return "its body is none that could be written here (JSON, a form, or text)"
    if kind:
        properties["body"] = body_schema
        if body_needed:
            required.append("body")
    text = "\n\n".join(str(said[key]) for key in ("summary", "description") if said.get(key))
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    spec = ToolSpec(
        name=tool_name(named),
        description=(text or f"{method.upper()} {path}")[:_DESCRIPTION_MAX],
        parameters={**schema, **({"required": required} if required else {})},
    )
    returns = _returned(document, said.get("responses"))
    return Operation(spec.name, method.upper(), path, spec, tuple(parameters), kind, returns)


def _parameters(document: Document, *lists: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """An operation's own go before those of its path."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for several in lists:
        for one in several if isinstance(several, list) else ():
            parameter = document.followed(one)
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    return found


def _body_of(document: Document, said: Any) -> tuple[str | None, dict[str, Any], bool]:
    """Media type, schema, and whether it must be there; no media type: it cannot be written."""
    body = document.followed(said)
    content = body.get("content")
    if not isinstance(content, dict) or not content:
        return "", {}, False
    needed = body.get("required") is True
    for kind, media in content.items():
        bare = kind.partition(";")[0].strip().lower()
        if bare in {"application/json", _FORM, "text/plain"} or bare.endswith("+json") or bare == "*/*":
            schema = document.schema(media.get("schema", {})) if isinstance(media, dict) else {}
            return ("application/json" if bare == "*/*" else bare), schema, needed
    return (None if needed else ""), {}, False


def _returned(document: Document, responses: Any) -> dict[str, Any] | None:
    for status, said in (responses if isinstance(responses, dict) else {}).items():
        if str(status).startswith("2"):
            content = document.followed(said).get("content")
            media = content.get("application/json") if isinstance(content, dict) else None
            if isinstance(media, dict) and "schema" in media:
                return document.schema(media["schema"])
    return None


def _segment(one: Parameter, value: Any) -> str:
    text = _joined(value)
    if text in {"", ".", ".."}:
        raise ToolFailed(f"`{one.argument}` is part of an address and cannot be {text!r}.", code="invalid_input")
    return quote(text, safe="")


def _pairs(one: Parameter, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        if one.explode and one.style == "form":
            yield from ((one.name, _plain(item)) for item in value)
        else:
            mark = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(one.style, ",")
            yield one.name, mark.join(_plain(item) for item in value)
    elif isinstance(value, dict):
        if one.style == "deepObject":
            yield from ((f"{one.name}[{key}]", _plain(item)) for key, item in value.items())
        elif one.explode:
            yield from ((str(key), _plain(item)) for key, item in value.items())
        else:
            yield one.name, _joined(value)
    else:
        yield one.name, _plain(value)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_plain(one) for one in value)
    if isinstance(value, dict):
        return ",".join(f"{key},{_plain(one)}" for key, one in value.items())
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _encoder.encode(value).decode()


def _body(kind: str, value: Any) -> bytes:
    if kind == _FORM:
        if not isinstance(value, dict):
            raise ToolFailed("`body` is an object of fields.", code="invalid_input")
        fields = [(key, item) for key, one in value.items() for item in (one if isinstance(one, list) else [one])]
        return urlencode([(key, _plain(item)) for key, item in fields]).encode()
    if kind == "text/plain":
        return _plain(value).encode(errors="replace")
    return _encoder.encode(value)
