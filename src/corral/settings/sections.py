"""Everything an operator decides, room by room: one frozen struct each, every key with a default.

The names here are the keys of `corral.yaml`, of the environment (`CORRAL_SERVER_PORT`) and of the JSON schema. A docstring
under a key is its description in the schema and in `docs/settings.md`. What is asked of models stands in `model_sections`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from corral.settings.agent_sections import AgentSettings
from corral.settings.audit_sections import AuditChainSettings
from corral.settings.budget_sections import BudgetSettings
from corral.settings.identity_sections import JwtIssuer
from corral.settings.memory_sections import MemorySettings
from corral.settings.model_sections import CacheSettings, LimitSettings, ModelSettings
from corral.settings.priority_sections import PrioritySettings
from corral.settings.section import Count, Pause, Seconds, Section
from corral.settings.tier_sections import TierSettings
from corral.settings.tool_sections import ToolSettings
from corral.settings.workflow_sections import WorkflowSettings


class ServerSettings(Section, frozen=True):
    """Where the server listens and what it takes in."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `security.api_keys`, or `security.allow_unauthenticated`."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    """Port to listen on; 0 takes a free one and prints it."""
    role: Literal["all", "api", "worker", "control"] = "all"
    """What these processes do: `api` answers requests, `worker` runs jobs, `control` keeps schedules, callbacks and retention going (as every `worker` does too)."""
    workers: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Worker processes."""
    body_max_bytes: Count = 100_000_000
    """Largest request body; more is answered 413."""
    json_depth_max: Annotated[int, Meta(ge=1, le=900)] = 128
    """Deepest nesting of a JSON body; more is answered 400."""
    drain_s: Pause = 30.0
    """After SIGTERM: how long running invocations may finish before they are cancelled."""
    drain_delay_s: Pause = 0.0
    """After SIGTERM: how long to go on accepting while a load balancer notices that `/readyz` says no."""
    keep_alive_s: Seconds = 75.0
    """How long an idle connection stays open: longer than a load balancer's own idle timeout."""
    aliases: dict[str, str] = {}
    """Extra addresses: path to agent name, such as `/agent: main`. Each answers POST as `/invocations` does."""


class RuntimeSettings(Section, frozen=True):
    """How an invocation runs."""

    timeout_s: Seconds = 300.0
    """Longest run of one invocation, its wait for the session's turn included."""
    concurrency_max: Count = 1000
    """Invocations that run or wait in one worker; more are answered 503 with `Retry-After`."""
    threads_max: Count = 40
    """Threads for synchronous agents in one worker."""
    prompt_chars_max: Count = 10_000
    """Longest `prompt` (or `message`) of a JSON object payload; more is answered 400."""
    id_chars_max: Count = 100
    """Longest session and user id."""
    stream_chunk_size: Annotated[int, Meta(ge=0)] = 0
    """Text pieces of a stream are joined until this many characters are there; 0: each piece is sent as it comes."""
    isolate: bool = False
    """Run async agents on a loop of their own, so that one that blocks does not hold up `/ping` (costs two thread hops)."""
    idempotency_ttl_s: Seconds = 86_400.0
    """How long an answer is kept for a repeated `Idempotency-Key`."""
    idempotency_reply_max_bytes: Count = 1_048_576
    """Answers larger than this are not kept."""
    rejoin_grace_s: Pause = 30.0
    """A run with an idempotency key goes on this long after its client left, so that the client's retry finds it."""
    ping_busy_while_invoking: bool = False
    """Say `HealthyBusy` on `/ping` while an invocation runs. AgentCore says `Healthy`; its platform may then stop a busy worker."""
    debug: bool = False
    """Answer AgentCore's debug actions (`_agent_core_app_action`)."""


class SessionSettings(Section, frozen=True):
    """How conversations are kept."""

    on_conflict: Literal["enqueue", "reject", "interrupt", "rollback"] = "enqueue"
    """What a request does when another one has the session's turn."""
    record: bool = True
    """Append prompt and reply of each turn by itself, unless the agent appended anything in that turn."""
    lease_s: Annotated[float, Meta(ge=1, le=1e9)] = 10.0
    """A worker that died gives its turns back after this long."""
    waiting_max: Count = 1000
    """Requests that may wait for one session; more are answered 429."""
    ttl_s: Seconds | None = None
    """Sessions expire this long after their last event; none: never."""
    sweep_s: Seconds = 60.0
    """How often expired events and sessions are swept, and looked through for what may go to the archive."""
    tiers: TierSettings = TierSettings()
    """Where events lie, and for how long."""


