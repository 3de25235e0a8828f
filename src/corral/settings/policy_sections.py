"""What an operator decides about what tools may do, and where tools come from that nobody of ours wrote."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.section import Count, Pause, Seconds, Section

RuleName = Annotated[str, Meta(min_length=1, max_length=200)]
Plain = str | int | float | bool


class ConditionSettings(Section, frozen=True):
    """What one argument of a call must be; everything that is said here must hold."""

    at: str
    """Where it stands: `amount`, `order.total`, `lines[0].price`, `lines[*].price`, `['odd key']`."""
    equals: Plain | None = None
    """It is this."""
    one_of: list[Plain] | None = None
    """It is one of these."""
    prefix: str | None = None
    """It is text that begins so."""
    matches: str | None = None
    """It is text that this regular expression fits as a whole; of texts up to 300 characters."""
    at_most: float | None = None
    """It is a number no larger than this."""
    at_least: float | None = None
    """It is a number no smaller than this."""


class RuleSettings(Section, frozen=True):
    """One rule about calls of tools. Names may hold `*`; a list that is empty is not asked."""

    name: RuleName
    """How the audit and the model are told which rule it was."""
    decide: Literal["allow", "deny", "approve"]
    """`approve`: a person must say yes first."""
    tools: list[str] = []
    """Names of tools."""
    sources: list[str] = []
    """Where tools come from: `code`, `mcp:NAME`, `openapi:NAME`, `url:…`."""
    agents: list[str] = []
    """Who calls."""
    roles: list[str] = []
    """What the user may do, as the credential says: one of them is enough."""
    users: list[str] = []
    """For whom."""
    tenants: list[str] = []
    """Of which tenant."""
    effects: bool | None = None
    """Only tools that change something (`true`), or only those that do not."""
    when: list[ConditionSettings] = []
    """What the arguments must be, all of it."""
    despite: list[str] = []
    """Of `allow`: sources of untrusted words (`tool:web_*`, `document:*`) that a call with side effects may have been led by."""
    reason: str = ""
    """What the model and the audit are told."""


class PolicySettings(Section, frozen=True):
    """What tools may do. The first rule that fits decides."""

    default: Literal["allow", "deny", "approve"] = "allow"
    """What is done where no rule fits."""
    read_only: bool = False
    """No tool may change anything, whatever the rules say."""
    tainted: Literal["approve", "deny", "allow"] = "approve"
    """What becomes of calls with side effects in a run that has read untrusted words, where no rule fits."""
    rules: list[RuleSettings] = []
    """Read from the top."""
    cedar: str = ""
    """A file with Cedar policies that must allow a call as well, before any rule (needs `corral[cedar]`)."""


class McpSettings(Section, frozen=True):
    """A server of tools that speaks MCP: a program of this machine, or an address."""

    command: list[str] = []
    """The program and its arguments; it is spoken to through its standard input and output."""
    env: dict[str, str] = {}
    """Its environment, beside PATH, HOME and the language; write `${VAR}` to hand a secret on."""
    cwd: str = ""
    """Where it runs; empty: here."""
    url: str = ""
    """Instead of a program: the address of a server (streamable HTTP)."""
    headers: dict[str, str] = {}
    """Sent with every request to `url`, such as `Authorization: Bearer ${TOKEN}`."""
    tools: list[str] = []
    """Which of its tools to take; names may hold `*`; none: all."""
    prefix: str | None = None
    """Before the names of its tools; none: the server's name and `_`."""
    read_only: list[str] = []
    """Those of its tools (its own names) that change nothing, by your word."""
    trust_hints: bool = False
    """Believe what the server says of its tools itself: `readOnlyHint`, `idempotentHint`."""
    trusted: bool = False
    """What its tools return was written by nobody but you: it does not taint a run."""
    timeout_s: Seconds = 30.0
    """Longest call; a server that reports progress gets more, up to `timeout_max_s`."""
    timeout_max_s: Seconds = 300.0
    """Longest call of a server that reports progress."""
    connect_s: Seconds = 15.0
    """Longest start, until it has said which tools it has."""
    restart_initial_s: Pause = 0.5
    """Pause before a server that died is started again; each further one is twice as long."""
    restart_max_s: Seconds = 60.0
    """Longest such pause."""


class OpenApiSettings(Section, frozen=True):
    """Tools out of an OpenAPI 3 document: one for each of its operations."""

    document: str
    """A file (JSON or YAML), or the address of one."""
    base_url: str = ""
    """Where the API is; empty: the first of the document's `servers`."""
    headers: dict[str, str] = {}
    """Sent with every request, such as `Authorization: Bearer ${TOKEN}`; models do not see them."""
    query: dict[str, str] = {}
    """Added to every request's query, such as `key: ${API_KEY}`."""
    operations: list[str] = []
    """Which operations to take, by `operationId`; names may hold `*`; none: all."""
    prefix: str = ""
    """Before the names of its tools."""
    allow: list[str] = []
    """Networks (`10.0.0.0/8`) and hosts that it may be at although they are private."""
    trusted: bool = False
    """What it answers was written by nobody but you: it does not taint a run."""
    timeout_s: Seconds = 30.0
    """Longest call."""
    answer_max_bytes: Count = 1_048_576
    """Largest answer that is read."""
