"""The providers that the settings name, and the simulator, which is always there."""

from __future__ import annotations

from collections.abc import Mapping

from corral.models.answering import Estimate
from corral.models.provider import Provider
from corral.settings.model_sections import ModelSettings, ProviderSettings

SIM = "sim"


def build_providers(settings: ModelSettings, env: Mapping[str, str], estimate: Estimate) -> dict[str, Provider]:
    """All of them by name, each loaded only if it is used. Raises `ConfigError` naming the setting that is wrong."""
    wanted = {SIM: ProviderSettings(kind="sim"), **settings.providers}
    return {name: _build(name, one, env, estimate) for name, one in wanted.items()}


def _build(name: str, settings: ProviderSettings, env: Mapping[str, str], estimate: Estimate) -> Provider:
    match settings.kind:
        case "openai" | "azure":
            from corral.models.openai import build_openai  # noqa: PLC0415 - most apps use one kind

            return build_openai(name, settings, env, estimate)
        case "anthropic":
            from corral.models.anthropic import build_anthropic  # noqa: PLC0415 - as above

            return build_anthropic(name, settings, env, estimate)
        case "bedrock":
            from corral.models.bedrock import build_bedrock  # noqa: PLC0415 - as above

            return build_bedrock(name, settings, env, estimate)
        case "sim":
            from corral.models.sim.provider import build_sim  # noqa: PLC0415 - as above

            return build_sim(name, settings)


def first_model(settings: ModelSettings) -> str:
    """What answers `auto` where nothing says more: the first name, else the first provider's first model, else the simulator."""
    if settings.names:
        return next(iter(settings.names))
    for name, provider in settings.providers.items():
        if provider.models:
            return f"{name}/{provider.models[0]}"
    return f"{SIM}/medium" if not settings.providers else ""
