"""The critic: what an answer is held against, and what becomes of one that does not stand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from team_scene import Member, all_of, looked_up, scripted, written

from corral.agents.event import Failed, Finished, ToolFinished
from corral.agents.roles import Critic, Draft, Objection
from corral.agents.roles.evidence import Evidence, Finding, unsupported_names, unsupported_numbers
from corral.errors import ModelUnavailable


def draft(answer: str, *found: str, question: str = "?", known: tuple[str, ...] = ()) -> Draft:
    return Draft(
        question=question, answer=answer, findings=[Finding(tool="t", text=text) for text in found], known=known
    )


@pytest.mark.parametrize(
    ("answer", "found", "objected"),
    [
        ("It costs 42 EUR.", ["price: 42"], []),
        ("It costs 43 EUR.", ["price: 42"], ["43"]),
        ("About 1,234 users.", ['{"users": 1234}'], []),
        ("About 1.2 seconds.", ["latency 1.1873"], []),
        ("About 1.3 seconds.", ["latency 1.1873"], ["1.3"]),
        ("Together 70.", ["40 and 30"], []),
        ("Up by 50 %.", ["from 40 to 60"], []),
        ("Up by 55 %.", ["from 40 to 60"], ["55"]),
        ("There are 4 of them.", ['["a", "b", "c", "d"]'], []),
        ("There are 5 of them.", ['["a", "b", "c", "d"]'], ["5"]),
        ("1. First\n2. Then\n7. Last", [], []),
        ("Two steps: 1 and 2.", [], []),
        ("Call 2026-01-05 at 10:30 about ORD-7781 on 10.0.0.1", [], []),
        ("It fell by -17.", ["a fall of 17"], []),
        ("You asked for 99.", [], ["99"]),
    ],
)
def test_numbers_need_a_source(answer: str, found: list[str], objected: list[str]) -> None:
    assert [one.claim for one in unsupported_numbers(draft(answer, *found))] == objected


def test_the_question_and_what_is_known_are_sources_and_failures_are_none() -> None:
    assert unsupported_numbers(draft("99 it is.", question="Is it 99?")) == []
    assert unsupported_numbers(draft("99 it is.", known=("always 99",))) == []
    failed = Draft(question="?", answer="99 it is.", findings=[Finding(tool="t", text="99", error="timeout")])
    assert [one.claim for one in unsupported_numbers(failed)] == ["99"]


@pytest.mark.parametrize(
    ("answer", "found", "objected"),
    [
        ("Order ORD-7781 is late.", ["order ord-7781"], []),
        ("Order ORD-7782 is late.", ["order ord-7781"], ["ORD-7782"]),
        ("See https://status.example.com/x.", ["https://status.example.com/x"], []),
        ("Write to help@example.com.", [], ["help@example.com"]),
        ("Since 2026-01-05 on v1.4.2 (4f2a9c1d).", ["2026-01-05"], ["v1.4.2", "4f2a9c1d"]),
        ("A well-known, up-to-date answer.", [], []),
    ],
)
def test_names_need_a_source(answer: str, found: list[str], objected: list[str]) -> None:
    assert [one.claim for one in unsupported_names(draft(answer, *found))] == objected


@given(st.lists(st.decimals(-(10**6), 10**6, places=2), min_size=1, max_size=5))
def test_a_number_that_was_found_may_be_said(numbers: list[Decimal]) -> None:
    text = " ; ".join(f"{number:f}" for number in numbers)
    assert unsupported_numbers(draft(text, text)) == []
    assert unsupported_numbers(draft(f"{round(numbers[0], 1):f}", text)) == []


def test_evidence_is_bounded_and_keeps_the_newest() -> None:
    evidence = Evidence()
    for number in range(500):
        for event in looked_up("t", f"r{number}", call=f"c{number}"):
            evidence.heard(event)
    assert len(evidence.findings) == 200
    assert evidence.findings[-1].text == '{"of":"it"}\nr499'
    evidence.heard(ToolFinished(id="x", name="t", content=[{"type": "json", "json": {"n": 1}}]))
    assert evidence.findings[-1].text == '\n{"n":1}'


# -- revisions ---------------------------------------------------------------------------------------------------------


async def test_an_answer_that_stands_is_given_as_it_was_written() -> None:
    worker = Member("worker", ["It costs ", "42."], before=looked_up("price", "42"))
    events = await all_of(Critic(worker).stream("Price?"))
    assert written(events) == events[-1].output == "It costs 42."
    assert events[-1].notes["revisions"] == 0
    assert [type(event).__name__ for event in events][:2] == ["ToolStarted", "ToolFinished"]


async def test_an_answer_is_revised_with_the_objections_and_what_tools_said() -> None:
    worker = Member("worker", "It costs 43.", "It costs 42.", before=looked_up("price", "42"))
    events = await all_of(Critic(worker).stream("Price?"))
    assert written(events) == events[-1].output == "It costs 42."  # and nothing of what did not stand
    assert "- 43: No tool said" in worker.questions[1]
    assert '<result from="price" step="c1">' in worker.questions[1]
    assert [message.role for message in worker.asked[1]] == ["user", "assistant", "user"]
    assert (events[-1].notes["revisions"], events[-1].cost_usd, events[-1].steps) == (1, 1.0, 2)


async def test_what_does_not_stand_in_the_end_fails_or_is_noted() -> None:
    worker = Member("worker", "It costs 43.")
    events = await all_of(Critic(worker, revisions_max=2).stream("Price?"))
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "unsupported"
    assert "43" in events[-1].message
    assert written(events) == ""
    assert len(worker.asked) == 3
    events = await all_of(Critic(Member("worker", "It costs 43."), revisions_max=0, otherwise="note").stream("Price?"))
    assert written(events) == events[-1].output == "It costs 43."
    assert events[-1].notes["objections"][0]["claim"] == "43"


async def test_a_model_reads_what_code_found_nothing_in() -> None:
    objects = '{"objections": [{"claim": "kind", "why": "The findings say: rude."}]}'
    worker = Member("worker", "They were kind.", "They were rude.", before=looked_up("log", "They were rude."))
    with scripted(objects, '{"objections": []}') as model:
        events = await all_of(Critic(worker, by="judge", known=["Be fair."]).stream("How were they?"))
    assert events[-1].output == "They were rude."
    assert "They were rude." in model.prompts[0]
    assert "Be fair." in model.prompts[0]
    assert events[-1].cost_usd == 2 * 0.5 + 2 * 0.25


async def test_what_nobody_could_read_is_not_believed() -> None:
    with scripted(ModelUnavailable("down")):
        events = await all_of(Critic(Member("worker", "Yes."), by="judge", revisions_max=0).stream("?"))
    assert events[-1].code == "unsupported"


async def test_a_judge_that_is_not_set_up_is_no_objection() -> None:
    assert (await all_of(Critic(Member("worker", "Yes."), by="judge").stream("?")))[-1].code == "config_error"


@pytest.mark.parametrize("said", [None, True, [], "", {"objections": []}])
async def test_code_lets_an_answer_stand(said: object) -> None:
    events = await all_of(Critic(Member("worker", "Yes."), checks=(), by=lambda text: said).stream("?"))
    assert events[-1].output == "Yes."


@pytest.mark.parametrize(
    "said", ["No!", ["No!"], [Objection(claim="Yes", why="No!")], [{"claim": "Yes", "why": "No!"}]]
)
async def test_code_objects(said: object) -> None:
    def by(text: str, draft: Draft) -> object:
        return said if draft.answer == "Yes." else None

    worker = Member("worker", "Yes.", "Perhaps.")
    assert (await all_of(Critic(worker, checks=(), by=by).stream("?")))[-1].output == "Perhaps."
    assert "No!" in worker.questions[1]


async def test_checks_of_ones_own_may_wait() -> None:
    async def check(draft: Draft) -> list[Objection]:
        return [Objection(claim=draft.answer, why="Never.")]

    events = await all_of(Critic(Member("worker"), checks=[check], revisions_max=0).stream("?"))
    assert events[-1].code == "unsupported"


@pytest.mark.parametrize(
    "end",
    [Failed(agent="worker", code="timeout", message="Late."), Finished(agent="worker", reason="paused", run_id="r-1")],
)
async def test_a_run_without_an_answer_is_not_checked(end: Failed | Finished) -> None:
    (last,) = await all_of(Critic(Member("worker", end), name="careful").stream("?"))
    assert last.agent == "careful"
    assert (last.code == "timeout") if isinstance(last, Failed) else (last.run_id == "r-1")
