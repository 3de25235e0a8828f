from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.errors import ModelStreamBroken
from corral.models.wire.eventstream import Frame, FrameReader, frame_bytes

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
MESSAGES = st.lists(
    st.tuples(st.dictionaries(WORDS, WORDS, max_size=3), st.binary(max_size=60)), min_size=1, max_size=5
)


def packed(headers: bytes, payload: bytes = b"") -> bytes:
    sizes = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = sizes + struct.pack(">I", zlib.crc32(sizes)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


@settings(max_examples=80, deadline=None)
@given(MESSAGES, st.data())
def test_the_official_parser_reads_the_same_wherever_the_bytes_are_cut(messages, data):
    raw = b"".join(frame_bytes(headers, payload) for headers, payload in messages)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=9)) | {0, len(raw)})
    reader, theirs, ours = FrameReader(), EventStreamBuffer(), []
    for one, two in itertools.pairwise(cuts):
        ours += reader.feed(raw[one:two])
        theirs.add_data(raw[one:two])
    reader.end()
    assert ours == [Frame(headers, payload) for headers, payload in messages]
    assert ours == [Frame(message.headers, message.payload) for message in theirs]


def test_headers_of_every_type_are_passed_over():
    header = b"".join(
        bytes([1]) + name + bytes([kind]) + value
        for name, kind, value in (
            (b"a", 0, b""),
            (b"b", 1, b""),
            (b"c", 2, b"x"),
            (b"d", 3, b"xx"),
            (b"e", 4, b"xxxx"),
            (b"f", 5, b"x" * 8),
            (b"g", 6, b"\x00\x02xx"),
            (b"h", 7, b"\x00\x02hi"),
            (b"i", 8, b"x" * 8),
            (b"j", 9, b"x" * 16),
        )
    )
    assert list(FrameReader().feed(packed(header, b"p"))) == [Frame({"h": "hi"}, b"p")]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_found(at, flip):
    raw = bytearray(frame_bytes({":event-type": "chunk"}, b'{"a":1}') * 2)
    raw[at % len(raw)] ^= flip
    with pytest.raises(ModelStreamBroken):
        list(FrameReader().feed(bytes(raw)))


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",
        b"\x01a",
        b"\x01a\x63",
        b"\x01a\x07\x00\x09x",
        b"\x01\xff\x00",
        b"\x01a\x07\x00\x01\xff",
        b"\x01a\x04x",
    ],
)
def test_headers_that_are_none(headers):
    with pytest.raises(ModelStreamBroken, match="headers"):
        list(FrameReader().feed(packed(headers)))


@pytest.mark.parametrize(("size", "headers_size"), [(15, 0), (2**31, 0), (20, 8)])
def test_lengths_that_cannot_be(size, headers_size):
    sizes = struct.pack(">II", size, headers_size)
    with pytest.raises(ModelStreamBroken, match="cannot be"):
        list(FrameReader().feed(sizes + struct.pack(">I", zlib.crc32(sizes))))


def test_an_end_within_a_message_is_said():
    reader = FrameReader()
    assert [frame.payload for frame in reader.feed(frame_bytes({"a": "b"}, b"one"))] == [b"one"]
    reader.end()
    assert list(reader.feed(frame_bytes({"a": "b"}, b"two")[:-1])) == []
    with pytest.raises(ModelStreamBroken, match="within a message"):
        reader.end()
