"""Models as other people's programs name them: `gpt-4o-mini`, without saying where."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from corral.messages import CallEmbedder, CallModel, EmbedCall, EmbedReply, ModelCall, ModelEvent
from corral.models.providers import SIM
from corral.models.routing import AUTO
from corral.settings.model_sections import ModelSettings


class BareNames:
    """Finds the provider of a model that was named alone: the one that lists it, else the only one there is.

    Names from the settings, `auto` and `provider/model` stay as they are, and so does what could be meant for several.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Nothing is asked: what providers list is what the settings say they list."""
        self._stays = frozenset((*settings.names, AUTO))
        self._providers = settings.providers
        self._default = settings.default
        self._only = next(iter(settings.providers)) if len(settings.providers) == 1 else ""
        self._listed: dict[str, str] = {}
        for name, provider in settings.providers.items():
            for model in provider.models:
                self._listed.setdefault(model, name)

    def full(self, model: str) -> str:
        """The model with its provider."""
        if not model:
            model = self._default
        if model in self._stays or model.partition(":")[0] == AUTO:
            return model
        provider, slash, _ = model.partition("/")
        if slash and (provider in self._providers or provider == SIM):
            return model
        found = self._listed.get(model, self._only)
        return f"{found}/{model}" if found else model

    def __call__(self, call: ModelCall, proceed: CallModel) -> AsyncIterator[ModelEvent]:
        """The layer."""
        if call.model in self._stays:
            return proceed(call)
        full = self.full(call.model)
        return proceed(call if full == call.model else msgspec.structs.replace(call, model=full))

    async def embed(self, call: EmbedCall, proceed: CallEmbedder) -> EmbedReply:
        """The same for embeddings."""
        full = self.full(call.model)
        return await proceed(call if full == call.model else msgspec.structs.replace(call, model=full))
