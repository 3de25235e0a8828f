"""What an operator decides about tools: how long they may take, what is remembered of them, and what they may do."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from corral.settings.policy_sections import McpSettings, OpenApiSettings, PolicySettings
from corral.settings.section import Count, Pause, Seconds, Section


class BreakerSettings(Section, frozen=True):
    """When a tool that fails again and again is left alone."""

    failures: Count = 5
    """Failures in a row after which it is not called for a while; half of the last twenty do as well."""
    pause_s: Seconds = 30.0
    """How long; then one call tries it."""


class ToolSettings(Section, frozen=True):
    """How tools are called; a tool's own marks go before these."""

    timeout_s: Seconds = 30.0
    """Longest call, all its attempts included."""
    at_once: Count = 5
    """Calls of one turn that run at the same time."""
    threads_max: Count = 40
    """Threads for tools that are plain functions, in one worker."""
    retries: Annotated[int, Meta(ge=0, le=20)] = 2
    """Further attempts of tools that may be called twice (`idempotent` or `read_only`), after a failure that may pass."""
    retry_initial_s: Pause = 0.1
    """Pause before the second attempt; each further one is twice as long."""
    retry_max_s: Seconds = 5.0
    """Longest pause; an error's own `retry_after_s` may be longer."""
    output_max_bytes: Count = 65_536
    """A longer result is kept apart as an artefact, and only its beginning is told."""
    artefact_ttl_s: Seconds = 604_800.0
    """How long artefacts are kept."""
    effects_ttl_s: Seconds = 604_800.0
    """How long it is remembered what came of a call with an idempotency key."""
    effect_lease_s: Annotated[float, Meta(ge=0.5, le=1e6)] = 10.0
    """A worker that died in the middle of a call gives it up after this long."""
    policy: PolicySettings = PolicySettings()
    """What tools may do."""
    mcp: dict[str, McpSettings] = {}
    """Servers of tools that speak MCP, by name; agents take their tools with `tools=["mcp:NAME"]`."""
    openapi: dict[str, OpenApiSettings] = {}
    """APIs with an OpenAPI document, by name; agents take their operations with `tools=["openapi:NAME"]`."""
    breaker: BreakerSettings = BreakerSettings()
    """When a tool that fails again and again is left alone."""
