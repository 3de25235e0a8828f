"""The words the rooms share: what is said in a conversation, what is asked of a model, and one page of a longer list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

Role = Literal["system", "user", "assistant", "tool", "other"]

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message: who spoke, and what, part by part.

    A part is a JSON object with a `type`. Plain text is the one part `{"type": "text", "text": …}`. What models read and
    write has these types as well; what else a part carries goes along untouched:

    - `image`: `data` (base64) and `media_type`, or `url`
    - `file`: `data` and `media_type`, or `url`; `name`
    - `tool_use`: `id`, `name`, `input` (the arguments, a JSON object)
    - `tool_result`: `tool_use_id`, `content` (a list of parts), `is_error`
    - `reasoning`: `text`, and what its provider wants back to go on thinking (`signature`, `data`)

    A part with `"cache": true` ends a prefix that the provider may keep for later calls.
    """

    role: Role
    content: list[dict[str, Any]]
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """All text parts, one after the other."""
        return _text_of(self.content)


def _text_of(content: list[dict[str, Any]]) -> str:
    if len(content) == 1 and content[0].get("type") == "text":  # most have one part
        text = content[0].get("text", "")
        if isinstance(text, str):
            return text
    return "".join([part.get("text", "") for part in content if part.get("type") == "text"])


def as_parts(content: object) -> list[dict[str, Any]]:
    """Content as people write it (text, one part, a list of parts, any JSON value) as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, dict) and isinstance(content.get("type"), str):
        return [content]
    if isinstance(content, list) and content:
        for part in content:  # spelt out: every result of every tool comes by here, several times
            if not isinstance(part, dict) or "type" not in part:
                break
        else:
            return content
    return [{"type": "json", "json": content}]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list, and the cursor that fetches the next one (none: this was the last)."""

    items: list[T]
    next_cursor: str | None = None


# -- asking a model ---------------------------------------------------------------------------------------------------


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that a model may ask for."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    """JSON schema of its input; empty: it takes none."""
    strict: bool = False
    """The input must fit the schema, where the provider can promise that."""


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer in JSON: any object, or one that fits a schema."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    strict: bool = True


class Caller(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For whom a model is asked. Never sent to a provider; the tenant comes from the credential alone."""

    tenant: str = "default"
    tier: str = ""
    user_id: str = ""
    agent: str = ""
    session_id: str = ""
    run_id: str = ""
    """The request or job this belongs to."""
    tags: dict[str, str] = {}
    """For the bill: `{"team": "support"}`."""
    priority: int = 5
    """0 (last) to 9 (first), when calls have to wait for a provider's limits."""
    roles: tuple[str, ...] = ()
    """What the user may do, as the credential says: `support`, `admin`."""


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one call may be answered."""

    cache: Literal["", "use", "bypass", "refresh", "only"] = ""
    """`bypass`: neither read nor write; `refresh`: ask anew and keep the answer; `only`: fail rather than ask. Empty: as configured."""
    cache_ttl_s: float | None = None
    cache_tags: tuple[str, ...] = ()
    """Names under which the kept answer can be thrown away."""
    cache_scope: str = ""
    """Answers are shared within a scope alone: a user, a conversation, a version of a prompt."""
    replay_chunks_s: float = 0.0
    """Pause between the pieces of a kept answer that is streamed; 0: at full speed."""
    route: str = ""
    """Which class of the router to take (`expert_task`), instead of finding it out."""
    idempotent: bool = True
    """Asking twice at the same time is harmless (hedged calls)."""


class ModelCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question to a model. What a provider has no word for is left out of what it is sent."""

    model: str
    """`provider/model` (`openai/gpt-4.1-mini`), a name from the settings, or `auto`."""
    messages: list[Message]
    """Messages with the role `system` instruct; wherever they stand."""
    tools: list[ToolSpec] = []
    tool_choice: str = ""
    """`auto`, `none`, `required`, or `tool:NAME`; empty: the provider's own default."""
    parallel_tools: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    output: OutputFormat | None = None
    reasoning: str = ""
    """How hard to think: `none`, `minimal`, `low`, `medium`, `high`, or a number of tokens."""
    stream: bool = False
    """Whether deltas are wanted before the reply."""
    extra: dict[str, Any] = {}
    """Sent to the provider as it is, over what we would have sent."""
    caller: Caller = Caller()
    policy: CallPolicy = CallPolicy()
    deadline: float | None = None
    """When to be done, on the monotonic clock of this process."""
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the layers decided, and why (`route.to`, `cache.hit`); changes of the call share it. For the trace and for headers."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one call, in kinds that never overlap."""

    input: int = 0
    """Read for the full price."""
    cache_read: int = 0
    """Read from the provider's prefix cache."""
    cache_write: int = 0
    """Read, and kept there."""
    output: int = 0
    """Written for the caller."""
    reasoning: int = 0
    """Written for the model itself."""
    estimated: bool = False
    """The provider did not say: counted here."""

    @property
    def input_tokens(self) -> int:
        """All that was read."""
        return self.input + self.cache_read + self.cache_write

    @property
    def output_tokens(self) -> int:
        """All that was written."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All of it."""
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning


