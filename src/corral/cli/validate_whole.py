"""What `corral validate` finds when app and settings are put together as a server does it, and nothing of it is started."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from corral.errors import ConfigError, ModelNotFound

if TYPE_CHECKING:
    from corral.app import App
    from corral.settings.sections import Settings
    from corral.wiring.modelling import Modelling

_AS_WRITTEN = frozenset({"models.names", "models.router"})
"""Where a model alone (`gpt-4.1`) does not do: it has to be a name, or `provider/model`."""


def faults_in(app: App, settings: Settings) -> Iterator[tuple[str, str]]:
    """Settings by dotted key (empty: none is named), each with what is wrong: what a server would refuse to start with, else models that lead nowhere."""
    from corral.models.prices import price_table  # noqa: PLC0415 - loaded when it is asked

    try:
        modelling = app.build(settings).modelling
        price_table(settings.models.prices)
    except ConfigError as error:
        yield _key_in(error.message), error.message
        return
    yield from _lost_models(settings, modelling)


def _key_in(message: str) -> str:
    """The setting that a message names: `models.names` of `models.names.smart.fallback has …`."""
    from corral.settings.check import FIELDS  # noqa: PLC0415 - as above

    words = re.findall(r"[a-z_]+(?:\.[\w-]+)+", message)
    return next((key for word in words for key in FIELDS if f"{word}.".startswith(f"{key}.")), "")


def _lost_models(settings: Settings, modelling: Modelling) -> Iterator[tuple[str, str]]:
    from corral.models.bare_names import BareNames  # noqa: PLC0415 - as above
    from corral.models.dispatch import split  # noqa: PLC0415 - as above
    from corral.models.routing import AUTO  # noqa: PLC0415 - as above

    bare, naming = BareNames(settings.models), modelling.deployed.naming
    for key, model in _named_models(settings):
        full = model if key in _AS_WRITTEN else bare.full(model)
        if not model or full.partition(":")[0] == AUTO:
            continue
        try:
            for stage in naming.chain(full).stages:
                for deployment, _ in stage.deployments:
                    split(deployment, modelling.providers)
        except ModelNotFound as error:
            yield key, f"{model!r} leads nowhere. {error.message}"


def _named_models(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every place where settings name a model, with the setting in which it stands."""
    models = settings.models
    yield from (("models.names", name) for name in models.names)
    router = models.router
    yield from (("models.router", model) for model in router.classes.values())
    yield from (("models.router", model) for shares in router.shares.values() for model in shares)
    kind, _, classifier = router.classifier.partition(":")
    yield "models.router", classifier if kind == "model" else ""
    semantic = settings.cache.semantic
    embedders = {
        "memory.embedder": settings.memory.embedder,
        "cache.semantic": semantic.embedder * (semantic.mode != "off"),
    }
    yield from ((key, place) for key, place in embedders.items() if not place.startswith(("onnx:", "package:")))
    yield "models.default", models.default
    yield "agents.summary_model", settings.agents.summary_model
    yield "memory.learning", settings.memory.learning.model