class JobSettings(Section, frozen=True):
    """Work that waits in a queue."""

    worker: bool = True
    """Run jobs in processes whose `server.role` is `all` or `worker`."""
    concurrency: Count = 64
    """Jobs that one worker process runs at once."""
    queues: list[str] = []
    """The queues that workers take from; none: all."""
    lease_s: Annotated[float, Meta(ge=0.5, le=1e6)] = 10.0
    """A worker that died gives its jobs back after this long."""
    poll_s: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    """How often an idle worker looks by itself: wake-ups are faster, but may be lost."""
    timeout_s: Seconds = 3600.0
    """Longest run of one attempt."""
    depth_max: Count = 1_000_000
    """Jobs that may be open in one queue; more are answered 429 with `Retry-After`."""
    batch_max: Count = 10_000
    """Most jobs in one request."""
    input_max_bytes: Count = 4_194_304
    """Largest input of a job, as JSON; a larger one is answered 413: put it in an object store, and hand in its address."""
    batch_max_bytes: Count = 8_388_608
    """Largest request that brings many jobs at once."""
    ageing_s: Seconds = 60.0
    """A job that waited this long rises by one priority, and again after as long."""
    dedupe_s: Seconds = 86_400.0
    """How long an `Idempotency-Key` is remembered."""
    keep_s: Seconds = 604_800.0
    """How long ended jobs are kept, counted from when they were created."""
    events_max: Count = 10_000
    """Events kept per job."""
    inline_max_bytes: Count = 65_536
    """Results of steps larger than this are kept apart, and referred to."""
    result_max_bytes: Count = 10_485_760
    """Largest result of a job; one that is larger fails it."""
    attempts_max: Count = 3
    """Attempts that may fail, the first one included; then the job lies among the dead letters."""
    retry_initial_s: Pause = 1.0
    """Pause before the second attempt."""
    retry_factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    """Each further pause is this many times longer."""
    retry_max_s: Seconds = 300.0
    """Longest pause; an error's own `Retry-After` may be longer."""
    retry_jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the pause that chance takes away."""
    retry_never: list[str] = []
    """Classes of errors (`ValueError`, or with their module) after which trying again is useless."""
    retry_always: list[str] = []
    """Classes of errors that are tried again although they say that it is useless."""
    schedules: dict[str, dict[str, Any]] = {}
    """Jobs that come again and again: name to `cron`, `timezone`, `catch_up` and the job itself (`agent`, `input`, …)."""
    callback_secret: str = ""
    """Signs callbacks (Standard Webhooks): `whsec_…`, base64; write `${VAR}` here. None: callbacks are refused."""
    callback_allow: list[str] = []
    """Networks (`10.0.0.0/8`) and hosts that callbacks may reach although they are private."""
    callback_for_s: Seconds = 86_400.0
    """How long a callback is tried again."""


class StoreSettings(Section, frozen=True):
    """Where everything is kept."""

    url: str = "sqlite:///.corral/corral.db"
    """`sqlite:///path/to/file.db`, or `postgresql://user:password@host/database` for many machines."""
    hot: str = ""
    """`redis://host:6379/0` (or `rediss://…`): wake-ups also travel through this Redis or Valkey; losing it costs only time."""
    pool_max: Count = 10
    """PostgreSQL connections of one worker."""
    sync: Literal["normal", "full"] = "normal"
    """SQLite: `normal` survives the death of any process; `full` waits for the disk at each commit and survives power failure."""


class ApiKey(Section, frozen=True):
    """A key that lets a caller in, and who that caller is."""

    key: Annotated[str, Meta(pattern=r"^[!-~]+(?![\s\S])")]
    """The secret, as sent in `Authorization: Bearer …` or `X-Api-Key`; write `${VAR}` here. An empty one is refused."""
    tenant: str = "default"
    """Whose data this key sees."""
    tier: str = ""
    """The caller's tier, for the agent and later for limits."""
    roles: list[str] = []
    """What the caller may do: `admin`, `operator`, `developer`, `invoker` or `auditor`; with none of these, all but managing keys. Other words are what tools ask for (`permissions`) and rules name (`tools.policy.rules`). A job has those of who asked for it."""


