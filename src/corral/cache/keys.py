"""The key of a question: the same for questions that cannot differ in their answer, and telling nothing of what was asked.

What a key is made of: the tenant, the scope, and the question - model, messages without their metadata, tools, sampling, output,
reasoning, what goes to the provider untouched, and the class that the caller asked of the router. The order of keys in objects
and the spelling of numbers (`1`, `1.0`) make no difference; every character of a text does. An image given in a URL (`data:…`)
is the same as one given in place. Whether the answer is streamed, who asks within the tenant, and until when, is no part of it.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from corral.cache.counting import CacheCounting
from corral.messages import EmbedCall, ModelCall

_log = logging.getLogger("corral.cache")

KeyGenerator = Callable[[ModelCall], str]
"""What makes two questions the same, in somebody's own words. The tenant and the scope are part of the key all the same."""

KEY_BYTES = 16
_FLOAT = 0xCB
"""How MessagePack begins a number with a fraction."""
_DATA = b"data:"
_WHOLE_MAX = 2.0**63

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_begun = blake2b(digest_size=KEY_BYTES, person=b"corral-cache-1")


def call_key(call: ModelCall, generate: KeyGenerator | None = None) -> bytes:
    """The key of a question. Raises `TypeError` or `ValueError` for one that has no encoding (an object of the caller's)."""
    policy = call.policy
    if generate is not None:
        question: object = generate(call)
        if not isinstance(question, str):
            raise TypeError(f"A key generator returns text, not {type(question).__name__}.")
        return _digest(("own", call.caller.tenant, policy.cache_scope, question))
    said = (
        [(message.role, message.content) for message in call.messages],
        call.tools,
        call.output,
        call.extra,
    )
    encoded = _encode(said)
    if (
        _FLOAT in encoded or encoded.find(_DATA) >= 0
    ):  # seldom, and then perhaps not meant: one spelling for numbers and images
        encoded = _encode(_one_spelling(msgspec.to_builtins(said)))
    return _digest(
        (
            "call",
            call.caller.tenant,
            policy.cache_scope,
            policy.route,
            call.model,
            encoded,
            call.tool_choice,
            call.parallel_tools,
            None if call.temperature is None else _number(call.temperature),
            None if call.top_p is None else _number(call.top_p),
            call.top_k,
            call.max_tokens,
            call.stop,
            call.seed,
            None if call.frequency_penalty is None else _number(call.frequency_penalty),
            None if call.presence_penalty is None else _number(call.presence_penalty),
            call.reasoning,
        )
    )


def checked_key(call: ModelCall, generate: KeyGenerator | None, counting: CacheCounting) -> bytes | None:
    """The same; none: it has none, for which no call fails."""
    try:
        return call_key(call, generate)
    except Exception as error:  # noqa: BLE001 - a generator of the user's may raise anything
        _log.warning("A call has no key, and its answer is not kept: %s", error)
        counting.trouble("key")
        return None


def text_keys(call: EmbedCall) -> list[bytes]:
    """A key for each text: the same text has the same one, whatever stands beside it."""
    head = ("text", call.caller.tenant, call.policy.cache_scope, call.model, call.dimensions)
    more = _encode(_one_spelling(call.extra)) if call.extra else b""
    return [_digest((*head, more, text)) for text in call.texts]


def value_key(tenant: str, scope: str, *words: object) -> bytes:
    """The key of anything else that somebody keeps."""
    return _digest(("value", tenant, scope, _one_spelling(msgspec.to_builtins(words))))


def _digest(words: object) -> bytes:
    hashed = _begun.copy()
    hashed.update(_encode(words))
    return hashed.digest()


def _number(value: float) -> float:
    """`0.0` as `0`, and `-0.0` as well."""
    if type(value) is float and value.is_integer() and abs(value) < _WHOLE_MAX:
        return int(value)
    return value


def _one_spelling(value: Any) -> Any:
    if type(value) is float:
        return _number(value)
    if type(value) is int and not -_WHOLE_MAX <= value < 2 * _WHOLE_MAX:
        return ["number", str(value)]  # JSON has such, and what keys are made of has not
    if isinstance(value, dict):
        spelled = {name: _one_spelling(one) for name, one in value.items()}
        url = spelled.get("url")
        return _in_place(spelled, url) if isinstance(url, str) and url[:5].lower() == "data:" else spelled
    if isinstance(value, list | tuple):
        return [_one_spelling(one) for one in value]
    return value


def _in_place(part: dict[str, Any], url: str) -> dict[str, Any]:
    """A part whose content stands in its URL, as one that has it in `data`."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        return part
    media_type, *options = head.split(";")
    try:
        content = b64decode(unquote_to_bytes(body), validate=True) if "base64" in options else unquote_to_bytes(body)
    except ValueError:
        return part
    rest = {name: one for name, one in part.items() if name != "url"}
    return rest | {"data": b64encode(content).decode(), "media_type": media_type}
