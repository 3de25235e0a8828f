from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import AgentFailed, NotFound, Overloaded, StoreUnavailable, ValidationFailed
from corral.jobs.job import Backoff
from corral.jobs.retrying import MESSAGE_MAX, RETRY_AFTER_MAX_S, TRACEBACK_MAX, Retrying, describe, put_off_s

PLAIN = Backoff(initial_s=1, factor=2, max_s=300, jitter=0)

backoffs = st.builds(
    Backoff,
    initial_s=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    max_s=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


class Mine(Exception):
    pass


class Finer(Mine):
    pass


def judge(error, *, failures=0, max_attempts=3, backoff=PLAIN, **rules):
    retrying = Retrying(chance=lambda: 0.5, **rules)
    return retrying.judge(error, failures=failures, max_attempts=max_attempts, backoff=backoff)


def wrapped(error):
    failed = AgentFailed(str(error), original=error)
    failed.__cause__ = error
    return failed


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@given(backoffs, st.integers(0, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_pause_keeps_to_its_bounds(backoff, failures, chance, asked):
    pause = Retrying(chance=lambda: chance).delay_s(backoff, failures, asked_s=asked)
    least = min(asked or 0.0, RETRY_AFTER_MAX_S)
    assert least <= pause <= max(backoff.max_s, least)


@given(backoffs, st.integers(0, 200))
def test_without_jitter_a_pause_never_gets_shorter(backoff, failures):
    retrying = Retrying(chance=lambda: 0.0)
    assert retrying.delay_s(backoff, failures) <= retrying.delay_s(backoff, failures + 1)


@given(backoffs, st.integers(0, 200))
def test_jitter_takes_away_no_more_than_its_share(backoff, failures):
    whole = Retrying(chance=lambda: 0.0).delay_s(backoff, failures)
    least = Retrying(chance=lambda: 1.0).delay_s(backoff, failures)
    assert least == pytest.approx(whole * (1 - backoff.jitter))


@given(st.integers(0, 20), st.integers(1, 20))
def test_a_job_fails_when_its_attempts_are_used_up(failures, max_attempts):
    verdict = judge(Mine("no"), failures=failures, max_attempts=max_attempts)
    assert verdict.kind == ("failed" if failures + 1 >= max_attempts else "retry")


def test_pauses_double():
    assert [judge(Mine(), failures=n, max_attempts=99).delay_s for n in range(4)] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Mine("no"), True),
        (wrapped(Mine("no")), True),
        (StoreUnavailable(), True),
        (ValidationFailed("no prompt"), False),
        (NotFound("no such agent"), False),
        (wrapped(ValidationFailed("no")), False),
        (AgentFailed("no"), True),
        (asyncio.CancelledError(), True),
        (SystemExit(3), True),
    ],
)
def test_an_error_says_whether_trying_again_helps(error, retryable):
    verdict = judge(error)
    assert verdict.kind == ("retry" if retryable else "failed")
    assert verdict.error.retryable is retryable


def test_an_agents_own_error_may_say_so_too():
    error = Mine("no")
    error.retryable = False
    assert judge(wrapped(error)).kind == "failed"


@pytest.mark.parametrize("name", ["Finer", "Mine", f"{__name__}.Mine", "Exception"])
def test_classes_by_name_with_their_bases(name):
    assert judge(wrapped(Finer("no")), never=[name]).kind == "failed"


def test_the_nearest_class_decides():
    assert judge(Finer(), never=["Mine"], always=["Finer"]).kind == "retry"
    assert judge(Finer(), never=["Finer"], always=["Mine"]).kind == "failed"
    assert judge(ValidationFailed(), always=["corral.errors.ValidationFailed"]).kind == "retry"
    assert judge(ValidationFailed(), always=["BadRequest"]).kind == "retry"
    assert judge(Mine(), never=["Finer"]).kind == "retry"


def test_a_longer_retry_after_goes_first():
    assert judge(Overloaded(retry_after_s=70)).delay_s == 70
    assert judge(Overloaded(retry_after_s=0.1)).delay_s == 1
    error = Mine("slow down")
    error.retry_after = 12
    assert judge(wrapped(error)).delay_s == 12
    assert judge(Overloaded(retry_after_s=1e12)).delay_s == RETRY_AFTER_MAX_S


def test_what_people_read_is_redacted_and_bounded():
    secret = "sk-" + "a" * 40
    error = describe(wrapped(raised(Mine(f"key {secret} " + "x" * 10_000))), retryable=True)
    assert (error.code, error.type) == ("agent_error", f"{__name__}.Mine")
    assert secret not in error.message
    assert secret not in error.traceback
    assert len(error.message) == MESSAGE_MAX
    assert len(error.traceback) <= TRACEBACK_MAX
    assert describe(raised(Mine("here")), retryable=True).traceback.rstrip().endswith("Mine: here")


def test_an_error_that_cannot_speak_is_described_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    error = describe(raised(Mute()), retryable=True)
    assert error.message == "Mute"
    assert describe(Mine("\x00\ud800"), retryable=True).message == "\ufffd?"
    assert describe(Mine(), retryable=True).message == "Mine"
    assert describe(asyncio.CancelledError(), retryable=True).message == "The agent was cancelled from inside."
    assert describe(ValueError("x"), retryable=True).type == "ValueError"


class Hostile(Exception):
    @property
    def retry_after(self):
        raise RuntimeError

    @property
    def retryable(self):
        raise RuntimeError


class Endless(Exception):
    retry_after = 10**400


def test_an_error_whose_attributes_cannot_be_read_is_judged_all_the_same():
    assert judge(Hostile()).kind == "retry"
    assert judge(Endless()).delay_s == RETRY_AFTER_MAX_S


def test_an_error_may_ask_to_be_put_off():
    class Later(Exception):
        put_off_s = 60

    class Never(Exception):
        @property
        def put_off_s(self):
            raise RuntimeError

    assert put_off_s(AgentFailed(original=Later())) == 60.0
    assert put_off_s(Never()) is None
    for strange in (True, -1, 0, "soon", None, float("nan")):
        error = Mine()
        error.put_off_s = strange
        assert put_off_s(error) is None
    error = Mine()
    error.put_off_s = 1e12
    assert put_off_s(error) == RETRY_AFTER_MAX_S
