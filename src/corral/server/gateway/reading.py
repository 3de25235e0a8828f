"""What the ways of asking have in common: fields that are what they should be, and faults that say which is not."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

import msgspec

from corral.errors import ModelRequestInvalid
from corral.messages import Caller, CallPolicy, ToolSpec
from corral.runtime.payload import is_id
from corral.server.http import Request

T = TypeVar("T")

_CHOICES = frozenset({"auto", "none", "required"})
_CACHE_WORDS = frozenset({"use", "bypass", "refresh", "only"})
_TAGS_MAX = 20
_TAG_CHARS_MAX = 200
_PRIORITY_MAX = 9
_HEADER_CHARS_MAX = 256
_DIGITS_MAX = 12


class RequestInvalid(ModelRequestInvalid):
    """This is not a request that can be sent to a model."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """`param` is the field that is wrong, as OpenAI's clients show it."""
        super().__init__(message)
        self.param = param


class Fields:
    """The fields of a request, each taken once; what is left over was not understood here."""

    __slots__ = ("_left", "_where")

    def __init__(self, value: object, where: str = "") -> None:
        """`where` is the place of this object in the request."""
        if not isinstance(value, dict):
            raise RequestInvalid(f"{where or 'The body'} is a JSON object, not {_kind(value)}.", where or None)
        self._left: dict[str, Any] = dict(value)
        self._where = f"{where}." if where else ""

    def take(self, name: str, kind: type[T]) -> T | None:
        """A field, or none where it is missing or null. Raises `RequestInvalid` if it is something else."""
        value = self._left.pop(name, None)
        if value is None or type(value) is kind:
            return value
        if kind is float and type(value) is int:
            try:
                return float(value)  # type: ignore[return-value]  # T is float here
            except OverflowError:
                raise self.wrong(name, f"`{self._where}{name}` is too large.") from None
        raise RequestInvalid(f"`{self._where}{name}` is {_NAMES[kind]}, not {_kind(value)}.", f"{self._where}{name}")

    def need(self, name: str, kind: type[T]) -> T:
        """A field that must be there."""
        value = self.take(name, kind)
        if value is None:
            raise RequestInvalid(f"`{self._where}{name}` is missing.", f"{self._where}{name}")
        return value

    def take_any(self, name: str) -> Any:
        """A field of any type."""
        return self._left.pop(name, None)

    def drop(self, *names: str) -> None:
        """Fields that mean nothing to us and harm nobody."""
        for name in names:
            self._left.pop(name, None)

    def wrong(self, name: str, message: str) -> RequestInvalid:
        """A fault of a field."""
        return RequestInvalid(message, f"{self._where}{name}")

    @property
    def left(self) -> dict[str, Any]:
        """What nobody has taken."""
        return self._left


_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def _kind(value: object) -> str:
    return "nothing" if value is None else _NAMES.get(type(value), type(value).__name__)


def most_tokens(most: int, name: str) -> int:
    """What may be written. It is set aside in limits and budgets, so it is never less than one."""
    if most < 1:
        raise RequestInvalid(f"`{name}` is 1 or more.", name)
    return most


def texts(value: object, name: str) -> list[str]:
    """A text or a list of them."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise RequestInvalid(f"`{name}` is a text or a list of texts.", name)


def function_tool(value: object, where: str) -> ToolSpec:
    """A function's declaration, as it stands under `function` (chat) or at the top (responses)."""
    fields = Fields(value, where)
    return ToolSpec(
        name=fields.need("name", str),
        description=fields.take("description", str) or "",
        parameters=fields.take("parameters", dict) or {},
        strict=bool(fields.take("strict", bool)),
    )


def function_tools(tools: list[Any], inside: str = "") -> list[ToolSpec]:
    """The tools of a request; `inside`: the field of each that holds its declaration, if not all of it is one."""
    found = []
    for at, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise RequestInvalid(f"Tools are functions here, not {kind!r}.", f"tools[{at}].type")
        declared, where = (tool.get(inside), f"tools[{at}].{inside}") if inside else (tool, f"tools[{at}]")
        found.append(function_tool(declared, where))
    return found


