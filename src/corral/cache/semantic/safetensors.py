"""Reads tensors out of a `.safetensors` file: a length, a table in JSON, and bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLE_MAX = 100_000_000
_KINDS = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


class _Place(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of the file that hold numbers with a fraction, as float32. Raises `ConfigError` if it is no such file."""
    import numpy as np  # noqa: PLC0415 - an extra, loaded where it is used

    data = memoryview(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    try:
        if not 0 < size < min(len(data), _TABLE_MAX):
            raise ValueError("the length of its table is wrong")  # noqa: TRY301 - one place says which file it was
        table = msgspec.json.decode(bytes(data[8 : 8 + size]), type=dict[str, Any])
        table.pop("__metadata__", None)
        places = msgspec.convert(table, dict[str, _Place])
        body = data[8 + size :]
        tensors: dict[str, NDArray[Any]] = {}
        for name, place in places.items():
            kind = _KINDS.get(place.dtype)
            if kind is None:
                continue
            begin, end = place.data_offsets
            if not 0 <= begin <= end <= len(body) or end - begin != math.prod(place.shape) * np.dtype(kind).itemsize:
                raise ValueError(f"{name} does not lie within it")  # noqa: TRY301 - as above
            array: NDArray[Any] = np.frombuffer(body[begin:end], dtype=kind).reshape(place.shape)
            tensors[name] = array.astype(np.float32, copy=False)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path} is no file of safetensors: {error}.") from error
    return tensors
