"""Keys as one worker knows them: made, shown, exchanged, taken back, and made up."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from corral.backends.open import open_stores
from corral.clock import SYSTEM_CLOCK
from corral.errors import StoreUnavailable, ValidationFailed
from corral.security import keyring as room
from corral.security.issuing import KeyDesk
from corral.security.key_store import Grant, KeyNotFound
from corral.security.keyring import KeyRing, Known
from corral.security.keys import (
    access_key_of,
    aws_secret,
    digest_of,
    id_of_access_key,
    id_of_key,
    is_ours,
    is_whole,
    new_key,
)
from ready import ready_url

SECRET = "a secret of more than thirty-two characters"


class Turned:
    """A clock that goes on from now when the test turns it."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return SYSTEM_CLOCK.now() + self.ahead

    def monotonic(self):
        return self.ahead


class Counted:
    """A store of keys that counts what it is asked, and may be away."""

    def __init__(self, keys):
        self._keys = keys
        self.asked = []
        self.away = False

    def __getattr__(self, name):
        async def ask(*given, **named):
            self.asked.append(name)
            if self.away:
                raise StoreUnavailable
            return await getattr(self._keys, name)(*given, **named)

        return ask


@pytest.fixture
async def stores(tmp_path):
    stores = open_stores(ready_url(tmp_path))
    await stores.start()
    yield stores
    await stores.stop()


@pytest.fixture
def clock():
    return Turned()


@pytest.fixture
def keys(stores):
    return Counted(stores.keys)


@pytest.fixture
async def ring(keys, clock):
    ring = KeyRing(keys, clock=clock)
    await ring.start()
    yield ring
    keys.away = False
    await ring.stop()


@pytest.fixture
def desk(stores):
    return KeyDesk(stores.keys, secret=SECRET)


async def test_a_key_says_who_calls(ring, desk):
    assert not await ring.in_use()
    grant = Grant(name="ci", tier="gold", roles=("developer", "billing"), agents=("a*",), models=("m",))
    made = await desk.create("acme", grant)
    assert made.key.startswith(f"corral_live_{made.record.id}_")
    assert id_of_key(made.key) == made.record.id
    assert is_whole(made.key)
    assert made.key not in repr(made)
    assert made.record.digest == digest_of(made.key)
    ring._ask_again_at = 0.0
    found = await ring.find(made.key)
    assert found == Known("acme", "gold", ("developer", "billing"), made.record.id, agents=("a*",), models=("m",))
    assert await ring.in_use()


async def test_who_says_no_role_gets_the_least(desk):
    assert (await desk.create("acme", Grant())).record.grant.roles == ("invoker",)
    assert (await desk.create("acme", Grant(roles=("billing",)))).record.grant.roles == ("invoker", "billing")


async def test_what_is_not_the_key_is_not_let_in(ring, desk):
    made, other = await desk.create("acme", Grant()), await desk.create("acme", Grant())
    key_id = made.record.id
    for wrong in (
        "",
        "corral_live_",
        made.key[:-1],
        made.key + "x",
        made.key.replace("live", "test"),
        made.key.swapcase(),
        f"corral_live_{key_id}_{other.key.rpartition('_')[2]}",
        made.key.replace(key_id, other.record.id),
        made.key + "\n",
        made.key[:40] + "é" + made.key[41:],
    ):
        assert await ring.find(wrong) is None, wrong
    assert await ring.find(made.key)


async def test_a_known_key_asks_the_store_once_a_second_for_all(ring, desk, keys, clock):
    made = [await desk.create("acme", Grant()) for _ in range(3)]
    for _ in range(50):
        await asyncio.gather(*(ring.find(one.key) for one in made))
    assert keys.asked == ["head", "find", "find", "find"]
    clock.ahead = 1.0
    await asyncio.gather(*(ring.find(one.key) for one in made))
    assert keys.asked == ["head", "find", "find", "find", "head"]


async def test_what_is_revoked_is_refused_a_second_later(ring, desk, clock):
    made = await desk.create("acme", Grant())
    assert await ring.find(made.key)
    await desk.revoke("acme", made.record.id)
    clock.ahead = room.FRESH_S
    assert await ring.find(made.key) is None
    with pytest.raises(KeyNotFound):
        await desk.revoke("other", made.record.id)


async def test_a_change_between_question_and_answer_is_not_lost(ring, desk, keys, clock, stores):
    made = await desk.create("acme", Grant())
    await ring.find((await desk.create("acme", Grant())).key)
    clock.ahead = 1.0
    await ring.in_use()
    find = stores.keys.find

    async def slowly(key_id):
        found = await find(key_id)
        await desk.revoke("acme", made.record.id)
        clock.ahead = 2.0
        await ring.in_use()  # somebody else hears of it first
        return found

    keys.find = slowly
    await ring.find(made.key)
    del keys.find
    assert await ring.find(made.key) is None


async def test_keys_run_out_by_themselves(ring, desk, clock):
    made = await desk.create("acme", Grant(), ttl_s=100)
    assert await ring.find(made.key)
    clock.ahead = 0.5  # nothing is asked anew
    ring._clock.now = lambda: SYSTEM_CLOCK.now() + 101
    assert await ring.find(made.key) is None


