"""`corral:approval`: a question to a person, whose answer is the task's result."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from corral.errors import ValidationFailed
from corral.workflows.tasks.form import Form

_NOTE_MAX = 10_000

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Choice = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=_NOTE_MAX)]


class Escalation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is asked after the question has waited for so long."""

    after_s: Seconds
    assignee: Annotated[str, Meta(min_length=1, max_length=500)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a state asks with: the payload of its task."""

    message: Text
    choices: Annotated[tuple[Choice, ...], Meta(min_length=1, max_length=20)] = ("approve", "reject")
    assignee: Annotated[str, Meta(max_length=500)] = ""
    """Whom it is put to; empty: whoever of the tenant looks. It says who should answer, and locks nobody out."""
    form: dict[str, Any] | None = None
    """A flat JSON schema of what else is to be filled in (`Form`)."""
    details: Any = None
    """Shown beside the message."""
    deadline_s: Seconds | None = None
    """After so long it is not asked any more: `otherwise` is the answer, or the task fails with `States.Timeout`."""
    otherwise: str | None = None
    escalate: Annotated[list[Escalation], Meta(max_length=10)] = []
    """Sooner ones first."""

    def assignee_after(self, seconds: float) -> str:
        """Whom it is put to when it has waited for so long."""
        late = [step.assignee for step in self.escalate if step.after_s <= seconds]
        return late[-1] if late else self.assignee


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person answers."""

    decision: str
    note: Text = ""
    form: dict[str, Any] | None = None


def form_of(schema: dict[str, Any]) -> Form:
    """The form of a question. Raises `ValidationFailed`."""
    try:
        return msgspec.convert(schema, Form)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"This cannot be asked: the form is no flat JSON schema: {error}.") from None


def asked_of(payload: Any) -> Asked:
    """A question as it stands in a payload. Raises `ValidationFailed`."""
    try:
        asked = msgspec.convert(payload, Asked)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"This cannot be asked: {error}.") from None
    faults = [] if asked.form is None else form_of(asked.form).faults()
    if len(set(asked.choices)) < len(asked.choices):
        faults.append("`choices` are different from each other")
    if asked.otherwise is not None and asked.otherwise not in asked.choices:
        faults.append("`otherwise` is one of the choices")
    if asked.otherwise is not None and asked.deadline_s is None:
        faults.append("`otherwise` is for questions with `deadline_s`")
    if [step.after_s for step in asked.escalate] != sorted({step.after_s for step in asked.escalate}):
        faults.append("`escalate` lists later steps after sooner ones")
    if faults:
        raise ValidationFailed(f"This cannot be asked: {'; '.join(faults)}.")
    return asked


def decided(asked: Asked, given: Any, *, by: str) -> dict[str, Any]:
    """The result of a question that was answered so. Raises `ValidationFailed`."""
    try:
        answer = msgspec.convert(given, Decision)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"This is no answer: {error}.") from None
    if answer.decision not in asked.choices:
        raise ValidationFailed(
            f"The answer is one of {', '.join(map(repr, asked.choices))}, not {answer.decision[:100]!r}.",
            errors=[{"pointer": "/decision", "message": "There is no such choice."}],
        )
    form: dict[str, Any] | None = None
    if asked.form is not None:
        form = form_of(asked.form).filled_in(answer.form or {})
    elif answer.form:
        raise ValidationFailed("There is no form to fill in: leave `form` away.")
    return {"decision": answer.decision, "by": by, "note": answer.note, "form": form}


def unanswered(otherwise: str) -> dict[str, Any]:
    """The result of a question that nobody answered by its deadline, and that has an answer for that."""
    return {"decision": otherwise, "by": "", "note": "Nobody answered in time.", "form": None}
