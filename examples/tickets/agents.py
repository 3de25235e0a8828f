"""Tickets: each step of a workflow is an agent, a tool or a function of its own, and a person decides about money."""

from __future__ import annotations

import re
from typing import Any

from corral import Agent, App, Workflow
from corral.workflows.builder import Catch, Retry, steps, when

app = App("tickets")

TICKETS: dict[str, dict[str, Any]] = {}
"""Stands in for the helpdesk's own database."""

HANDBOOK = {
    "refund": "Whoever sends something back within 30 days gets the money back.",
    "shipping": "A parcel takes three to five days; its number is in the mail that said it was sent.",
    "care": "Leather wants oil twice a year, and never a heater.",
}


# -- the micro-agents: functions, each with its own concurrency and retries ------------------------------------------------


@app.function(concurrency=50)
async def receive(ticket: dict[str, Any]) -> dict[str, Any]:
    """Keep what the customer wrote. The same ticket twice is one."""
    number = ticket.get("number") or f"T-{len(TICKETS) + 1}"
    TICKETS.setdefault(number, {"text": ticket["text"], "customer": ticket["customer"], "status": "open"})
    return {"number": number, "text": ticket["text"].strip(), "customer": ticket["customer"]}


@app.function(concurrency=4)
async def update_ticket(update: dict[str, Any]) -> dict[str, Any]:
    """Write into the helpdesk what became of a ticket."""
    TICKETS[update["number"]] |= {"status": update["status"], "answer": update.get("answer", "")}
    return {"number": update["number"], "status": update["status"]}


@app.function
async def pay_back(order: dict[str, Any]) -> dict[str, Any]:
    """Give money back. The token of the task makes this safe to repeat with a payment provider."""
    return {"paid": order["amount"], "to": order["customer"]}


# -- what they ask ---------------------------------------------------------------------------------------------------------


@app.tool(read_only=True, idempotent=True)
async def search_handbook(kind: str, question: str) -> list[str]:
    """Find what the handbook says.

    Args:
        kind: What the question is about.
        question: The question itself.
    """
    wanted = set(re.findall(r"[a-z]{4,}", question.lower()))
    return [text for name, text in HANDBOOK.items() if name == kind or wanted & set(text.lower().split())]


app.add(Agent("classify", "Say in one word what this is about: refund, shipping or care."))
app.add(Agent("respond", "Answer the customer kindly, from what you are given and from nothing else."))


# -- money is given back only when a person says so --------------------------------------------------------------------------

refund = (
    Workflow("refund", comment="Small amounts at once; larger ones when somebody says so")
    .choice(
        "How much?",
        when(
            "{% $states.input.amount > 50 %}",
            steps()
            .approval(
                "Ask",
                message="{% 'Pay ' & $string($states.input.amount) & ' EUR back to ' & $states.input.customer & '?' %}",
                assignee="support-leads",
                details="{% $states.input %}",
                form={"type": "object", "properties": {"amount": {"type": "number", "minimum": 0}}},
                deadline_s=86_400,
                otherwise="reject",
                escalate={3_600: "head-of-support"},
                assign={"asked": "{% $states.input %}"},
                output="{% $merge([$states.input, $states.result.form, {'decision': $states.result.decision}]) %}",
            )
            .choice("Allowed?", when("{% $states.input.decision = 'reject' %}", "Refused")),
        ),
    )
    .task(
        "Pay",
        function="pay_back",
        retry=Retry(attempts=5, interval_s=2, jitter=True),
        catch=Catch(then="Broken", output="{% $states.errorOutput %}"),
        next="Paid",
    )
    .succeed("Refused", output={"paid": 0})
    .fail("Broken", error="PaymentFailed", cause="The payment provider does not answer.")
    .succeed("Paid")
)
app.add(refund)
