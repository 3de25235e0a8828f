"""Names of attributes, in one table. OpenTelemetry's conventions for generative AI are still moving: a name changes here alone.

The runtime uses the first part. The second is for agents and for the rooms that call models and tools:
`with span("chat small", kind="client", **{semconv.OPERATION: semconv.CHAT, semconv.REQUEST_MODEL: "small"})`.
"""

from __future__ import annotations

VERSION = "2026-05"

OPERATION = "gen_ai.operation.name"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
TIME_TO_FIRST_PIECE = "gen_ai.response.time_to_first_chunk"
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
REQUEST_ID = "corral.request_id"
TENANT = "corral.tenant"
OUTCOME = "corral.outcome"

INVOKE_AGENT = "invoke_agent"

PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
COST = "corral.cost.usd"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL_ID = "gen_ai.tool.call.id"

CHAT = "chat"
EMBEDDINGS = "embeddings"
EXECUTE_TOOL = "execute_tool"
RETRIEVAL = "retrieval"
