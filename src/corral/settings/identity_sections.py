"""What an operator decides about who is let in by a token of somebody else's."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.section import Pause, Seconds, Section

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256"]


class JwtIssuer(Section, frozen=True):
    """Whose tokens are let in, and what their claims mean here."""

    issuer: Annotated[str, Meta(min_length=1)]
    """The claim `iss`, to the letter: `https://login.example.com/realms/shop`."""
    audience: Annotated[list[str], Meta(min_length=1)]
    """One of these must be among the claim `aud`: tokens that were made for somebody else are refused."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256")
    """How tokens may be signed. `HS256` needs `secret`, and goes with no other."""
    jwks_url: str = ""
    """Where the issuer's public keys are; none: asked of `<issuer>/.well-known/openid-configuration`."""
    secret: str = ""
    """The shared secret of `HS256`, at least 32 bytes: `${VAR}`."""
    allow: list[str] = []
    """Networks (`10.0.0.0/8`) and hosts that keys may be fetched from although they are private."""
    leeway_s: Annotated[float, Meta(ge=0, le=300)] = 30.0
    """How far the issuer's clock may be from ours."""
    lifetime_max_s: Seconds = 86_400.0
    """Tokens that are good for longer than this are refused."""
    once: bool = False
    """Each token is good for one request, by its claim `jti`: one that is shown again, to whatever worker, is refused."""
    keys_keep_s: Pause = 3600.0
    """How long fetched keys are kept before they are fetched anew."""
    tenant: str = ""
    """The tenant of all these tokens; none: the claim `tenant_claim` says it."""
    tenant_claim: str = "tenant"
    """The claim with the tenant; a token without it is refused. Dots lead inside: `app.tenant`."""
    user_claim: str = "sub"
    """The claim with the user."""
    tier: str = ""
    """The tier of who shows one of these, where `tier_claim` says none."""
    tier_claim: str = ""
    """The claim with the caller's tier."""
    roles_claim: str = ""
    """The claim with roles: a list, or words with blanks between (`realm_access.roles`, `scope`)."""
    roles: dict[str, list[str]] = {}
    """What the words of `roles_claim` mean here: `{corral-ops: [operator]}`. A word that is not named here means nothing."""
    roles_always: tuple[str, ...] = ("invoker",)
    """Roles that everybody with one of these tokens has."""
