"""Workflows written in Python: `Workflow("triage").task("classify", agent="intent").succeed("done")`.

What is built is a definition in the Amazon States Language and nothing else: it can be printed, kept in a file, and given to anybody
who reads that language. Steps follow one another in the order in which they are written; what is said with `next=` goes elsewhere.
Values that are computed are JSONata between `{%` and `%}`.

    triage = (
        Workflow("triage")
        .task("classify", agent="intent", arguments={"prompt": "{% $states.input.text %}"})
        .choice("route", when("{% $states.input.kind = 'refund' %}", steps().approval("allow", message="Refund it?")))
        .task("answer", agent="support")
    )
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, Unpack

from msgspec import UNSET, UnsetType

from corral.errors import ConfigError
from corral.workflows.built import (
    ApprovalFields,
    Catch,
    HttpFields,
    MapFields,
    ParallelFields,
    Path,
    Retry,
    Rule,
    Target,
    TaskFields,
    WorkFields,
    handled,
    resource_for,
    retried,
    when,
)

if TYPE_CHECKING:
    from corral.workflows.language.definition import Machine

Json: TypeAlias = Any


class Steps:
    """States one after another. A `Workflow` is a whole one; `steps()` begins those of a branch, of an item, or of a choice."""

    def __init__(self) -> None:
        """None yet."""
        self.states: dict[str, dict[str, Json]] = {}
        self.first = ""
        self.ends: list[Path] = []
        """What leads nowhere yet: the next state is put there, or it is the end."""

    # -- what does something

    def task(self, name: str, **said: Unpack[TaskFields]) -> Self:
        """Have somebody do something: exactly one of an agent, a tool, a function, a job, an activity, a workflow or a resource.

        `arguments` are what it is given; without them it is the state's input. A `workflow` is waited for, and its output is the
        result. `callback`: the task ends when its token (`{% $states.context.Task.Token %}`) is answered.
        """
        arguments = said.get("arguments", UNSET)
        if "workflow" in said:
            given = "{% $states.input %}" if arguments is UNSET else arguments
            arguments = {"StateMachineArn": said["workflow"], "Input": given}
        fields = {
            "Type": "Task",
            "Resource": resource_for(name, said),
            "Arguments": arguments,
            "TimeoutSeconds": said.get("timeout_s"),
            "HeartbeatSeconds": said.get("heartbeat_s"),
        }
        return self._work(name, fields, said)

    def http(self, name: str, url: str, **said: Unpack[HttpFields]) -> Self:
        """Call an address. The result is `{"StatusCode", "Headers", "ResponseBody"}`; an answer other than 2xx fails the task."""
        call = {"url": url} | {field: said[field] for field in ("method", "headers", "query", "body") if field in said}
        fields = {
            "Type": "Task",
            "Resource": "corral:http",
            "Arguments": call,
            "TimeoutSeconds": said.get("timeout_s"),
        }
        return self._work(name, fields, said)

    def approval(self, name: str, *, message: str, **said: Unpack[ApprovalFields]) -> Self:
        """Ask a person. The result is `{"decision", "by", "note", "form"}`.

        After `deadline_s` the answer is `otherwise`; without one the task fails with `States.Timeout`. `escalate` says after how
        many seconds whom else it is put to.
        """
        question: dict[str, Json] = {"message": message}
        for field in ("choices", "assignee", "form", "details", "deadline_s", "otherwise"):
            if field in said:
                question[field] = said[field]
        if "escalate" in said:
            later = sorted(said["escalate"].items())
            question["escalate"] = [{"after_s": after_s, "assignee": whom} for after_s, whom in later]
        return self._work(name, {"Type": "Task", "Resource": "corral:approval", "Arguments": question}, said)

    def parallel(self, name: str, *branches: Steps, **said: Unpack[ParallelFields]) -> Self:
        """Go several ways at once. The result is an array of what the branches gave, in their order."""
        fields = {
            "Type": "Parallel",
            "Branches": [branch.body() for branch in branches],
            "Arguments": said.get("arguments", UNSET),
        }
        return self._work(name, fields, said)

    def map(self, name: str, each: Steps, **said: Unpack[MapFields]) -> Self:
        """Do the same with each of many items: those of `items`, or of the state's input. The result is an array in their order.

        `distributed`: each item (or batch) is an execution of its own, of this kind; `reader`, `batcher` and `writer` are the
        fields `ItemReader`, `ItemBatcher` and `ResultWriter` of the language.
        """
        kind = said.get("distributed", "")
        config = {"Mode": "DISTRIBUTED", "ExecutionType": kind} if kind else {"Mode": "INLINE"}
        fields = {
            "Type": "Map",
            "Items": said.get("items", UNSET),
            "ItemReader": said.get("reader"),
            "ItemSelector": said.get("selector", UNSET),
            "ItemBatcher": said.get("batcher"),
            "ItemProcessor": {"ProcessorConfig": config, **each.body()},
            "MaxConcurrency": said.get("concurrency"),
            "ToleratedFailureCount": said.get("tolerated_failures"),
            "ToleratedFailurePercentage": said.get("tolerated_failures_percent"),
            "ResultWriter": said.get("writer"),
            "Label": said.get("label"),
        }
        return self._work(name, fields, said)

    # -- what shapes, waits and decides

    def shape(
        self,
        name: str,
        output: Json | UnsetType = UNSET,
        *,
        assign: dict[str, Json] | None = None,
        next: str = "",  # noqa: A002 - as above
        end: bool = False,
        comment: str = "",
    ) -> Self:
        """Hand on something else than the input (a `Pass`), or keep it in variables."""
        state = _said({"Type": "Pass", "Comment": comment, "Output": output, "Assign": assign})
        return self._step(name, state, next, end=end)

    def wait(
        self,
        name: str,
        seconds: float | str | None = None,
        *,
        until: str = "",
        next: str = "",  # noqa: A002 - as above
        end: bool = False,
        comment: str = "",
    ) -> Self:
        """Let time pass: so many seconds, or until a timestamp such as `2030-01-31T12:00:00Z`."""
        state = _said({"Type": "Wait", "Comment": comment, "Seconds": seconds, "Timestamp": until})
        return self._step(name, state, next, end=end)

    def choice(self, name: str, *rules: Rule, otherwise: Target = None, comment: str = "") -> Self:
        """Go on where the first rule says whose condition is true: `when("{% $states.input.score > 0.8 %}", "publish")`.

        A rule leads to a state by its name, or to steps of its own, after which it goes on with what is written next; as does
        what leads nowhere. `otherwise` is where to go when no condition is true.
        """
        written: list[dict[str, Json]] = []
        state: dict[str, Json] = _said({"Type": "Choice", "Comment": comment}) | {"Choices": written}
        self._add(name, state)
        for rule in rules:
            made = _said({"Condition": rule.condition, "Assign": rule.assign, "Output": rule.output})
            written.append(made)
            self._lead(made, "Next", rule.then)
        self._lead(state, "Default", otherwise)
        return self

    def succeed(self, name: str, *, output: Json | UnsetType = UNSET, comment: str = "") -> Self:
        """End here."""
        self._add(name, _said({"Type": "Succeed", "Comment": comment, "Output": output}))
        return self

    def fail(self, name: str, *, error: str = "", cause: str = "", comment: str = "") -> Self:
        """End here with an error."""
        self._add(name, _said({"Type": "Fail", "Comment": comment, "Error": error, "Cause": cause}))
        return self

    def state(self, name: str, state: dict[str, Json]) -> Self:
        """A state as the language has it; without `Next` and `End` it goes on with what is written next."""
        if state.get("Type") in ("Choice", "Succeed", "Fail"):
            self._add(name, dict(state))
            return self
        return self._step(name, dict(state), str(state.get("Next", "")), end=bool(state.get("End")))

    # -- putting together

    def body(self) -> dict[str, Json]:
        """`StartAt` and `States`; what leads nowhere is the end."""
        if any(field != "Next" or "Type" not in state for state, field in self.ends):
            raise ConfigError(
                "A choice goes on with what is written after it: end with `.succeed(…)`, or say where it leads."
            )
        last = {id(state) for state, _field in self.ends}
        states = {name: {**state, "End": True} if id(state) in last else state for name, state in self.states.items()}
        return {"StartAt": self.first, "States": states}

    def _work(self, name: str, fields: dict[str, Json], said: WorkFields) -> Self:
        more = {
            "Comment": said.get("comment"),
            "Output": said.get("output", UNSET),
            "Assign": said.get("assign"),
            "Retry": retried(said.get("retry", ())),
            "Catch": handled(said.get("catch", ())),
        }
        return self._step(name, _said(fields | more), said.get("next", ""), end=said.get("end", False))

    def _step(self, name: str, state: dict[str, Json], following: str, *, end: bool) -> Self:
        self._add(name, state)
        if following:
            state["Next"] = following
        elif end:
            state["End"] = True
        else:
            self.ends.append((state, "Next"))
        return self

    def _lead(self, rule: dict[str, Json], field: str, target: Target) -> None:
        """Have one rule of a choice lead somewhere."""
        if isinstance(target, str):
            rule[field] = target
        elif target is None:
            self.ends.append((rule, field))
        else:
            rule[field] = target.first
            for name, state in target.states.items():
                self._name(name)
                self.states[name] = state
            self.ends += target.ends

    def _add(self, name: str, state: dict[str, Json]) -> None:
        self._name(name)
        for before, field in self.ends:
            before[field] = name
        self.ends = []
        self.first = self.first or name
        self.states[name] = state

    def _name(self, name: str) -> None:
        if not name or name in self.states:
            raise ConfigError(
                f"There is a state {name!r} already: use another name." if name else "A state has a name."
            )


class Workflow(Steps):
    """A workflow: register it with `app.add(workflow)`, or write it to a file with `to_json()`."""

    __corral_workflow__ = True

    def __init__(
        self,
        name: str,
        *,
        comment: str = "",
        kind: Literal["STANDARD", "EXPRESS"] = "STANDARD",
        timeout_s: float | None = None,
    ) -> None:
        """`kind` EXPRESS: executions are quick, kept in memory, and not repeated after a crash."""
        super().__init__()
        self.name = name
        self.kind = kind
        self._head = _said({"Comment": comment, "QueryLanguage": "JSONata", "TimeoutSeconds": timeout_s})

    def definition(self) -> dict[str, Json]:
        """The definition. Raises `DefinitionInvalid` with everything that is wrong."""
        from corral.workflows.language.checking import faults  # noqa: PLC0415 - a program that only declares needs no checks
        from corral.workflows.language.fault import DefinitionInvalid, errors_of  # noqa: PLC0415 - as above

        made: dict[str, Json] = json.loads(json.dumps({**self._head, **self.body()}))
        found = faults(made, kind=self.kind)
        if errors_of(found):
            raise DefinitionInvalid(found)
        return made

    def machine(self) -> Machine:
        """The same as structs."""
        from corral.workflows.language.reading import machine_of  # noqa: PLC0415 - as above

        return machine_of(self.definition())

    def to_json(self, indent: int | None = 2) -> str:
        """The definition as text."""
        return json.dumps(self.definition(), indent=indent, ensure_ascii=False)


def steps() -> Steps:
    """Begin the steps of a branch, of an item, or of what a choice leads to."""
    return Steps()


def _said(fields: dict[str, Json]) -> dict[str, Json]:
    """Those that were given. None is what was left out; a null that is meant stands inside of something."""
    return {name: value for name, value in fields.items() if value is not UNSET and value is not None and value != ""}


__all__ = ["Catch", "Retry", "Rule", "Steps", "Workflow", "steps", "when"]
