"""The arithmetic of budgets: nothing is lost, nothing is counted twice, and nobody is given what is not there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from corral.limits.accounts import NOTHING, Account, Amount, Ask, Terms, amount_of, decode_account, exchanged

LEASE_S = 30.0
amounts = st.builds(Amount, st.integers(0, 400), st.integers(0, 40))


def asked(account, terms, now=0.0, **ask):
    return exchanged(
        account, Ask(**{"worker": "w", "said": NOTHING, "counted": NOTHING, **ask}), terms=terms, most=terms, now=now
    )


def test_what_is_needed_is_given_or_nothing():
    terms = Terms(100, None)
    account, grant = asked(Account(), terms, need=Amount(60, 5))
    assert (grant.given, grant.held) == (True, Amount(60, 5))
    account, grant = asked(account, terms, worker="v", need=Amount(41))
    assert (grant.given, grant.held) == (False, NOTHING)
    _, grant = asked(account, terms, worker="v", need=Amount(40))
    assert grant.given


def test_both_money_and_tokens_have_to_be_there():
    terms = Terms(100, 10)
    assert not asked(Account(), terms, need=Amount(1, 11))[1].given
    assert not asked(Account(), terms, need=Amount(101, 1))[1].given
    assert asked(Account(), terms, need=Amount(100, 10))[1].given


def test_what_a_dead_worker_held_is_free_after_its_lease():
    terms = Terms(100, None)
    account, _ = asked(Account(), terms, worker="dead", need=Amount(100), lease_s=LEASE_S)
    assert not asked(account, terms, now=LEASE_S - 1, need=Amount(1))[1].given
    assert asked(account, terms, now=LEASE_S + 1, need=Amount(100))[1].given


def test_who_says_it_twice_has_said_it_once():
    terms = Terms(100, None)
    first, _ = asked(Account(), terms, said=Amount(30))
    again, grant = asked(first, terms, said=Amount(30))  # the first answer was lost: nothing is counted here
    assert (again.spent, grant.spent) == (Amount(30), Amount(30))
    more, _ = asked(again, terms, said=Amount(50), counted=Amount(30))
    assert more.spent == Amount(50)


def test_a_worker_that_was_forgotten_goes_on_where_it_was():
    terms = Terms(100, None)
    account, _ = asked(Account(), terms, said=Amount(30))
    account, _ = asked(account, terms, now=10_000.0, worker="v")
    assert "w" not in account.holds
    account, _ = asked(account, terms, now=10_001.0, said=Amount(35), counted=Amount(30))
    assert account.spent == Amount(35)


def test_steps_are_told_once():
    terms = Terms(100, None)
    account, grant = asked(Account(), terms, said=Amount(79), steps=(0.8, 1.0))
    assert grant.news == ()
    account, grant = asked(account, terms, said=Amount(95), steps=(0.8, 1.0))
    assert grant.news == (0.8,)
    account, grant = asked(account, terms, said=Amount(95), worker="v", counted=Amount(95), steps=(0.8, 1.0))
    assert grant.news == ()
    account, grant = asked(account, terms, said=Amount(95), need=Amount(9), steps=(0.8, 1.0))
    assert (grant.given, grant.news) == (False, (1.0,))  # who is refused near the end has reached it
    assert decode_account(account.encoded()) == account


def test_who_asks_for_too_much_at_once_has_not_reached_the_end():
    _, grant = asked(Account(), Terms(100, None), need=Amount(101), steps=(1.0,))
    assert (grant.given, grant.news) == (False, ())


@given(st.floats(0, 1e6), st.floats(0, 1e9))
def test_amounts_are_never_less_than_they_are(usd, tokens):
    amount = amount_of(usd, tokens)
    assert amount.usd >= usd - 1e-9
    assert amount.tokens >= tokens
    assert amount_of(-usd, -tokens) == NOTHING
    assert amount_of(None) == NOTHING


class Workers(RuleBasedStateMachine):
    """Three workers and one account. Now and then an answer is lost, and now and then a worker dies."""

    def __init__(self):
        super().__init__()
        self.terms = Terms(1_000, 100)
        self.account = Account()
        self.now = 0.0
        self.serial = 3
        self.workers = {f"w{index}": {"said": NOTHING, "counted": NOTHING, "using": []} for index in range(3)}
        self.settled = NOTHING
        self.beyond = NOTHING
        """What calls cost beyond their estimates."""
        self.unsaid = NOTHING

    @rule(index=st.integers(0, 2), need=amounts, more=amounts, lost=st.booleans())
    def reserve(self, index, need, more, lost):
        name = sorted(self.workers)[index]
        one = self.workers[name]
        using = sum(one["using"], NOTHING)
        ask = Ask(worker=name, said=one["said"], counted=one["counted"], using=using, need=need, more=more)
        self.account, grant = exchanged(self.account, ask, terms=self.terms, most=self.terms, now=self.now)
        if lost:
            return
        one["counted"] = one["said"]
        if grant.given:
            one["using"].append(need)

    @rule(index=st.integers(0, 2), cost=amounts)
    def settle(self, index, cost):
        one = self.workers[sorted(self.workers)[index]]
        if one["using"]:
            reserved = one["using"].pop()
            one["said"] += cost
            self.settled += cost
            self.beyond += Amount(max(0, cost.nano - reserved.nano), max(0, cost.tokens - reserved.tokens))

    @rule(index=st.integers(0, 2))
    def die(self, index):
        name = sorted(self.workers)[index]
        one = self.workers.pop(name)
        hold = self.account.holds.get(name)
        heard = hold.said if hold else NOTHING
        self.unsaid += one["said"] - heard
        self.now += LEASE_S + 1
        for other in self.workers.values():  # nobody lives so long without a word
            other["using"] = []
        self.serial += 1
        self.workers[f"w{self.serial}"] = {"said": NOTHING, "counted": NOTHING, "using": []}

    @invariant()
    def nothing_is_lost_or_counted_twice(self):
        heard = NOTHING
        for name, one in self.workers.items():
            hold = self.account.holds.get(name)
            heard += one["said"] - (hold.said if hold else NOTHING)
        assert self.account.spent + heard + self.unsaid == self.settled

    @invariant()
    def nothing_is_negative_and_nobody_has_what_is_not_there(self):
        spent, held = self.account.spent, self.account.held(self.now)
        for one in (spent, held):
            assert one.nano >= 0
            assert one.tokens >= 0
        assert spent.nano + held.nano <= self.terms.nano + self.beyond.nano
        assert spent.tokens + held.tokens <= self.terms.tokens + self.beyond.tokens


TestWorkers = Workers.TestCase
