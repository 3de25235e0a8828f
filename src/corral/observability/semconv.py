"""Names of attributes, in one table. OpenTelemetry's conventions for generative AI, as of May 2026, and ours under `corral.`."""

from __future__ import annotations

VERSION = "2026-05"

OPERATION = "gen_ai.operation.name"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
TIME_TO_FIRST_PIECE = "gen_ai.response.time_to_first_chunk"
REQUEST_ID = "corral.request_id"
TENANT = "corral.tenant"
OUTCOME = "corral.outcome"

INVOKE_AGENT = "invoke_agent"
