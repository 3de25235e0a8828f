"""As much of ONNX's file format as a transformer needs: a graph of operators, written as protocol buffers."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPSET = 17
_IR_VERSION = 8
_ELEMENT = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
_FLOAT, _INT, _INTS = 1, 2, 7  # kinds of attributes

Attribute = float | int | Sequence[int]


class Graph:
    """Operators in order, the constants they use, and what goes in and comes out."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """A tensor that is known; returns the name to use it by."""
        name = name or self._name("c")
        kind = _ELEMENT[array.dtype.name]
        dims = b"".join(_number(1, size) for size in array.shape)
        self._constants.append(
            _message(5, dims + _number(2, kind) + _text(8, name) + _message(9, array.tobytes(order="C")))
        )
        return name

    def takes(self, name: str, *dims: str) -> str:
        """A tensor of whole numbers that comes from outside."""
        self._inputs.append(_message(11, _value_info(name, _ELEMENT["int64"], dims)))
        return name

    def gives(self, name: str, *dims: str) -> None:
        """A tensor of numbers that is the result."""
        self._outputs.append(_message(12, _value_info(name, _ELEMENT["float32"], dims)))

    def several(self, operator: str, *inputs: str, outputs: int) -> list[str]:
        """An operator with several results; returns their names."""
        return self._add(operator, inputs, {}, outputs)

    def one(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """An operator with one result; returns its name."""
        return self._add(operator, inputs, attributes, 1)[0]

    def _add(
        self, operator: str, inputs: Sequence[str], attributes: Mapping[str, Attribute], outputs: int
    ) -> list[str]:
        made = [self._name("v") for _ in range(outputs)]
        body = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in made)
        body += _text(3, self._name("n")) + _text(4, operator)
        body += b"".join(_message(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(_message(1, body))
        return made

    def model(self) -> bytes:
        """The file."""
        parts = [*self._nodes, _text(2, "encoder"), *self._constants, *self._inputs, *self._outputs]
        opset = _message(8, _text(1, "") + _number(2, _OPSET))
        return _number(1, _IR_VERSION) + _text(2, "corral") + _message(7, b"".join(parts)) + opset

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + bytes([2 << 3 | 5]) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _value_info(name: str, kind: int, dims: Sequence[str]) -> bytes:
    shape = b"".join(_message(1, _text(2, dim)) for dim in dims)
    tensor = _number(1, kind) + _message(2, shape)
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