class SecuritySettings(Section, frozen=True):
    """Who may call, and what is written down about it."""

    api_keys: list[ApiKey] = []
    """Keys that are let in, beside those of `corral keys`; with none, only loopback may listen."""
    require_key: bool = False
    """Ask everybody for a key although none is set here: those of `corral keys` are enough to listen beyond loopback."""
    secret: str = ""
    """Secrets for AWS's signatures are derived from this, at least 32 characters: `${VAR}`. Another one makes them all void."""
    jwt: list[JwtIssuer] = []
    """Whose tokens (JWT, OpenID Connect) are let in as well."""
    allow_unauthenticated: bool = False
    """Listen beyond loopback without any key. Only behind something else that asks who is there."""
    audit: bool = True
    """Write down what tools were allowed and what was denied, and by which rule."""
    audit_keep_s: Seconds = 31_536_000.0
    """How long that is kept."""
    audit_chain: AuditChainSettings = AuditChainSettings()
    """How it is made evidence."""


class ObservabilitySettings(Section, frozen=True):
    """Logs, metrics and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important line that is written."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""
    access_log: bool = True
    """One line for each request (never for health checks)."""
    metrics: bool = True
    """Serve `/metrics`."""
    traces: bool = True
    """Keep spans in the store."""
    trace_sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of traces kept when the caller did not decide; failed ones are always kept."""
    traces_per_s_max: Annotated[float, Meta(gt=0)] = 100.0
    """Traces kept per second and worker; under more load a sample is kept (and every failure)."""
    trace_ttl_s: Seconds = 604_800.0
    """How long spans are kept."""


class AgentCoreSettings(Section, frozen=True):
    """What `.bedrock_agentcore.yaml` says beyond the rest: kept, shown by `corral status`, passed to `corral container`."""

    region: str = "us-east-1"
    """AWS region named in ARNs."""
    account: str = "000000000000"
    """AWS account named in ARNs."""
    runtime: str = "python3.11"
    """Python of the container image."""
    memory: Count = 2048
    """Memory of a container in MiB."""
    identity_providers: list[dict[str, Any]] = []
    """OAuth2 identity providers."""
    disable_memory: bool = False
    """Do not record sessions."""
    disable_otel: bool = False
    """Do not keep traces."""


class Settings(Section, frozen=True):
    """All settings of one app."""

    name: str = "agent"
    """The app's name."""
    entrypoint: str = "agents.py"
    """The file with the agents, or `package.module:app`."""
    server: ServerSettings = ServerSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    sessions: SessionSettings = SessionSettings()
    jobs: JobSettings = JobSettings()
    models: ModelSettings = ModelSettings()
    cache: CacheSettings = CacheSettings()
    limits: LimitSettings = LimitSettings()
    budgets: dict[str, BudgetSettings] = {}
    """How much may be spent, by name."""
    priorities: PrioritySettings = PrioritySettings()
    tools: ToolSettings = ToolSettings()
    memory: MemorySettings = MemorySettings()
    agents: AgentSettings = AgentSettings()
    workflows: WorkflowSettings = WorkflowSettings()
    store: StoreSettings = StoreSettings()
    security: SecuritySettings = SecuritySettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    agentcore: AgentCoreSettings = AgentCoreSettings()

    @property
    def answers(self) -> bool:
        """Whether these processes take requests; health checks are answered by all that listen."""
        return self.server.role in {"all", "api"}

    @property
    def runs_jobs(self) -> bool:
        """Whether these processes run jobs."""
        return self.jobs.worker and self.server.role in {"all", "worker"}

    @property
    def keeps_house(self) -> bool:
        """Whether these processes fire schedules, send callbacks, and sweep what is over."""
        return self.server.role != "api"
