"""What `corral cache` asks and prints."""

from __future__ import annotations

import pytest
from command_line import json_answer

from corral.cli.failure import Exit

STATS = {
    "items": [
        {"kind": "answer", "entries": 2, "bytes": 9, "hits": 3, "misses": 1, "saved_usd": 0.5},
        {"kind": "vector", "entries": 1, "bytes": 5_000_000, "hits": 0, "misses": 0, "saved_usd": 0.0},
    ]
}


def line_of(request: bytes) -> str:
    return request.partition(b" HTTP/1.1")[0].decode()


def test_stats(corral, stub):
    done = corral("cache", "stats", "--url", stub(json_answer(STATS)).url)
    assert done.status == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["KIND", "ENTRIES", "SIZE", "HITS", "MISSES", "HIT", "RATE", "SAVED"],
        ["answer", "2", "9", "B", "3", "1", "75%", "$0.5000"],
        ["vector", "1", "4.8", "MB", "0", "0", "-", "$0.0000"],
    ]
    assert corral("cache", "stats", "--json", "--url", stub(json_answer(STATS)).url).json == STATS


def test_nothing_yet_says_how_to_begin(corral, stub):
    done = corral("cache", "stats", "--url", stub(json_answer({"items": []})).url)
    assert (done.status, done.out) == (0, "")
    assert "cache.exact" in done.err


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (["--tag", "a&b", "-t", "red"], "DELETE /v1/cache?tag=a%26b&tag=red"),
        (["--yes"], "DELETE /v1/cache"),
        (["--kind", "vector", "-y"], "DELETE /v1/cache?kind=vector"),
    ],
)
def test_clear(corral, stub, flags, asked):
    server = stub(json_answer({"cleared": 7}))
    done = corral("cache", "clear", *flags, "--url", server.url)
    assert (done.status, done.out) == (0, "Threw 7 away.\n")
    assert [line_of(request) for request in server.requests] == [asked]
    assert corral("cache", "clear", *flags, "--json", "--url", stub(json_answer({"cleared": 7})).url).json == {
        "cleared": 7
    }


@pytest.mark.parametrize("flags", [[], ["--kind", "answer"]])
def test_clearing_all_wants_a_yes(corral, flags):
    done = corral("cache", "clear", *flags, "--url", "http://127.0.0.1:1")
    assert done.status == Exit.USAGE
    assert "--yes" in done.err