def tool_choice(value: object, named: object) -> str:
    """Which tool is to be called; `named` is the name in `value`, if it has one."""
    if value is None:
        return ""
    if isinstance(value, str) and value in _CHOICES:
        return value
    if isinstance(named, str):
        return f"tool:{named}"
    raise RequestInvalid("`tool_choice` is `auto`, `none`, `required`, or names a function.", "tool_choice")


def tool_use(use_id: str, name: str, arguments: object) -> dict[str, Any]:
    """A call of a tool. What a model wrote wrongly is kept as it is (`input_text`), so that it can be shown its mistake."""
    part: dict[str, Any] = {"type": "tool_use", "id": use_id, "name": name, "input": {}}
    if isinstance(arguments, str) and arguments:
        try:
            value = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeEncodeError):
            value = None
        if isinstance(value, dict):
            part["input"] = value
        else:
            part["input_text"] = arguments
    return part


def image_part(url: str, detail: object) -> dict[str, Any]:
    """An image by its address, which may hold all of it."""
    part: dict[str, Any]
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        media_type, _, coding = head.partition(";")
        if coding != "base64" or not _is_base64(data):
            raise RequestInvalid("The address of an image that begins with `data:` is `data:image/png;base64,…`.")
        part = {"type": "image", "media_type": media_type or "image/png", "data": data}
    else:
        part = {"type": "image", "url": url}
    if isinstance(detail, str):
        part["detail"] = detail
    return part


def _is_base64(data: str) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def caller_of(request: Request, user: str | None, tags: dict[str, str]) -> Caller:
    """Who asks: tenant and tier from the credential, the rest from what they say of themselves."""
    context, headers = request.context, request.headers
    if b"x-corral-tags" in headers:
        pairs = (pair.partition("=") for pair in _words(request, b"x-corral-tags").split(","))
        tags = tags | {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
    if tags and (len(tags) > _TAGS_MAX or any(len(name) + len(value) > _TAG_CHARS_MAX for name, value in tags.items())):
        raise RequestInvalid(f"At most {_TAGS_MAX} tags, each of at most {_TAG_CHARS_MAX} characters.", "metadata")
    return Caller(
        tenant=context.tenant,
        tier=context.tier,
        user_id=user or context.user_id or "",
        session_id=context.session_id or "",
        run_id=context.request_id,
        tags=tags,
        priority=_number(request, b"x-corral-priority", _PRIORITY_MAX) if b"x-corral-priority" in headers else 5,
    )


_POLICY = frozenset(
    {b"x-corral-cache", b"x-corral-cache-ttl-s", b"x-corral-cache-tags", b"x-corral-cache-scope", b"x-corral-route"}
)
_NO_POLICY = CallPolicy()


def policy_of(request: Request) -> CallPolicy:
    """What the headers say about how to answer."""
    headers = request.headers
    if _POLICY.isdisjoint(headers):
        return _NO_POLICY
    cache = (request.header(b"x-corral-cache") or "").lower()
    if cache and cache not in _CACHE_WORDS:
        raise RequestInvalid(f"The header x-corral-cache is one of {', '.join(sorted(_CACHE_WORDS))}.")
    ttl_s: float | None = None
    if b"x-corral-cache-ttl-s" in headers:
        ttl_s = float(_number(request, b"x-corral-cache-ttl-s", 10**9))
    return CallPolicy(
        cache=cache,  # type: ignore[arg-type]  # just checked
        cache_ttl_s=ttl_s,
        cache_tags=tuple(tag.strip() for tag in _words(request, b"x-corral-cache-tags").split(",") if tag.strip()),
        cache_scope=_words(request, b"x-corral-cache-scope"),
        route=_words(request, b"x-corral-route"),
    )


def _words(request: Request, header: bytes) -> str:
    given = request.header(header)
    if not given:
        return ""
    if not is_id(given, _HEADER_CHARS_MAX):
        raise RequestInvalid(
            f"The header {header.decode()} has at most {_HEADER_CHARS_MAX} characters, none of them a control character."
        )
    return given


def _number(request: Request, header: bytes, most: int) -> int:
    given = request.headers[header]
    if not given.isdigit() or len(given) > _DIGITS_MAX or int(given) > most:
        raise RequestInvalid(f"The header {header.decode()} is a whole number from 0 to {most}.")
    return int(given)
