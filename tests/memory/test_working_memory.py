from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, NotFound, PayloadTooLarge, StoreUnavailable, ValidationFailed
from corral.memory.working import Logged, Origin, WorkingLimits, WorkingMemory

SEARCH = Origin(agent="triage", tool="search_logs", call="c1", step=2, tainted=("tool:search_logs",))


def test_notes_are_kept_with_who_wrote_them() -> None:
    memory = WorkingMemory("r-1")
    memory.note("cause", {"service": "api"}, origin=SEARCH)
    memory.note("cause", {"service": "db"}, origin=SEARCH)
    memory.note("plan", ["restart"])
    assert memory.read("cause") == {"service": "db"}
    assert memory.read("nothing", 7) == 7
    assert [(note.name, note.version) for note in memory.notes()] == [("cause", 2), ("plan", 1)]
    assert memory.notes()[0].origin == SEARCH
    assert memory.tainted == ("tool:search_logs",)
    assert '- cause (from triage, search_logs, c1): {"service":"db"}' in memory.shown()
    assert memory.erase("cause")
    assert not memory.erase("cause")
    assert not memory.tainted


def test_what_was_noted_does_not_change_when_its_writer_goes_on() -> None:
    memory = WorkingMemory("r-1")
    value = ["a"]
    memory.note("list", value)
    value.append("b")
    assert memory.read("list") == ["a"]


def test_artefacts_are_read_piece_by_piece_and_found_by_their_call() -> None:
    memory = WorkingMemory("r-1")
    kept = memory.keep("logs.txt", "line\n" * 100, origin=SEARCH)
    assert kept.size == 500
    assert memory.text("logs.txt", 5, 4) == "line"
    assert memory.where("c1") == "artefact 'logs.txt'"
    assert memory.where("c2") == ""
    assert memory.where("") == ""
    with pytest.raises(NotFound, match="never kept"):
        memory.open("other")


def test_artefacts_not_read_for_long_make_room() -> None:
    memory = WorkingMemory("r-1", limits=WorkingLimits(total_bytes=100, artefacts=3))
    for name in "abc":
        memory.keep(name, b"x" * 20)
    memory.open("a")
    memory.keep("d", b"x" * 20)
    assert [one.name for one in memory.artefacts()] == ["c", "a", "d"]
    with pytest.raises(NotFound, match="dropped to make room"):
        memory.open("b")
    memory.keep("e", b"x" * 90)
    assert [one.name for one in memory.artefacts()] == ["e"]
    memory.keep("e", b"x" * 95)
    assert memory.size == 95


def test_what_is_too_large_is_refused_and_changes_nothing() -> None:
    memory = WorkingMemory("r-1", limits=WorkingLimits(notes=1, note_bytes=20, artefact_bytes=50, total_bytes=60))
    memory.keep("a", b"x" * 40)
    for wrong in (
        lambda: memory.note("n", "x" * 30),
        lambda: memory.keep("b", b"x" * 51),
    ):
        with pytest.raises(PayloadTooLarge):
            wrong()
    memory.note("n", "x")
    with pytest.raises(PayloadTooLarge, match="erase one"):
        memory.note("m", "x")
    with pytest.raises(ValidationFailed, match="JSON"):
        memory.note("n", object())
    with pytest.raises(ValidationFailed, match="printable"):
        memory.keep("", b"")
    tight = WorkingMemory("r-2", limits=WorkingLimits(total_bytes=10))
    tight.note("a", "12345")
    with pytest.raises(PayloadTooLarge, match="no room"):
        tight.note("b", "12345")
    assert [note.name for note in tight.notes()] == ["a"]


def test_it_ends_with_the_run() -> None:
    memory = WorkingMemory("r-1")
    memory.note("a", 1)
    memory.keep("b", "text")
    memory.end()
    memory.end()
    assert (memory.notes(), memory.artefacts(), memory.size, memory.shown()) == ([], [], 0, "")
    with pytest.raises(CorralError, match="is over"):
        memory.note("a", 1)


def test_a_change_that_cannot_be_written_down_does_not_happen() -> None:
    def refuse(entry: Logged) -> None:
        raise StoreUnavailable

    memory = WorkingMemory("r-1", log=refuse)
    with pytest.raises(StoreUnavailable):
        memory.note("a", 1)
    assert memory.notes() == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("note"), st.sampled_from("abcd"), st.text(max_size=20)),
        st.tuples(st.just("erase"), st.sampled_from("abcd"), st.none()),
        st.tuples(st.just("keep"), st.sampled_from("abcdef"), st.binary(max_size=40)),
        st.tuples(st.just("open"), st.sampled_from("abcdef"), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_bounds_hold_and_the_log_gives_the_same_memory_again(done: list[tuple[str, str, Any]]) -> None:
    limits = WorkingLimits(notes=3, note_bytes=15, artefacts=3, artefact_bytes=35, total_bytes=80)
    log: list[Logged] = []
    memory = WorkingMemory("r", limits=limits, log=log.append)
    for what, name, value in done:
        try:
            if what == "note":
                memory.note(name, value)
            elif what == "erase":
                memory.erase(name)
            elif what == "keep":
                memory.keep(name, value)
            else:
                memory.open(name)
        except (PayloadTooLarge, NotFound):
            pass
        bodies = sum(artefact.size for artefact in memory.artefacts())
        assert bodies <= memory.size <= limits.total_bytes
        assert len(memory.notes()) <= limits.notes
        assert len(memory.artefacts()) <= limits.artefacts
    again = WorkingMemory("r", limits=limits)
    again.replay(log)
    assert again.notes() == memory.notes()
    assert again.size == memory.size
    assert {one.name: again.open(one.name) for one in again.artefacts()} == {
        one.name: memory.open(one.name) for one in memory.artefacts()
    }