StopReason = Literal["end", "length", "stop_sequence", "tool_use", "content_filter", "refusal", "pause", "other"]


class ModelReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's whole answer."""

    id: str = ""
    """The provider's."""
    model: str = ""
    """What answered, as the provider names it."""
    provider: str = ""
    """The name in the settings of who answered."""
    content: list[dict[str, Any]] = []
    """Parts, as in `Message`."""
    stop_reason: StopReason = "end"
    usage: Usage = Usage()
    cost_usd: float | None = None
    """What it cost; none: no price is known. An answer that was kept cost nothing: 0."""
    cached: Literal["", "exact", "stale", "semantic", "shared"] = ""
    """Where the answer came from if the provider was not asked for it; `shared`: another call at the same time asked."""
    created_at: float = 0.0
    logprobs: Any = None
    degraded: tuple[str, ...] = ()
    """What a budget near its end made smaller about it: `smaller_model`, `shorter_context`, `cached_only`."""

    @property
    def text(self) -> str:
        """All text parts, one after the other."""
        return _text_of(self.content)

    @property
    def reasoning(self) -> str:
        """What the model said it thought."""
        return "".join([part.get("text", "") for part in self.content if part.get("type") == "reasoning"])

    @property
    def tool_uses(self) -> list[dict[str, Any]]:
        """The tools it wants called."""
        return [part for part in self.content if part.get("type") == "tool_use"]

    def as_message(self) -> Message:
        """The answer as the next message of the conversation."""
        return Message(role="assistant", content=self.content)


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of an answer that is still being written.

    `text` and `reasoning` carry `text`; `tool_use` begins a tool's call (`id`, `name`) and `tool_input` carries a piece of its
    arguments' JSON in `text`. `index` is the number of the part in the reply's content.

    Pieces of a text that came from the provider at once are one delta, which knows where it was cut.
    """

    kind: Literal["text", "reasoning", "tool_use", "tool_input"]
    text: str = ""
    index: int = 0
    id: str = ""
    name: str = ""
    pieces: tuple[str, ...] = ()
    """What makes up `text`, where several pieces came at once; empty: it is one."""


ModelEvent = Delta | ModelReply
"""A call yields deltas if it streams, and always ends with one `ModelReply`; if there is none, it raised."""

CallModel = Callable[[ModelCall], AsyncIterator[ModelEvent]]
"""Ask a model. Close the iterator (`aclose`) to stop early: what it holds is given back then."""


def close(events: AsyncIterator[Any]) -> Awaitable[None]:
    """Give back what a call holds that is left before its end. Its events are a generator, although their type does not say so."""
    generator: AsyncGenerator[Any, None] = events  # type: ignore[assignment]  # see above
    return generator.aclose()


class closing(Generic[T]):  # noqa: N801 - reads as what it does: `async with closing(…) as events`
    """The events of a call, or its pieces; leaving the block closes it, so that who stops early gives back at once what it holds.

    `contextlib.aclosing` does the same, with a coroutine more. What every question passes does without: `try … finally: await
    close(events)`.
    """

    __slots__ = ("_events",)

    def __init__(self, events: AsyncIterator[T]) -> None:
        self._events: AsyncGenerator[T, None] = events  # type: ignore[assignment]  # see `close`

    async def __aenter__(self) -> AsyncGenerator[T, None]:
        return self._events

    def __aexit__(self, *_: object) -> Awaitable[None]:
        return self._events.aclose()


class EmbedCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to be placed in a model's space of meanings."""

    model: str
    texts: list[str]
    dimensions: int | None = None
    extra: dict[str, Any] = {}
    caller: Caller = Caller()
    policy: CallPolicy = CallPolicy()
    deadline: float | None = None
    notes: dict[str, Any] = msgspec.field(default_factory=dict)


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vector for each text, in order."""

    vectors: list[list[float]]
    model: str = ""
    provider: str = ""
    usage: Usage = Usage()
    cost_usd: float | None = None
    cached: int = 0
    """How many of the vectors had been kept."""


CallEmbedder = Callable[[EmbedCall], Awaitable[EmbedReply]]


# -- calling a tool ---------------------------------------------------------------------------------------------------


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a tool, asked for by a model or by code."""

    name: str
    input: dict[str, Any] = {}
    """The arguments, not yet checked."""
    id: str = ""
    """The model's name for this call; its result carries it."""
    after: tuple[str, ...] = ()
    """Ids of calls of the same turn whose results this one needs: it starts when they are there."""
    caller: Caller = Caller()
    tainted: tuple[str, ...] = ()
    """Where words came from that nobody of ours wrote and that this call may obey: `tool:web_fetch`, `document:faq.md`."""
    approved_by: str = ""
    """Who said yes, where a rule asks for a person."""
    idempotency_key: str = ""
    """One effect for this key, however often the call is made; empty: made from run, place and input where the tool needs one."""
    deadline: float | None = None
    """When to be done, on the monotonic clock of this process."""
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the layers decided, and why (`rule`, `cache`, `attempts`); changes of the call share it."""


class ToolFault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a tool gave no result, in words that help a model to go on."""

    code: str
    """`invalid_input`, `timeout`, `denied`, `approval_required`, `not_found`, `unavailable`, `failed`, `cancelled`, …"""
    message: str
    retryable: bool = False
    retry_after_s: float | None = None


class ToolReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a call."""

    name: str
    id: str = ""
    content: list[dict[str, Any]] = []
    """What the model reads: parts, as in `Message`."""
    value: Any = None
    """The result itself, as JSON."""
    fault: ToolFault | None = None
    """Set: the tool gave no result, and `content` says why."""
    tainted: tuple[str, ...] = ()
    """Where words in `content` came from that nobody of ours wrote."""
    cached: Literal["", "kept", "replayed", "speculated"] = ""
    """`kept`: from the cache of results; `replayed`: the first effect of this idempotency key; `speculated`: called ahead."""
    attempts: int = 1
    duration_s: float = 0.0
    cost_usd: float | None = None
    artefact: str = ""
    """Where the whole result lies when `content` holds only its beginning."""

    def as_part(self) -> dict[str, Any]:
        """The result as a part of the next message."""
        part = {"type": "tool_result", "tool_use_id": self.id, "content": self.content}
        return part if self.fault is None else {**part, "is_error": True}


CallTool = Callable[[ToolCall], Awaitable[ToolReply]]
"""Call a tool. It never raises for what a tool did or what a rule forbids: that is a reply with a fault."""


# -- what happened, for those who must know -----------------------------------------------------------------------------


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was decided or done, and by which rule. Never holds a secret."""

    id: str
    at: float
    tenant: str
    action: str
    """What it was about: `tool.call`, `tool.approval`."""
    subject: str
    """On what: the tool's name."""
    decision: str
    """`allowed`, `denied`, `approval_required`, `approved`, `refused`, `done`, `failed`."""
    rule: str = ""
    """The name of the rule that decided."""
    reason: str = ""
    actor: str = ""
    """Who: the user, else the agent."""
    agent: str = ""
    session_id: str = ""
    run_id: str = ""
    details: dict[str, Any] = {}


Audit = Callable[[AuditEntry], None]
"""Write an entry down. Returns at once and never raises."""