async def test_the_key_before_is_good_for_its_grace(ring, desk, clock):
    first = await desk.create("acme", Grant())
    second = await desk.rotate("acme", first.record.id, grace_s=60)
    assert await ring.find(first.key) == await ring.find(second.key)
    clock.ahead = 61.0
    assert await ring.find(first.key) is None
    assert await ring.find(second.key)
    third = await desk.rotate("acme", first.record.id, grace_s=0)
    clock.ahead = 63.0
    assert await ring.find(second.key) is None
    assert await ring.find(third.key)


async def test_made_up_keys_ask_the_store_nothing(ring, desk, keys):
    made = await desk.create("acme", Grant())
    await ring.find(made.key)
    keys.asked.clear()
    counter = itertools.count()

    def entropy(size):
        return next(counter).to_bytes(size, "big")

    for _ in range(500):
        foreign = new_key(b"a seal of somebody else", entropy)
        assert is_whole(foreign.key)
        assert await ring.find(foreign.key) is None
        assert await ring.find_pair(access_key_of(foreign.id)) is None
    assert keys.asked == []
    assert list(ring._known) == [made.record.id]


async def test_what_is_known_is_bounded(ring, desk, monkeypatch):
    monkeypatch.setattr(room, "KNOWN_MAX", 3)
    made = [await desk.create("acme", Grant()) for _ in range(6)]
    for one in made:
        assert await ring.find(one.key)
    assert list(ring._known) == [one.record.id for one in made[3:]]
    assert await ring.find(made[0].key), "one that was forgotten is asked for again"


async def test_keys_that_are_known_go_on_while_the_store_is_away(ring, desk, keys, clock):
    made, other = await desk.create("acme", Grant()), await desk.create("acme", Grant())
    assert await ring.find(made.key)
    keys.away = True
    clock.ahead = room.STALE_S
    assert await ring.find(made.key)
    with pytest.raises(StoreUnavailable):
        await ring.find(other.key)
    clock.ahead = room.STALE_S + 1.1
    with pytest.raises(StoreUnavailable):
        await ring.find(made.key)
    assert await ring.in_use(), "an open door stays open, and a closed one closed"
    keys.away = False
    clock.ahead += 1.1
    assert await ring.find(made.key)


async def test_who_asks_first_while_the_store_is_away_hears_it(ring, keys):
    keys.away = True
    assert not await ring.in_use()
    with pytest.raises(StoreUnavailable):
        await ring.find("corral_live_aaaaaaaaaaaaaaaa_" + "0" * 49)


async def test_the_last_use_is_written_once_a_minute(ring, desk, keys, clock, stores):
    made = await desk.create("acme", Grant())
    for _ in range(20):
        await ring.find(made.key)
    await ring.drain()
    assert keys.asked.count("touch") == 1
    first = (await stores.keys.find(made.record.id)).last_used_at
    assert first is not None
    clock.ahead = 61.0
    await ring.find(made.key)
    await ring.drain()
    assert (await stores.keys.find(made.record.id)).last_used_at > first + 60


async def test_who_waits_may_leave(ring, desk, clock):
    made = await desk.create("acme", Grant())
    leaves, stays = asyncio.create_task(ring.find(made.key)), asyncio.create_task(ring.find(made.key))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays


async def test_a_pair_goes_with_a_key_that_asks_for_one(ring, desk):
    plain, signing = await desk.create("acme", Grant()), await desk.create("acme", Grant(aws=True))
    assert (plain.access_key, plain.secret_key) == ("", "")
    assert signing.access_key == access_key_of(signing.record.id)
    assert id_of_access_key(signing.access_key) == signing.record.id
    assert signing.secret_key == aws_secret(SECRET, signing.record.id, 1)
    assert (len(signing.access_key), len(signing.secret_key)) == (20, 40)
    record, known = await ring.find_pair(signing.access_key)
    assert (record.id, known.tenant) == (signing.record.id, "acme")
    assert await ring.find_pair(access_key_of(plain.record.id)) is None
    turned = await desk.rotate("acme", signing.record.id)
    assert turned.access_key == signing.access_key
    assert turned.secret_key != signing.secret_key


async def test_what_a_key_cannot_be_is_said(stores, desk):
    bare = KeyDesk(stores.keys)
    with pytest.raises(ValidationFailed, match=r"security\.secret"):
        await bare.create("acme", Grant(aws=True))
    for wrong in (Grant(name="x" * 201), Grant(roles=("",)), Grant(agents=("a\n",)), Grant(models=("m",) * 51)):
        with pytest.raises(ValidationFailed):
            await desk.create("acme", wrong)
    for ttl_s in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValidationFailed, match="ttl_s"):
            await desk.create("acme", Grant(), ttl_s=ttl_s)
    made = await desk.create("acme", Grant())
    with pytest.raises(ValidationFailed, match="grace_s"):
        await desk.rotate("acme", made.record.id, grace_s=-1)
    with pytest.raises(KeyNotFound):
        await desk.rotate("other", made.record.id)


def test_marks_tell_ids_of_this_installation():
    made = new_key(b"seal", lambda size: bytes(range(size)))
    assert is_ours(made.id, b"seal")
    assert not is_ours(made.id, b"leas")
    assert not is_whole(made.key[:-1] + ("a" if made.key[-1] != "a" else "b"))
