"""A definition as structs. `checking.py` has looked at it before: here every field has a place and nothing is judged.

Fields are named as in the language, in our spelling (`ResultPath` is `result_path`). What may be an expression stays as it was
written, and is evaluated when its state runs. `UNSET` tells a field that is not there from one that is null.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

Language = Literal["JSONPath", "JSONata"]
Number: TypeAlias = int | float | str
"""A number, or a JSONata expression."""


class Retrier(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One rule of `Retry`."""

    error_equals: tuple[str, ...]
    interval_seconds: float = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_seconds: float | None = None
    jitter_strategy: Literal["NONE", "FULL"] = "NONE"


class Catcher(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One rule of `Catch`."""

    error_equals: tuple[str, ...]
    next: str
    result_path: str | None = "$"
    assign: Any = UNSET
    output: Any = UNSET


class _State(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", tag_field="Type"):
    comment: str = ""
    query_language: Language | None = None
    """Its own; none: that of the body it stands in."""


class _Flow(_State, frozen=True, kw_only=True, rename="pascal"):
    """What every state has that hands data on."""

    input_path: str | None = "$"
    output_path: str | None = "$"
    output: Any = UNSET
    assign: Any = UNSET


class _Step(_Flow, frozen=True, kw_only=True, rename="pascal"):
    """What every state has after which another one may come."""

    next: str | None = None
    end: bool = False


class _Work(_Step, frozen=True, kw_only=True, rename="pascal"):
    """What every state has that does something which may fail."""

    parameters: Any = UNSET
    arguments: Any = UNSET
    result_selector: Any = UNSET
    result_path: str | None = "$"
    retry: tuple[Retrier, ...] = ()
    catch: tuple[Catcher, ...] = ()


class Pass(_Step, frozen=True, kw_only=True, rename="pascal", tag="Pass"):
    """Hands on, perhaps in another shape."""

    parameters: Any = UNSET
    result: Any = UNSET
    result_path: str | None = "$"


class Wait(_Step, frozen=True, kw_only=True, rename="pascal", tag="Wait"):
    """Lets time pass: exactly one of these."""

    seconds: Number | None = None
    timestamp: str | None = None
    seconds_path: str | None = None
    timestamp_path: str | None = None


class Succeed(_Flow, frozen=True, kw_only=True, rename="pascal", tag="Succeed"):
    """Ends its body."""


class Fail(_State, frozen=True, kw_only=True, rename="pascal", tag="Fail"):
    """Ends its body with an error."""

    error: str | None = None
    cause: str | None = None
    error_path: str | None = None
    cause_path: str | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One rule of `Choices`."""

    next: str
    test: dict[str, Any] = {}
    """JSONPath: everything else that was written, such as `{"Variable": "$.x", "NumericEquals": 1}`."""
    condition: Any = UNSET
    """JSONata: the expression, or true or false."""
    assign: Any = UNSET
    output: Any = UNSET


class Choice(_Flow, frozen=True, kw_only=True, rename="pascal", tag="Choice"):
    """Decides where to go on."""

    choices: tuple[Rule, ...]
    default: str | None = None


class Task(_Work, frozen=True, kw_only=True, rename="pascal", tag="Task"):
    """Has somebody do something."""

    resource: str
    timeout_seconds: Number | None = None
    timeout_seconds_path: str | None = None
    heartbeat_seconds: Number | None = None
    heartbeat_seconds_path: str | None = None
    credentials: Any = UNSET


class ProcessorConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How the items of a Map are gone over."""

    mode: Literal["INLINE", "DISTRIBUTED"] = "INLINE"
    execution_type: Literal["STANDARD", "EXPRESS"] | None = None


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """States that belong together: a machine's own, a branch's, an item's."""

    start_at: str
    states: dict[str, State]
    comment: str = ""
    query_language: Language | None = None
    processor_config: ProcessorConfig = ProcessorConfig()


class Parallel(_Work, frozen=True, kw_only=True, rename="pascal", tag="Parallel"):
    """Runs several bodies at once."""

    branches: tuple[Body, ...]


class Map(_Work, frozen=True, kw_only=True, rename="pascal", tag="Map"):
    """Runs one body for each of many items. `Iterator` and `Parameters` are read as `ItemProcessor` and `ItemSelector`."""

    item_processor: Body
    items: Any = UNSET
    items_path: str | None = None
    item_selector: Any = UNSET
    max_concurrency: Number | None = None
    max_concurrency_path: str | None = None
    item_reader: dict[str, Any] | None = None
    item_batcher: dict[str, Any] | None = None
    result_writer: dict[str, Any] | None = None
    label: str | None = None
    tolerated_failure_count: Number | None = None
    tolerated_failure_count_path: str | None = None
    tolerated_failure_percentage: Number | None = None
    tolerated_failure_percentage_path: str | None = None


State: TypeAlias = Pass | Wait | Succeed | Fail | Choice | Task | Parallel | Map


class Machine(Body, frozen=True, kw_only=True, rename="pascal"):
    """A whole definition."""

    version: str = "1.0"
    timeout_seconds: float | None = None

    def body(self, path: tuple[str, ...]) -> Body:
        """The body at a path such as `("States", "Each", "ItemProcessor")` or `("States", "Both", "Branches", "1")`."""
        found: Body = self
        parts = iter(path)
        for _states in parts:
            state = found.states[next(parts)]
            if next(parts) == "Branches" and isinstance(state, Parallel):
                found = state.branches[int(next(parts))]
            elif isinstance(state, Map):
                found = state.item_processor
        return found


def language_of(body: Body, state: State, outer: Language = "JSONPath") -> Language:
    """The language of one state: its own, else its body's, else that of what is around the body."""
    return state.query_language or body.query_language or outer


__all__ = [
    "UNSET",
    "Body",
    "Catcher",
    "Choice",
    "Fail",
    "Language",
    "Machine",
    "Map",
    "Number",
    "Parallel",
    "Pass",
    "ProcessorConfig",
    "Retrier",
    "Rule",
    "State",
    "Succeed",
    "Task",
    "UnsetType",
    "Wait",
    "language_of",
]
