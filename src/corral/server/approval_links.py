"""Links with which people answer what a workflow asks, without an account: a page that shows the question, and takes the answer.

Looking never answers: mail programs and chats open links by themselves. Whoever has the link may answer, once.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from msgspec import UNSET

from corral.clock import SYSTEM_CLOCK, Clock
from corral.errors import CorralError, PayloadTooLarge, ValidationFailed
from corral.server.http import Header, Request
from corral.server.job_schemas import TIME, objects
from corral.server.markup import escape_quoted
from corral.server.routes import Answer, Param, Route
from corral.workflows.desk import WorkflowDesk
from corral.workflows.execution import Question
from corral.workflows.tasks.approvals import Asked, asked_of, form_of
from corral.workflows.tasks.form import Field
from corral.workflows.tasks.links import Link, LinkInvalid, Links

_BODY_MAX = 262_144
_FIELD = "form."
"""Before the names of the form's fields, so that none of them is taken for one of ours."""
_HTML = b"text/html; charset=utf-8"
_PAGE: list[Header] = [
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.3rem;white-space:pre-wrap}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
    "label{display:block;margin:.8rem 0}input,select,textarea{font:inherit;width:100%;box-sizing:border-box}"
    "input[type=checkbox]{width:auto}button{font:inherit;padding:.5rem 1.2rem;margin:1rem .6rem 0 0}small{color:#666}"
    ".wrong{color:#a00}"
)
_LINK = Param("link", "path", "The link's own part.", required=True)


