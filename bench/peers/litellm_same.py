"""What LiteLLM's proxy has of what Corral's gateway has on: `bench/models.py` puts it beside its config."""

from __future__ import annotations

import os
from typing import Any

from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig
from litellm.proxy._types import UserAPIKeyAuth
from thrown_spans import Thrown

_KEY = os.environ["BENCH_KEY"]

spans = OpenTelemetry(config=OpenTelemetryConfig(exporter=Thrown()))


async def record(request: Any, api_key: str) -> UserAPIKeyAuth:
    """A key's record as its database would hold it, with limits and a budget that nobody reaches."""
    del request
    if api_key != _KEY:
        raise PermissionError("unknown key")
    return UserAPIKeyAuth(
        api_key=api_key, user_id="bench", rpm_limit=10_000_000, tpm_limit=10_000_000_000, max_budget=1_000_000.0
    )
