"""Tokens of others (JWT, OpenID Connect): who signed them, for whom, until when, and whom they name.

How a token may be signed is decided by the settings and by the key, never by the token: `none` is no signature, and a public key
is not a shared secret. What was found good is remembered by its digest until it runs out.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import ConfigError, OutboundFailed, Unauthenticated
from corral.outbound.client import Outbound
from corral.security.jwks import Fetch, KeySet
from corral.security.key_store import KeyStore
from corral.security.keyring import Known
from corral.security.public_keys import PublicKey, check_installed, shared_key, unpadded
from corral.settings.identity_sections import JwtIssuer

TOKEN_MAX = 8_192
"""Characters; longer ones are refused before anything is read."""
KNOWN_MAX = 10_000
_SECRET_BYTES_MIN = 32
_ANSWER_MAX = 262_144
_TIMEOUT_S = 5.0
_GOOD = 200
_WORD_CHARS_MAX = 256
_WORDS_MAX = 100
_PARTS = 3
_NOBODY = "none"
"""Of who has no role at all: not one of ours, and not nothing, which would be all but the keys."""


class TokenRefused(Unauthenticated):
    """The token is not one that is let in."""


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""
    crit: list[str] | None = None


class _Claims(msgspec.Struct):
    iss: str
    aud: str | list[str]
    exp: float
    nbf: float | None = None
    iat: float | None = None
    jti: str | None = None


class _Issuer:
    """One of those whose tokens are let in."""

    def __init__(self, settings: JwtIssuer, fetch: Fetch, clock: Clock) -> None:
        _check(settings)
        self.settings = settings
        self.algorithms = frozenset[str](settings.algorithms)
        self.audience = frozenset(settings.audience)
        self.shared = shared_key(settings.secret) if settings.secret else None
        self.keys = KeySet(settings.issuer, settings.jwks_url, fetch, keep_s=settings.keys_keep_s, clock=clock)

    async def key(self, key_id: str) -> PublicKey | None:
        return self.shared if self.shared is not None else await self.keys.find(key_id)


class Tokens:
    """Tells whom a token names. One event loop; bounded, whatever is shown to it."""

    def __init__(
        self,
        issuers: Sequence[JwtIssuer],
        store: KeyStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        fetch: Callable[[JwtIssuer], Fetch] | None = None,
    ) -> None:
        """`store` remembers tokens that are good once. Raises `ConfigError` for an issuer that cannot be."""
        self._outbound: list[Outbound] = []
        self._issuers: dict[str, _Issuer] = {}
        for settings in issuers:
            if settings.issuer in self._issuers:
                raise ConfigError(f"`security.jwt` has two entries for the issuer {settings.issuer!r}.")
            self._issuers[settings.issuer] = _Issuer(settings, (fetch or self._fetched)(settings), clock)
        self._store = store
        self._now = clock.now
        self._good: OrderedDict[bytes, tuple[float, Known]] = OrderedDict()
        self._header = msgspec.json.Decoder(_Header)
        self._claims = msgspec.json.Decoder(_Claims)

    async def find(self, token: str) -> Known:
        """Whom it names. Raises `TokenRefused`, which says why, and `IssuerUnavailable`."""
        if len(token) > TOKEN_MAX:
            raise TokenRefused(f"The token has more than {TOKEN_MAX} characters.")
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._good.get(digest)
        if known is not None:
            if self._now() < known[0]:
                return known[1]
            del self._good[digest]
        issuer, claims, said = await self._checked(token)
        found = _known(issuer.settings, said)
        until = claims.exp + issuer.settings.leeway_s
        if issuer.settings.once:
            await self._spend(issuer, claims, until)
            return found
        self._good[digest] = (until, found)
        if len(self._good) > KNOWN_MAX:
            self._good.popitem(last=False)
        return found

    async def stop(self) -> None:
        """Let go of what fetches keys. Stopping twice is stopping once."""
        for issuer in self._issuers.values():
            await issuer.keys.stop()
        for client in self._outbound:
            await client.stop()

    # -- inside

    async def _checked(self, token: str) -> tuple[_Issuer, _Claims, dict[str, Any]]:
        """The claims, once the signature is good and they are for us and for now."""
        parts = token.split(".")
        if len(parts) != _PARTS:
            raise TokenRefused("The token is not a signed JWT: three parts with dots between.")
        try:
            header = self._header.decode(unpadded(parts[0]))
            body = unpadded(parts[1])
            signature = unpadded(parts[2])
            claims = self._claims.decode(body)
            said = msgspec.json.decode(body, type=dict[str, Any])
        except (ValueError, msgspec.MsgspecError):
            raise TokenRefused("The token cannot be read, or lacks one of `iss`, `aud` and `exp`.") from None
        issuer = self._issuers.get(claims.iss)
        if issuer is None:
            raise TokenRefused("The token is from an issuer that is not known here.")
        if header.alg not in issuer.algorithms or header.crit is not None:
            raise TokenRefused("The token is not signed in a way that is allowed for its issuer.")
        key = await issuer.key(header.kid)
        if key is None or header.alg not in key.algorithms:
            raise TokenRefused("The token is signed with a key that its issuer does not show.")
        if not key.check(header.alg, f"{parts[0]}.{parts[1]}".encode(), signature):
            raise TokenRefused("The token's signature is not good.")
        self._check_claims(issuer, claims)
        return issuer, claims, said

    def _check_claims(self, issuer: _Issuer, claims: _Claims) -> None:
        settings, now = issuer.settings, self._now()
        audience = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if not audience & issuer.audience:
            raise TokenRefused("The token was made for somebody else (`aud`).")
        if not all(math.isfinite(at) for at in (claims.exp, claims.nbf or 0.0, claims.iat or 0.0)):
            raise TokenRefused("The token's times are no times.")
        if claims.exp + settings.leeway_s <= now:
            raise TokenRefused("The token has run out: get another one.")
        begun = [at for at in (claims.nbf, claims.iat) if at is not None]
        if begun and max(begun) - settings.leeway_s > now:
            raise TokenRefused("The token is from the future.")
        if claims.exp - min([*begun, now]) > settings.lifetime_max_s + settings.leeway_s:
            raise TokenRefused(
                f"The token is good for longer than {settings.lifetime_max_s:g} s, which is not taken here."
            )

    async def _spend(self, issuer: _Issuer, claims: _Claims, until: float) -> None:
        if not claims.jti:
            raise TokenRefused("The token has no id (`jti`), and is to be good for one request.")
        mark = hashlib.sha256(f"{issuer.settings.issuer}\n{claims.jti}".encode()).digest()
        if not await self._store.spend(mark, until=until):
            raise TokenRefused("The token was shown before, and is good for one request.")

    def _fetched(self, settings: JwtIssuer) -> Fetch:
        client = Outbound(settings.allow, timeout_s=_TIMEOUT_S, answer_max=_ANSWER_MAX)
        self._outbound.append(client)

        async def fetch(url: str) -> bytes:
            answer = await client.ask("GET", url, b"", {"accept": "application/json"})
            if answer.status != _GOOD or not answer.complete:
                raise OutboundFailed(f"{url} answered {answer.status}, or more than {_ANSWER_MAX} bytes.")
            return answer.body

        return fetch


def looks_signed(text: str) -> bool:
    """Whether a credential is meant as a token: an encoded JSON object comes first."""
    return text.startswith("eyJ") and "." in text


def _check(settings: JwtIssuer) -> None:
    shared = "HS256" in settings.algorithms
    if shared and len(settings.algorithms) > 1:
        raise ConfigError(
            "`security.jwt`: HS256 goes with no other algorithm, or a public key could pass for the secret."
        )
    if shared and len(settings.secret.encode()) < _SECRET_BYTES_MIN:
        raise ConfigError(f"`security.jwt`: HS256 needs a `secret` of {_SECRET_BYTES_MIN} bytes at least.")
    if settings.secret and not shared:
        raise ConfigError("`security.jwt`: a `secret` is for the algorithm HS256, which is not among `algorithms`.")
    if not shared:
        check_installed()


def _known(settings: JwtIssuer, said: Mapping[str, Any]) -> Known:
    """What the claims mean here."""
    tenant = settings.tenant or _word(_claim(said, settings.tenant_claim))
    user = _word(_claim(said, settings.user_claim))
    if not tenant or not user:
        lacking = settings.user_claim if tenant else settings.tenant_claim
        raise TokenRefused(f"The token does not say `{lacking}`, which tells whose it is.")
    words = _words(_claim(said, settings.roles_claim)) if settings.roles_claim else []
    meant = [role for word in words for role in settings.roles.get(word, ())]
    return Known(
        tenant,
        (_word(_claim(said, settings.tier_claim)) if settings.tier_claim else "") or settings.tier,
        tuple(dict.fromkeys([*settings.roles_always, *meant])) or (_NOBODY,),
        f"jwt {settings.issuer}"[:_WORD_CHARS_MAX],
        user_id=user,
    )


def _claim(said: Mapping[str, Any], name: str) -> Any:
    """The claim of this name; else where its dots lead, for names are URLs at some issuers."""
    if name in said:
        return said[name]
    found: Any = said
    for step in name.split("."):
        found = cast("Any", found).get(step) if isinstance(found, dict) else None
    return found


def _word(value: Any) -> str:
    good = isinstance(value, str) and 0 < len(value) <= _WORD_CHARS_MAX and value.isprintable()
    return value if good else ""


def _words(value: Any) -> list[str]:
    listed = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [word for word in listed[:_WORDS_MAX] if isinstance(word, str)]