class ApprovalLinkRoutes:
    """Handlers of `/v1/approvals/{id}/link` and `/approvals/{link}`."""

    def __init__(
        self, desk: WorkflowDesk, links: Links, *, public_url: str, link_s: float, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Links begin with `public_url`, and live for `link_s` unless their question has a deadline."""
        self._desk = desk
        self._links = links
        self._public_url = public_url.rstrip("/")
        self._link_s = link_s
        self._now = clock.now

    def routes(self) -> list[Route]:
        """All three."""
        pages = {200: Answer("A page", {"type": "string"}, _HTML.decode()), 404: Answer("No such link, or no longer")}
        return [
            Route(
                method="POST",
                path="/v1/approvals/{id}/link",
                handler=self.make,
                tag="approvals",
                summary="Make a link with which anybody who has it may answer what a workflow asks",
                body={"type": "object", "properties": {}, "additionalProperties": False},
                body_required=False,
                answers={
                    201: Answer("The link", objects({"url": {"type": "string"}, "expires_at": TIME})),
                    404: Answer("There is no such question"),
                },
            ),
            Route(
                method="GET",
                path="/approvals/{link}",
                handler=self.show,
                tag="approvals",
                summary="The page on which a person answers; looking at it changes nothing",
                public=True,
                params=(_LINK,),
                answers=pages,
            ),
            Route(
                method="POST",
                path="/approvals/{link}",
                handler=self.answer,
                tag="approvals",
                summary="Answer, as the page does: a form with `decision`, `note`, and a `form.NAME` for each field",
                public=True,
                params=(_LINK,),
                answers=pages,
            ),
        ]

    async def make(self, request: Request) -> None:
        """`POST /v1/approvals/{id}/link`."""
        tenant = request.context.tenant
        question = await self._desk.engine.approval(tenant, request.params["id"])
        expires_at = question.expires_at or self._now() + self._link_s
        text = await self._links.sign(Link(tenant=tenant, token=question.id, expires_at=expires_at))
        await request.respond_json({"url": f"{self._public_url}/approvals/{text}", "expires_at": expires_at}, 201)

    async def show(self, request: Request) -> None:
        """`GET /approvals/{link}`."""
        try:
            _, question = await self._asked(request)
        except LinkInvalid as error:
            await _respond(request, _message(error.message), error.status)
            return
        await _respond(request, _question(question, asked_of(question.payload)))

    async def answer(self, request: Request) -> None:
        """`POST /approvals/{link}`."""
        try:
            link, question = await self._asked(request)
        except LinkInvalid as error:
            await _respond(request, _message(error.message), error.status)
            return
        asked = asked_of(question.payload)
        raw = await request.body()
        if len(raw) > _BODY_MAX:
            raise PayloadTooLarge(f"An answer has at most {_BODY_MAX} bytes.")
        filled = {name: values[-1] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()}
        who = asked.assignee_after(self._now() - question.asked_at)
        try:
            answered = await self._desk.decide(link.tenant, link.token, _answer_of(asked, filled), by=who or "link")
        except ValidationFailed as error:
            await _respond(request, _question(question, asked, wrong=_said(error)), error.status)
        except CorralError as error:
            await _respond(request, _message(error.message), error.status)
        else:
            await _respond(request, _question(answered, asked))

    async def _asked(self, request: Request) -> tuple[Link, Question]:
        link = await self._links.read(request.params["link"])
        try:
            return link, await self._desk.engine.approval(link.tenant, link.token)
        except CorralError as error:
            raise LinkInvalid("Nobody waits for an answer to this any more.") from error


async def _respond(request: Request, page: str, status: int = 200) -> None:
    await request.respond(status, page.encode(), _HTML, _PAGE)


def _answer_of(asked: Asked, filled: dict[str, str]) -> dict[str, Any]:
    """What was filled in on the page, as an answer."""
    answer: dict[str, Any] = {"decision": filled.get("decision", ""), "note": filled.get("note", "")}
    if asked.form is not None:
        fields = form_of(asked.form).properties
        answer["form"] = {
            name: _value(field, filled.get(_FIELD + name, ""))
            for name, field in fields.items()
            if field.type == "boolean" or filled.get(_FIELD + name, "") != ""
        }
    return answer


def _value(field: Field, text: str) -> Any:
    """The value that a text of the page stands for; what stands for none is refused with the rest."""
    if field.type == "boolean":
        return text == "on"
    if field.type == "string":
        return text
    try:
        return int(text) if field.type == "integer" else float(text)
    except ValueError:
        return text


def _said(error: ValidationFailed) -> str:
    faults = [f"{str(one.get('pointer', '')).lstrip('/')}: {one.get('message', '')}" for one in error.errors]
    return " ".join(faults) or error.message


# -- the page


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape_quoted(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _message(text: str) -> str:
    return _document("Corral", f"<h1>{escape_quoted(text)}</h1>")


def _question(question: Question, asked: Asked, *, wrong: str = "") -> str:
    parts = [f"<h1>{escape_quoted(asked.message)}</h1>"]
    if asked.details is not None:
        details = (
            asked.details if isinstance(asked.details, str) else json.dumps(asked.details, indent=2, ensure_ascii=False)
        )
        parts.append(f"<pre>{escape_quoted(details)}</pre>")
    if not question.is_open:
        answer = question.answer if isinstance(question.answer, dict) else {}
        decision = escape_quoted(str(answer.get("decision", "")))
        parts.append(f"<p>This is answered: <strong>{decision}</strong></p>" if decision else "<p>This is over.</p>")
        return _document("Answered", "".join(parts))
    if wrong:
        parts.append(f'<p class="wrong">{escape_quoted(wrong)}</p>')
    parts.append('<form method="post">')
    if asked.form is not None:
        form = form_of(asked.form)
        parts += [_input(name, field, required=name in form.required) for name, field in form.properties.items()]
    parts.append('<label>Note<textarea name="note" rows="3" maxlength="10000"></textarea></label>')
    parts += [
        f'<button name="decision" value="{escape_quoted(choice)}">{escape_quoted(choice)}</button>'
        for choice in asked.choices
    ]
    parts.append(f"</form><p><small>{escape_quoted(question.state_name)}</small></p>")
    return _document(asked.message, "".join(parts))


def _input(name: str, field: Field, *, required: bool) -> str:
    label = escape_quoted(field.title or name)
    given = escape_quoted(_FIELD + name)
    need = " required" if required and field.type != "boolean" else ""
    default = "" if field.default is UNSET else escape_quoted(str(field.default))
    if field.type == "boolean":
        checked = " checked" if field.default is True else ""
        inside = f'<input type="checkbox" name="{given}"{checked}>'
    elif field.enum is not None:
        options = "".join(
            f"<option{' selected' if one == field.default else ''}>{escape_quoted(str(one))}</option>"
            for one in field.enum
        )
        inside = f'<select name="{given}">{options}</select>'
    elif field.type == "string":
        inside = f'<input name="{given}" value="{default}" maxlength="{field.max_length}"{need}>'
    else:
        step = "1" if field.type == "integer" else "any"
        inside = f'<input type="number" step="{step}" name="{given}" value="{default}"{need}>'
    about = f"<small>{escape_quoted(field.description)}</small>" if field.description else ""
    return f"<label>{label} {inside}{about}</label>"
