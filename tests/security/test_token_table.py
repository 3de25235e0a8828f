"""Tokens of others: whom they name, and all the ways in which one is refused."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from token_scene import AUDIENCE, ISSUER, claims, encoded, jwks, public_text, rsa_jwk, signature, stranger, token

from corral.errors import ConfigError, OutboundFailed, StoreUnavailable
from corral.security import tokens as room
from corral.security.jwks import REFETCH_S, STALE_S, IssuerUnavailable
from corral.security.keyring import Known
from corral.security.tokens import TOKEN_MAX, TokenRefused, Tokens, looks_signed
from corral.settings.identity_sections import JwtIssuer

NOW = 1_800_000_000.0
SECRET = "a secret of thirty-two characters"


class Turned:
    """A clock that the test turns."""

    def __init__(self):
        self.at = 0.0

    def now(self):
        return NOW + self.at

    def monotonic(self):
        return 50.0 + self.at


class Spent:
    """What remembers tokens that are good once."""

    def __init__(self):
        self.marks = {}

    async def spend(self, mark, *, until):
        if mark in self.marks:
            return False
        self.marks[mark] = until
        return True


class Site:
    """The issuer's site: what it answers, and how often it was asked."""

    def __init__(self, keys=None):
        self.keys = jwks() if keys is None else keys
        self.asked = []
        self.away = False

    async def fetch(self, url):
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.away:
            raise OutboundFailed
        if url.endswith("/openid-configuration"):
            return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}).encode()
        return json.dumps({"keys": self.keys}).encode()


@pytest.fixture
def clock():
    return Turned()


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def tokens_of(clock, site):
    def make(*, store=None, **said):
        settings = JwtIssuer(issuer=ISSUER, audience=[AUDIENCE], **said)
        return Tokens([settings], store or Spent(), clock=clock, fetch=lambda _: site.fetch)

    return make


ALL = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"]


@pytest.mark.parametrize("algorithm", ALL)
async def test_a_good_token_says_who_calls(tokens_of, algorithm):
    kid = {"ES256": "e1", "EdDSA": "d1"}.get(algorithm, "r1")
    found = await tokens_of(algorithms=ALL).find(token(claims(NOW), alg=algorithm, kid=kid))
    assert found == Known("acme", "", ("invoker",), f"jwt {ISSUER}", user_id="ada")


async def test_a_shared_secret_is_enough(tokens_of, site):
    tokens = tokens_of(algorithms=["HS256"], secret=SECRET)
    assert (await tokens.find(token(claims(NOW), alg="HS256", secret=SECRET.encode()))).user_id == "ada"
    with pytest.raises(TokenRefused):
        await tokens.find(token(claims(NOW), alg="HS256", secret=b"another secret of the same length"))
    assert site.asked == []


def badly_signed():
    """What is shown, and the words that say why it is refused."""
    head, body, sign = token(claims(NOW)).split(".")
    other_key = stranger()
    yield "no signature at all", token(claims(NOW), alg="none"), "way that is allowed"
    yield (
        "none, in capitals",
        token(claims(NOW), alg="none").replace(
            encoded({"alg": "none", "typ": "JWT", "kid": "r1"}), encoded({"alg": "NONE", "kid": "r1"})
        ),
        "way that is allowed",
    )
    yield "an empty signature", f"{head}.{body}.", "signature is not good"
    yield "the public key as a secret", token(claims(NOW), alg="HS256", secret=public_text()), "way that is allowed"
    yield "an algorithm of the other family", token(claims(NOW), alg="ES256", kid="r1"), "does not show"
    yield "an algorithm that is not allowed", token(claims(NOW), alg="RS512"), "way that is allowed"
    yield "a stranger's key", token(claims(NOW), key=other_key), "signature is not good"
    yield "a stranger's key in the header", token(claims(NOW), key=other_key, jwk=rsa_jwk(key=other_key)), "not good"
    yield "a key at a stranger's", token(claims(NOW), key=other_key, jku="https://evil.example/keys"), "not good"
    yield "a key that is not there", token(claims(NOW), kid="r9"), "does not show"
    yield "a key in a path", token(claims(NOW), kid="../../dev/null"), "does not show"
    yield "a key for encryption", token(claims(NOW), kid="for-encryption"), "does not show"
    yield "a secret of the set", token(claims(NOW), alg="RS256", kid="o1"), "does not show"
    yield "no key where there are several", token(claims(NOW), kid=""), "does not show"
    yield "extensions that must be understood", token(claims(NOW), crit=["exp"]), "way that is allowed"
    yield "another body", f"{head}.{encoded(claims(NOW, tenant='other'))}.{sign}", "signature is not good"
    yield "another head", f"{encoded({'alg': 'RS256', 'kid': 'r1'})}.{body}.{sign}", "signature is not good"


