"""The small parts that workflows are built of: rules of a choice, of retries and of what is caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import msgspec
from msgspec import UNSET, UnsetType

from corral.errors import ConfigError

if TYPE_CHECKING:
    from corral.workflows.builder import Steps

Path: TypeAlias = tuple[dict[str, Any], str]
"""A state or a rule, and its field in which the name of the next state goes."""

Target: TypeAlias = "str | Steps | None"
"""A state by its name, steps of its own, or what is written next."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a choice."""

    condition: str | bool
    then: Target = None
    output: Any = UNSET
    assign: dict[str, Any] | None = None


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried again, and how: after `interval_s`, then `backoff` times as long each time."""

    errors: Sequence[str] = ("States.ALL",)
    attempts: int = 3
    interval_s: int = 1
    backoff: float = 2.0
    max_delay_s: int | None = None
    jitter: bool = False


class Catch(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on when something failed."""

    errors: Sequence[str] = ("States.ALL",)
    then: str
    output: Any = UNSET
    assign: dict[str, Any] | None = None


class StepFields(TypedDict, total=False):
    """What may be said of every step."""

    next: str
    """The state that comes after it, where that is not the one written next."""
    end: bool
    """Nothing comes after it."""
    comment: str


class WorkFields(StepFields, total=False):
    """What may be said of a step that does something."""

    output: Any
    """What it hands on; its result, if nothing is said."""
    assign: dict[str, Any]
    """Variables, for all states after it."""
    retry: Retry | Sequence[Retry]
    catch: Catch | Sequence[Catch]


class TaskFields(WorkFields, total=False):
    """What may be said of a task."""

    agent: str
    tool: str
    function: str
    job: str
    activity: str
    """The ARN it got when it was created."""
    workflow: str
    """A name, or an ARN."""
    resource: str
    """Anything else, as the language names it."""
    arguments: Any
    callback: bool
    timeout_s: float | str
    heartbeat_s: float | str


class HttpFields(WorkFields, total=False):
    """What may be said of a call of an address."""

    method: str
    """`GET`, or `POST` where there is a body."""
    headers: dict[str, str]
    query: dict[str, Any]
    body: Any
    timeout_s: float | str


class ApprovalFields(WorkFields, total=False):
    """What may be said of a question to a person."""

    choices: Sequence[str]
    """`approve` and `reject`, if nothing is said."""
    assignee: str
    form: dict[str, Any]
    """A flat JSON schema of what else is to be filled in."""
    details: Any
    deadline_s: float | str
    otherwise: str
    escalate: dict[float, str]


class ParallelFields(WorkFields, total=False):
    """What may be said of branches."""

    arguments: Any


class MapFields(WorkFields, total=False):
    """What may be said of work on many items."""

    items: Any
    selector: Any
    """What an item is given, where that is not the item itself."""
    concurrency: int | str
    distributed: Literal["", "STANDARD", "EXPRESS"]
    reader: dict[str, Any]
    batcher: dict[str, Any]
    writer: dict[str, Any]
    label: str
    tolerated_failures: int | str
    tolerated_failures_percent: float | str


def when(
    condition: str | bool,
    then: Target = None,
    *,
    output: Any | UnsetType = UNSET,
    assign: dict[str, Any] | None = None,
) -> Rule:
    """A rule of a choice: `when("{% $states.input.score > 0.8 %}", "publish")`."""
    return Rule(condition=condition, then=then, output=output, assign=assign)


def retried(retry: Retry | Sequence[Retry]) -> list[dict[str, Any]] | None:
    """`Retry`, as the language has it; none: there is no rule."""
    rules = [retry] if isinstance(retry, Retry) else list(retry)
    return [_retrier(rule) for rule in rules] or None


def _retrier(rule: Retry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ErrorEquals": list(rule.errors),
        "IntervalSeconds": rule.interval_s,
        "MaxAttempts": rule.attempts,
        "BackoffRate": rule.backoff,
    }
    if rule.max_delay_s is not None:
        made["MaxDelaySeconds"] = rule.max_delay_s
    if rule.jitter:
        made["JitterStrategy"] = "FULL"
    return made


def handled(catch: Catch | Sequence[Catch]) -> list[dict[str, Any]] | None:
    """`Catch`, as the language has it; none: there is no rule."""
    rules = [catch] if isinstance(catch, Catch) else list(catch)
    return [_catcher(rule) for rule in rules] or None


def _catcher(rule: Catch) -> dict[str, Any]:
    made: dict[str, Any] = {"ErrorEquals": list(rule.errors), "Next": rule.then}
    if rule.output is not UNSET:
        made["Output"] = rule.output
    if rule.assign is not None:
        made["Assign"] = rule.assign
    return made


DOERS = ("agent", "tool", "function", "job", "activity", "workflow", "resource")


def resource_for(state: str, said: TaskFields) -> str:
    """The resource of a task that names one of several who can do it."""
    given = [(who, str(said.get(who))) for who in DOERS if said.get(who)]
    if len(given) != 1:
        named = " and ".join(who for who, _name in given) or "nobody"
        raise ConfigError(f"The task {state!r} names {named}: name one of {', '.join(DOERS)}.")
    ((who, name),) = given
    callback = ".waitForTaskToken" if said.get("callback") else ""
    match who:
        case "resource":
            return name + callback
        case "workflow":
            return f"arn:aws:states:::states:startExecution{callback or '.sync:2'}"
        case "activity" if not name.startswith("arn:"):
            raise ConfigError(
                f"The activity of the task {state!r} is named by the ARN that it got when it was created."
            )
        case "activity":
            return name
    return f"corral:{who}:{name}{callback}"
