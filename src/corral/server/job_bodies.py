"""Bodies that bring inputs of jobs: bounded before they are read, and large ones taken apart before they are understood.

Nobody else is served while a body is turned into values, in whatever thread that is done. So what is larger than one
input may be is split into its fields first, which is quick, and its inputs are read one by one, with a pause between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from corral.errors import InvalidEncoding, InvalidJson, PayloadTooLarge
from corral.jobs.request import check_input_size, input_too_large
from corral.server.http import Request, parse_json, too_deep
from corral.settings.sections import JobSettings

_BESIDE_MAX = 65_536
"""Bytes of all that a job says beside its input."""
_INPUTS = ("input", "inputs")
_TURN_S = 0.005
"""After so long of reading, others have their turn."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


class JobBodies:
    """Reads them."""

    def __init__(self, settings: JobSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """What may be how large stands in the settings."""
        self._input_max = settings.input_max_bytes
        self._of_inputs = input_too_large(settings.input_max_bytes)
        self._batch_max = max(settings.batch_max_bytes, settings.input_max_bytes + _BESIDE_MAX)
        self._value_max = max(settings.input_max_bytes, settings.inline_max_bytes) + _BESIDE_MAX
        self._monotonic = monotonic

    async def one(self, request: Request, default: Any = msgspec.UNSET) -> Any:
        """The body of a request that brings one input at most; `default` is what none means. Raises `PayloadTooLarge`."""
        request.bound_body(self._input_max + _BESIDE_MAX, f"with all that is beside the input. {self._of_inputs}")
        return await self._read(request, default)

    async def many(self, request: Request) -> Any:
        """The body of a request that may bring `inputs`. Raises `PayloadTooLarge`."""
        request.bound_body(self._batch_max, f"(`jobs.batch_max_bytes`): send a batch in parts. {self._of_inputs}")
        return await self._read(request, msgspec.UNSET)

    async def value(self, request: Request) -> Any:
        """The body of a request that is one value, whatever it is, as of a signal; none is null. Raises `PayloadTooLarge`."""
        request.bound_body(self._value_max, "(`jobs.inline_max_bytes`): send a reference.")
        body = await request.body()
        return parse_json(body, request.json_depth_max) if body else None

    async def _read(self, request: Request, default: Any) -> Any:
        body = await request.body()
        if not body and default is not msgspec.UNSET:
            return default
        if len(body) <= self._input_max:
            return parse_json(body, request.json_depth_max)
        return await self._in_parts(body, request.json_depth_max)

    async def _in_parts(self, body: bytes, depth_max: int) -> Any:
        try:
            fields = _fields.decode(body)
        except msgspec.ValidationError:  # no object: what it is instead is told by who reads requests
            return None
        except RecursionError:
            raise too_deep(depth_max) from None
        except UnicodeDecodeError as error:
            raise InvalidEncoding(str(error)) from None
        except msgspec.DecodeError as error:
            raise InvalidJson(str(error)) from None
        self._check(fields.get("input"), "/input")
        read: dict[str, Any] = {}
        for name, raw in fields.items():
            await asyncio.sleep(0)
            if "inputs" in fields and name not in _INPUTS and len(memoryview(raw)) > _BESIDE_MAX:
                raise PayloadTooLarge(f"/{name} is larger than {_BESIDE_MAX} bytes: only inputs may be large.")
            read[name] = await self._inputs(raw, depth_max) if name == "inputs" else parse_json(bytes(raw), depth_max)
        return read

    async def _inputs(self, raw: msgspec.Raw, depth_max: int) -> Any:
        try:
            items = _items.decode(raw)
        except msgspec.ValidationError:
            return None
        values: list[Any] = []
        began = self._monotonic()
        for at, item in enumerate(items):
            self._check(item, f"/inputs/{at}")
            values.append(parse_json(bytes(item), depth_max))
            if self._monotonic() - began > _TURN_S:
                await asyncio.sleep(0)
                began = self._monotonic()
        return values

    def _check(self, raw: msgspec.Raw | None, pointer: str) -> None:
        if raw is not None:
            check_input_size(len(memoryview(raw)), self._input_max, pointer)