def badly_said():
    """As above: the signature is good, and what it says is not."""
    yield "run out", token(claims(NOW, iat=NOW - 700, exp=NOW - 31)), "run out"
    yield "not yet good", token(claims(NOW, nbf=NOW + 31)), "future"
    yield "made tomorrow", token(claims(NOW, iat=NOW + 86_400, exp=NOW + 86_401)), "future"
    yield "good for a year", token(claims(NOW, exp=NOW + 31_536_000)), "longer"
    yield "good for a year, and silent on its age", token(claims(NOW, iat=..., exp=NOW + 31_536_000)), "longer"
    yield "good for ever", token(claims(NOW, exp=...)), "lacks"
    yield "an end that is no number", token(claims(NOW, exp="soon")), "lacks"
    yield "an end beyond all numbers", token(json.dumps(claims(NOW)).encode().replace(b"1800000600.0", b"1e999")), ""
    yield "for somebody else", token(claims(NOW, aud="another-service")), "somebody else"
    yield "for others", token(claims(NOW, aud=["a", "b"])), "somebody else"
    yield "for nobody", token(claims(NOW, aud=...)), "lacks"
    yield "from somebody else", token(claims(NOW, iss="https://evil.example")), "issuer"
    yield "from nearly the same", token(claims(NOW, iss=ISSUER + "/")), "issuer"
    yield "from nobody", token(claims(NOW, iss=...)), "lacks"
    yield "without a tenant", token(claims(NOW, tenant=...)), "`tenant`"
    yield "a tenant that is no text", token(claims(NOW, tenant=["acme"])), "`tenant`"
    yield "a tenant that cannot be seen", token(claims(NOW, tenant="acme\u202e\n")), "`tenant`"
    yield "without a user", token(claims(NOW, sub="")), "`sub`"


def not_tokens():
    """As above: nobody can read it."""
    good = token(claims(NOW))
    head, body, sign = good.split(".")
    yield "two parts", f"{head}.{body}", "three parts"
    yield "five parts, encrypted", f"{head}.{body}.{sign}.{sign}.{sign}", "three parts"
    yield "not base64", f"{head}.{body}.*!*", "cannot be read"
    yield "not JSON", f"{head}.{encoded(b'no')}.{sign}", "cannot be read"
    yield "a list", f"{encoded(b'[]')}.{body}.{sign}", "cannot be read"
    yield "deeply nested", token(b'{"iss":' + b"[" * 5000 + b"]" * 5000 + b"}"), ""
    yield "half a character", good + "\ud800", "cannot be read"
    yield "oversized", token(claims(NOW, padding="x" * TOKEN_MAX)), "more than"


BAD = [*badly_signed(), *badly_said(), *not_tokens()]


