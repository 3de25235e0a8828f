"""How lines reach the descriptor: whole, soon, and without holding anybody up."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

import pytest

from corral.observability import lines as lines_module
from corral.observability.lines import LineWriter


def test_lines_of_many_threads_stay_whole(pipe):
    writer = LineWriter(pipe)
    writer.start()
    threads = [
        threading.Thread(
            target=lambda n=n: [writer.write(b"%d" % n * 20 + b"\n", at_once=not i % 7) for i in range(500)]
        )
        for n in range(5)
    ]
    read: list[str] = []
    for thread in threads:
        thread.start()
    while len(read) < 2500 and (more := pipe.lines(wait_s=10)):
        read += more
    for thread in threads:
        thread.join()
    writer.stop()
    writer.stop()
    assert len(read) == 2500
    assert all(len(set(line)) == 1 for line in read)


def test_a_reader_that_does_not_read_never_holds_up_who_writes(pipe, monkeypatch):
    monkeypatch.setattr(lines_module, "_LINES_MAX", 100)
    writer = LineWriter(pipe)
    writer.start()
    for _ in range(1000):
        writer.write(b"x" * 999 + b"\n")
    assert writer.dropped > 0
    while pipe.lines(wait_s=0.2):
        pass
    writer.stop()


def test_a_reader_that_went_away_hurts_nobody(pipe):
    gone, pipe.reader = pipe.reader, os.open(os.devnull, os.O_RDONLY)
    os.close(gone)
    LineWriter(pipe).write(b"lost\n")


def test_a_forked_process_writes_its_own_lines_only(pipe):
    writer = LineWriter(pipe)
    writer._thread = threading.current_thread()  # as if it had one, which writes later
    writer.write(b"parent\n")
    writer._forked()
    writer.write(b"child\n")
    assert pipe.lines() == ["child"]


def held_back(stream):
    """A writer that believes its thread is at work."""
    writer = LineWriter(stream)
    writer._thread = threading.current_thread()
    return writer


def fill(descriptor):
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"." * 4096)
    os.set_blocking(descriptor, True)


def test_a_line_that_comes_while_the_others_are_written_does_not_stay(pipe):
    writer = LineWriter(pipe)
    arrived = threading.Event()

    class Late(deque[bytes]):
        def append(self, line):
            if (
                line == b"late\n"
            ):  # between the look at what is there and the line itself, the thread has written it all
                writer._soon.set()
                assert "early" in pipe.lines(wait_s=10)
                while writer._wake.is_set():
                    arrived.wait(0.001)
            super().append(line)

    writer._lines = Late()
    writer.start()
    writer.write(b"early\n")
    writer.write(b"late\n")
    assert pipe.lines(wait_s=10) == ["late"]
    writer.stop()


def test_an_urgent_line_does_not_wait_for_a_full_pipe(pipe):
    writer = held_back(pipe)
    fill(pipe.writer)
    writer.write(b"urgent\n", at_once=True)
    assert list(writer._lines) == [b"urgent\n"]
    pipe.lines()
    writer.write(b"more\n", at_once=True)
    assert pipe.lines() == ["urgent", "more"]


def test_an_urgent_line_that_may_not_fit_is_left_to_the_thread(pipe, tmp_path):
    traceback = b"x" * 9999 + b"\n"
    writer = held_back(pipe)
    writer.write(traceback, at_once=True)
    assert list(writer._lines) == [traceback]
    with (tmp_path / "log").open("w") as file:  # nobody has to read a file
        held_back(file).write(traceback, at_once=True)
    assert (tmp_path / "log").read_bytes() == traceback


def test_lines_of_several_writers_stay_whole_when_the_reader_is_slow(pipe):
    fill(pipe.writer)
    writers = [held_back(pipe) for _ in range(3)]
    for n, writer in enumerate(writers):
        for _ in range(1000):
            writer.write(b"%d" % n * 150 + b"\n")
    threads = [threading.Thread(target=writer.flush) for writer in writers]
    for thread in threads:
        thread.start()
    data = b""
    while data.count(b"\n") < 3000:
        data += os.read(pipe.reader, 4096)
    for thread in threads:
        thread.join()
    assert all(len(set(line)) == 1 for line in data.lstrip(b".").splitlines())


def test_a_stream_that_refuses_is_tried_again(pipe, monkeypatch):
    asked = []
    monkeypatch.setattr(lines_module, "_writable", lambda _descriptor, wait_ms: asked.append(wait_ms) or pipe.lines())
    os.set_blocking(pipe.writer, False)
    writer = LineWriter(pipe)
    fill(pipe.writer)
    os.set_blocking(pipe.writer, False)
    writer.write(b"after all\n")
    assert pipe.lines() == ["after all"]
    assert asked == [1000]


def test_a_descriptor_that_is_closed_is_no_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert not lines_module._is_pipe(writer)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 70_000])
def test_pieces_hold_whole_lines(pipe, size):
    writer = held_back(pipe)
    for _ in range(3):
        writer.write(b"x" * size + b"\n")
    pieces = []
    while writer._lines:
        pieces.append(writer._piece())
    assert b"".join(pieces) == (b"x" * size + b"\n") * 3
    assert all(piece.endswith(b"\n") and (len(piece) <= 4096 or piece.count(b"\n") == 1) for piece in pieces)
