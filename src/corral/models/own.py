"""What an app's own code decides about its models, instead of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from corral.messages import ModelCall
    from corral.settings.model_sections import RouterSettings


class OwnFunctions(msgspec.Struct, frozen=True, kw_only=True):
    """Those that were given; the settings decide the rest."""

    model_router: Mapping[str, str] | RouterSettings | None = None
    """Class of call to model, or all of the router's settings."""
    complexity_classifier: str | Callable[..., Any] | None = None
    """Says a call's class: a function of the question's text or of the whole call, or as in the settings."""
    cache_key_generator: Callable[[ModelCall], str] | None = None
    """The same text for two questions that are the same."""


def own_router(own: OwnFunctions, usual: RouterSettings) -> RouterSettings:
    """The router's settings, where some are one's own; a classifier that is a function stands beside them."""
    given = own.model_router
    changed: dict[str, Any] = {}
    if isinstance(given, Mapping):
        changed["classes"] = dict(given)
        usual = type(usual)()
    elif given is not None:
        usual = given
    if isinstance(own.complexity_classifier, str):
        changed["classifier"] = own.complexity_classifier
    return msgspec.structs.replace(usual, **changed)