@pytest.mark.parametrize(("shown", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_bad_token_is_refused(tokens_of, shown, why):
    with pytest.raises(TokenRefused) as refused:
        await tokens_of().find(shown)
    assert refused.value.status == 401
    assert why in refused.value.message


async def test_a_clock_that_is_a_little_off_is_forgiven(tokens_of):
    tokens = tokens_of(leeway_s=30)
    await tokens.find(token(claims(NOW, iat=NOW - 600, exp=NOW - 29)))
    await tokens.find(token(claims(NOW, iat=NOW + 29, nbf=NOW + 29)))


async def test_a_token_is_remembered_until_it_runs_out(tokens_of, clock, monkeypatch):
    tokens, shown = tokens_of(), token(claims(NOW))
    first = await tokens.find(shown)
    monkeypatch.setattr(room, "unpadded", None)  # whoever reads it again fails
    assert await tokens.find(shown) is first
    clock.at = 629.0
    assert await tokens.find(shown) is first
    monkeypatch.undo()
    clock.at = 630.0
    with pytest.raises(TokenRefused, match="run out"):
        await tokens.find(shown)


async def test_what_is_remembered_is_bounded(tokens_of, monkeypatch):
    monkeypatch.setattr(room, "KNOWN_MAX", 3)
    tokens = tokens_of(algorithms=["HS256"], secret=SECRET)
    for n in range(10):
        await tokens.find(token(claims(NOW, sub=f"u-{n}"), alg="HS256", secret=SECRET.encode()))
    assert len(tokens._good) == 3


async def test_a_token_for_one_request_is_not_shown_twice(tokens_of):
    spent = Spent()
    here, there = tokens_of(once=True, store=spent), tokens_of(once=True, store=spent)
    shown = token(claims(NOW, jti="t-1"))
    assert (await here.find(shown)).user_id == "ada"
    for tokens in (here, there):
        with pytest.raises(TokenRefused, match="shown before"):
            await tokens.find(shown)
    with pytest.raises(TokenRefused, match="`jti`"):
        await here.find(token(claims(NOW)))
    assert list(spent.marks.values()) == [NOW + 630]


async def test_when_nobody_remembers_a_token_for_one_request_is_not_taken(tokens_of):
    class Away:
        async def spend(self, mark, *, until):
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await tokens_of(once=True, store=Away()).find(token(claims(NOW, jti="t-1")))


async def test_claims_mean_what_the_settings_say(tokens_of):
    tokens = tokens_of(
        tenant_claim="org.id",
        user_claim="https://example/user",
        tier_claim="plan",
        tier="free",
        roles_claim="realm.roles",
        roles={"ops": ["operator"], "money": ["auditor", "billing"]},
        roles_always=[],
    )
    said = {"org": {"id": "acme"}, "https://example/user": "ada", "realm": {"roles": ["ops", "money", "admin", 7]}}
    found = await tokens.find(token(claims(NOW, tenant=..., plan="gold", **said)))
    assert (found.tenant, found.user_id, found.tier) == ("acme", "ada", "gold")
    assert found.roles == ("operator", "auditor", "billing"), "a word that is not named means nothing"
    plain = await tokens.find(token(claims(NOW, tenant=..., **{**said, "realm": {"roles": "ops x"}})))
    assert (plain.roles, plain.tier) == (("operator",), "free")
    nobody = await tokens.find(token(claims(NOW, tenant=..., **{**said, "realm": None})))
    assert nobody.roles == ("none",), "never the rights of a key whose roles say nothing"


async def test_an_issuer_may_stand_for_one_tenant(tokens_of):
    assert (await tokens_of(tenant="shop").find(token(claims(NOW, tenant="other")))).tenant == "shop"


async def test_keys_are_fetched_once_for_all_who_wait(tokens_of, site):
    tokens = tokens_of()
    await asyncio.gather(*(tokens.find(token(claims(NOW, sub=f"u-{n}"))) for n in range(20)))
    assert site.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


async def test_made_up_key_ids_do_not_make_us_ask_again_and_again(tokens_of, site, clock):
    tokens = tokens_of(jwks_url=f"{ISSUER}/keys")
    for n in range(50):
        with pytest.raises(TokenRefused):
            await tokens.find(token(claims(NOW), kid=f"made-up-{n}"))
    assert len(site.asked) == 1
    new = stranger()
    site.keys.append(rsa_jwk("r2", new))
    clock.at = REFETCH_S
    assert (await tokens.find(token(claims(NOW), kid="r2", key=new))).user_id == "ada"
    assert len(site.asked) == 2


async def test_an_issuer_that_is_away_is_a_503_and_known_keys_go_on(tokens_of, site, clock):
    site.away = True
    tokens = tokens_of(keys_keep_s=100, lifetime_max_s=1e6)
    with pytest.raises(IssuerUnavailable) as away:
        await tokens.find(token(claims(NOW)))
    assert away.value.status == 503
    site.away, clock.at = False, REFETCH_S
    await tokens.find(token(claims(NOW)))
    site.away, clock.at = True, 200.0
    assert (await tokens.find(token(claims(NOW, sub="bob")))).user_id == "bob"
    clock.at = STALE_S + 100
    with pytest.raises(IssuerUnavailable):
        await tokens.find(token(claims(NOW, sub="eve", exp=NOW + 200_000)))


async def test_what_an_issuer_took_back_is_refused_once_its_keys_are_fetched_anew(tokens_of, site, clock):
    tokens = tokens_of(keys_keep_s=100)
    await tokens.find(token(claims(NOW)))
    site.keys, clock.at = [rsa_jwk("r2", stranger())], 101.0
    with pytest.raises(TokenRefused, match="does not show"):
        await tokens.find(token(claims(NOW, sub="bob")))


async def test_a_description_of_another_issuer_is_not_believed(clock, site):
    settings = JwtIssuer(issuer="https://other.example", audience=[AUDIENCE])
    tokens = Tokens([settings], Spent(), clock=clock, fetch=lambda _: site.fetch)
    with pytest.raises(IssuerUnavailable):
        await tokens.find(token(claims(NOW, iss="https://other.example")))


async def test_a_key_says_what_it_is_for(tokens_of, site):
    site.keys = [rsa_jwk(alg="RS512")]
    tokens = tokens_of(algorithms=["RS256", "RS512"])
    with pytest.raises(TokenRefused, match="does not show"):
        await tokens.find(token(claims(NOW)))
    assert await tokens.find(token(claims(NOW), alg="RS512"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"algorithms": ["HS256", "RS256"], "secret": SECRET}, "no other"),
        ({"algorithms": ["HS256"], "secret": "short"}, "32 bytes"),
        ({"secret": SECRET}, "HS256"),
    ],
)
def test_settings_that_cannot_be_safe_are_refused(tokens_of, said, why):
    with pytest.raises(ConfigError, match=why):
        tokens_of(**said)


def test_no_issuer_comes_twice():
    one = JwtIssuer(issuer=ISSUER, audience=[AUDIENCE])
    with pytest.raises(ConfigError, match="two entries"):
        Tokens([one, one], Spent())


def test_none_is_no_algorithm_of_the_settings():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"issuer": ISSUER, "audience": ["a"], "algorithms": ["none"]}, JwtIssuer)


def test_what_is_meant_as_a_token():
    assert looks_signed(token(claims(NOW)))
    assert not looks_signed("corral_live_x")
    assert signature("none", b"") == b""
