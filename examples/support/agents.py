"""A support desk: a classifier sends each question to who is for it; a retriever and the CRM are their tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from crm import Crm

from corral import Agent, App, tool
from corral.agents.roles import Critic, Expert, Router
from corral.agents.speculation import Speculation

HANDBOOK = Path(__file__).parent / "handbook"

app = App()
crm = Crm()


# -- tools -------------------------------------------------------------------------------------------------------------


@tool(read_only=True, idempotent=True, cache_ttl_s=300)
async def search_handbook(question: str) -> list[dict[str, str]]:
    """Find what the shop's handbook says about returns, shipping, or the care of leather.

    Args:
        question: What the customer wants to know, in a few words.
    """
    wanted = _words(question)
    scored = [(len(wanted & _words(f"{page} {text}")), page, text) for page, text in PARAGRAPHS]
    best = sorted((one for one in scored if one[0]), reverse=True)[:2]
    return [{"page": page, "text": text} for _, page, text in best]


@tool(read_only=True, idempotent=True)
async def find_orders(email: str) -> list[dict[str, Any]]:
    """Find all orders of a customer.

    Args:
        email: The customer's address.
    """
    return crm.of_customer(email)


@tool(read_only=True, idempotent=True)
async def order_status(order_id: str) -> dict[str, Any]:
    """Look one order up: what was bought, what was paid, where the parcel is.

    Args:
        order_id: Such as ORD-7781.
    """
    return crm.order(order_id)


@tool
async def refund(order_id: str, amount_eur: float) -> dict[str, Any]:
    """Give money back for an order.

    Args:
        order_id: Such as ORD-7781.
        amount_eur: How much, in EUR.
    """
    return crm.refund(order_id, amount_eur)


@tool
async def open_ticket(order_id: str, text: str) -> str:
    """Leave a note about an order for the people of the shop.

    Args:
        order_id: Such as ORD-7781.
        text: What they should know.
    """
    return f"Ticket {crm.ticket(order_id, text)} of {order_id}."


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", text.lower())}


PARAGRAPHS = [
    (page.stem, paragraph)
    for page in sorted(HANDBOOK.glob("*.md"))
    for paragraph in page.read_text(encoding="utf-8").split("\n\n")[1:]
]


# -- who answers -------------------------------------------------------------------------------------------------------

RULES = "You answer for a shop that sells saddles. Be brief and kind. Say nothing that no tool has told you."

orders = Expert(
    Critic(
        Agent(
            "orders",
            f"{RULES} You look after orders: where they are, and money back.",
            tools=[find_orders, order_status, search_handbook, refund, open_ticket],
            speculation=Speculation(),  # an order is mostly looked up once the customer's orders are known
        )
    ),
    description="Orders, parcels, tracking, invoices, payments, refunds.",
    examples=["Where is my order ORD-7781?", "My parcel has not arrived", "I want my money back"],
)
handbook = Expert(
    Agent("handbook", f"{RULES} You know the handbook.", tools=[search_handbook]),
    description="Rules of the shop and care: returns, shipping times, how to clean leather.",
    examples=["How long do I have to return a saddle?", "How do I oil leather?"],
)


def small_talk(_text: str) -> str:
    """Everything else."""
    return (
        "I can look up your orders (tell me a number such as ORD-7781), and what the handbook says. What is it about?"
    )


# Chosen by words, without a model and in microseconds; `by="small"` would have a model choose.
desk = app.add(Router([orders, handbook, small_talk], default="small_talk", name="desk"), "main")
