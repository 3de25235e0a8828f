"""What callers may do: one ladder, and beside it who reads the books."""

from __future__ import annotations

import functools
from typing import Literal, get_args

from corral.context import Scope, check_scope
from corral.errors import Forbidden

Role = Literal["admin", "operator", "developer", "invoker", "auditor"]
"""What a route needs. `admin` > `operator` > `developer` > `invoker`; what needs `auditor`, operators may as well."""

PLATFORM = "platform"
"""Beside a role: also for other tenants than one's own, where a route lets a tenant be named. Only who has it gives it on."""

ROLES: tuple[Role, ...] = get_args(Role)
_INCLUDED: dict[str, frozenset[Role]] = {
    "admin": frozenset(ROLES),
    "operator": frozenset({"operator", "developer", "invoker", "auditor"}),
    "developer": frozenset({"developer", "invoker"}),
    "invoker": frozenset({"invoker"}),
    "auditor": frozenset({"auditor"}),
    "none": frozenset(),
}
_UNSAID = _INCLUDED["operator"]
"""Of who has none of these roles: everything but the keys. So it is without any key, and with those of the settings that say nothing."""


@functools.lru_cache(maxsize=1024)
def rights_of(roles: tuple[str, ...]) -> frozenset[Role]:
    """What somebody with these roles may do. Other words among them are for tools, and say nothing here."""
    said = [_INCLUDED[role] for role in roles if role in _INCLUDED]
    return frozenset[Role]().union(*said) if said else _UNSAID


def check_role(roles: tuple[str, ...], needs: Role) -> None:
    """Raise `Forbidden`, which says the role that is missing, unless these roles include what is needed."""
    if needs not in rights_of(roles):
        raise Forbidden(
            f"This needs the role `{needs}`, which you do not have. Whoever is on the machine gives it: "
            f"`corral keys create --role {needs}`."
        )


def check_lasting(scope: Scope, agent: str | None = None) -> None:
    """Raise `Forbidden` where a limited key makes what begins by itself later: no key is there then that would limit it.

    What begins this `agent` alone may be made with a key that is limited to agents like it.
    """
    if scope.agents and agent is not None:
        check_scope("agent", agent, scope.agents)
    if scope.models or (scope.agents and agent is None):
        raise Forbidden(
            "Your key is limited to some agents or models, and what you ask for would begin later, without it: take a key that "
            "is not limited."
        )


def check_tenant(own: str, roles: tuple[str, ...], asked: str) -> None:
    """Raise `Forbidden` unless a caller of the tenant `own` may name this one."""
    if asked != own and PLATFORM not in roles:
        raise Forbidden(
            f"Your key is of the tenant {own!r}: what runs for another one is seen with a key of its own, or with one that "
            f"has the role `{PLATFORM}` besides (`corral keys create --role operator --role {PLATFORM}`, on the machine)."
        )
