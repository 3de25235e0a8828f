"""`/v1/approvals`: what people are asked, by agents' runs and by workflows, in one list; and their answers."""

from __future__ import annotations

from corral.agents.desk import RunDesk
from corral.errors import ValidationFailed
from corral.server.agent_shown import body_of
from corral.server.approval_api import DESCRIPTIONS
from corral.server.approval_pages import Listing, Place, Source, merged
from corral.server.approval_shown import (
    answer_asked,
    approvals_asked,
    decision_asked,
    shown_approval,
    shown_question,
    task_states,
)
from corral.server.described import described_routes
from corral.server.http import Request
from corral.server.routes import Route
from corral.workflows.desk import WorkflowDesk
from corral.workflows.execution import Question
from corral.workflows.machine import tokens

_FIELDS = ("decision", "note", "input", "form")


class ApprovalRoutes:
    """Handlers of `/v1/approvals`."""

    def __init__(self, runs: RunDesk, workflows: WorkflowDesk) -> None:
        """`runs` ask before tools are called, `workflows` where a state is an approval."""
        self._runs = runs
        self._workflows = workflows

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `approval_api.py`."""
        return described_routes(
            {
                "GET /v1/approvals": self.list_approvals,
                "GET /v1/approvals/{id}": self.show,
                "POST /v1/approvals/{id}": self.decide,
            },
            DESCRIPTIONS,
        )

    async def list_approvals(self, request: Request) -> None:
        """`GET /v1/approvals`, newest first."""
        tenant, asked = request.context.tenant, approvals_asked(request)

        async def of_tools(place: Place, limit: int) -> Listing:
            page = await self._runs.approvals(tenant, asked.of_tools(limit, place.cursor))
            return Listing([(one.asked_at, one.id, shown_approval(one)) for one in page.items], page.next_cursor)

        async def of_workflows(place: Place, limit: int) -> Listing:
            page = await self._workflows.engine.approvals(
                tenant,
                states=task_states(asked.statuses),
                execution_id=asked.execution_id,
                limit=limit,
                cursor=place.cursor,
            )
            shown = [(one.asked_at, one.id, shown_question(one)) for one in page.items]
            fitting = [item for item in shown if not asked.statuses or item[2]["status"] in asked.statuses]
            return Listing(fitting, page.next_cursor)

        tools, workflows = asked.places
        sources = [
            Source(of_tools, tools if asked.wants_tools else None),
            Source(of_workflows, workflows if asked.wants_workflows else None),
        ]
        items, next_cursor = await merged(sources, asked.limit)
        await request.respond_json({"items": items, "next_cursor": next_cursor})

    async def show(self, request: Request) -> None:
        """`GET /v1/approvals/{id}`."""
        tenant, approval_id = request.context.tenant, request.params["id"]
        if _is_question(approval_id):
            await request.respond_json(shown_question(await self._question(tenant, approval_id)))
        else:
            await request.respond_json(shown_approval(await self._runs.approval(tenant, approval_id)))

    async def decide(self, request: Request) -> None:
        """`POST /v1/approvals/{id}`."""
        body = await body_of(request, _FIELDS)
        context, approval_id = request.context, request.params["id"]
        by = context.user_id or ""
        if _is_question(approval_id):
            await self._question(context.tenant, approval_id)
            answer = answer_asked(body)
            question = await self._workflows.decide(context.tenant, approval_id, answer, by=by)
            await request.respond_json(shown_question(question))
            return
        if "form" in body:
            raise ValidationFailed("This is about the call of a tool: it has an `input`, and no `form`.")
        approval = await self._runs.decide(context.tenant, approval_id, decision_asked(body, user_id=by))
        await request.respond_json(shown_approval(approval))

    async def _question(self, tenant: str, token: str) -> Question:
        return await self._workflows.engine.approval(tenant, token)


def _is_question(approval_id: str) -> bool:
    """Workflows ask under the token of their task."""
    return tokens.execution_of(approval_id) is not None
