"""What an operator decides about workflows: their names, their bounds, and what their tasks may reach."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from corral.settings.section import Count, Pause, Seconds, Section


class WorkflowSettings(Section, frozen=True):
    """Executions of state machines, and the tasks they give out."""

    folder: str = "workflows"
    """Where files of workflows lie (`NAME.asl.json`, `NAME.asl.yaml`): they are created and changed when the app starts."""
    region: str = "us-east-1"
    """Region named in ARNs."""
    account: str = "000000000000"
    """Account named in ARNs."""
    open_max: Count = 1_000_000
    """Executions of one tenant that may be open; starting more is refused."""
    events_max: Count = 25_000
    """Events that the history of one execution may have; then it fails."""
    keep_s: Seconds = 7_776_000.0
    """How long executions are kept after they ended."""
    sweep_s: Annotated[float, Meta(ge=0.05, le=3600)] = 5.0
    """How often a worker looks by itself for executions whose time has come: it is woken sooner, but that may be lost."""
    express_s: Seconds = 300.0
    """Longest run of an express execution."""
    express_max: Count = 1000
    """Express executions that run at once in one process; more are refused."""
    activity_wait_s: Annotated[float, Meta(gt=0, le=300)] = 60.0
    """How long `GetActivityTask` waits for a task."""
    queue: str = "default"
    """The queue that tasks wait in, unless their function names one of its own."""
    task_timeout_s: Seconds = 86_400.0
    """Longest run of a task that has no `TimeoutSeconds`."""
    task_workers_max: Count = 3
    """Workers that may die over one task; then the task fails."""
    functions_timeout_s: Seconds = 900.0
    """Longest call of a function that does not say how long it may take."""
    http_timeout_s: Seconds = 60.0
    """Longest call of `corral:http`."""
    http_allow: list[str] = []
    """Networks (`10.0.0.0/8`) and hosts that `corral:http` may reach although they are private."""
    public_url: str = ""
    """Where people reach this server (`https://corral.example.com`): links in questions to them begin with it."""
    link_secret: str = ""
    """Signs the links with which people answer questions; write `${VAR}` here. None: one is made and kept in the store."""
    link_s: Pause = 604_800.0
    """How long such a link may be opened where its question has no deadline."""
    approvals_webhook: str = ""
    """Called when a question is put to somebody else, for nobody has answered; signed as callbacks of jobs are (`jobs.callback_secret`)."""
    map_concurrency_max: Count = 1000
    """Children of one distributed Map that run at once, where it does not say or says more."""
    map_children_max: Count = 1_000_000
    """Children that one run of a distributed Map may have."""
    map_bytes_max: Count = 2_000_000_000
    """Bytes that the inputs of all children of one such run may have together."""
    files_folder: str = ""
    """Where `corral:files:…` reads items and writes results; its folders are the buckets. None: files are refused."""
    buckets: bool = True
    """Whether this server keeps buckets of objects itself (`/s3`): for items and results of workflows."""
    bucket_object_max_bytes: Count = 64_000_000
    """Largest object in such a bucket."""
    s3_endpoint: str = ""
    """Where the items and results of `arn:aws:states:::s3:…` are (`https://s3.us-east-1.amazonaws.com`). None: in our own buckets."""
    s3_region: str = "us-east-1"
    """Region of that endpoint."""
    s3_access_key: str = ""
    """Key id for that endpoint; none: as boto3 finds it."""
    s3_secret_key: str = ""
    """Its secret; write `${VAR}` here."""
