from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ModelStreamBroken
from corral.models.wire import sse
from corral.models.wire.sse import SseReader


def events(*parts: bytes) -> list[tuple[str, bytes]]:
    reader = SseReader()
    return [event for part in parts for event in reader.feed(part)]


def test_names_data_comments_and_blank_lines():
    text = b": hello\n\nevent: start\ndata: {}\n\ndata:x\n\nid: 7\nretry: 10\ndata: a\ndata: b\n\n"
    assert events(text) == [("start", b"{}"), ("", b"x"), ("", b"a\nb")]


def test_an_event_that_was_cut_off_is_none():
    assert events(b"data: 1\n\ndata: 2\n") == [("", b"1")]


@given(
    said=st.lists(
        st.tuples(
            st.sampled_from(["", "delta", "end"]), st.binary().filter(lambda b: b"\n" not in b and b"\r" not in b)
        )
    ),
    ends=st.sampled_from([b"\n", b"\r\n"]),
    data=st.data(),
)
def test_it_does_not_matter_where_the_bytes_are_cut(said, ends, data):
    text = b"".join(
        (b"event: " + name.encode() + ends if name else b"") + b"data: " + value + ends + ends for name, value in said
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert events(*parts) == [(name, value) for name, value in said]


def test_a_long_event_in_many_pieces_is_put_together_once():
    pieces = [b"x"] * 500_000  # with each piece anew, this would move a hundred gigabytes
    assert events(b"data: ", *pieces, b"\n", b"\n", b"data: y\n\n") == [("", b"".join(pieces)), ("", b"y")]


@pytest.mark.parametrize("parts", [[b"data: " + b"x" * 200], [b"data: " + b"x" * 60, b"x" * 60]])
def test_an_event_has_an_end(monkeypatch, parts):
    monkeypatch.setattr(sse, "_EVENT_BYTES_MAX", 100)
    with pytest.raises(ModelStreamBroken):
        events(*parts)
