"""The shop's own records, as small as they can be: put your CRM here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Order:
    """One order of a customer."""

    id: str
    email: str
    item: str
    paid_eur: float
    status: str
    tracking: str = ""
    refunded_eur: float = 0.0
    tickets: list[str] = field(default_factory=list)


class Crm:
    """Looks orders up, and writes to them."""

    def __init__(self) -> None:
        """With three orders of two customers."""
        orders = [
            Order("ORD-7781", "ada@example.com", "dressage saddle", 890.0, "shipped", "RR-4471-AT"),
            Order("ORD-7790", "ada@example.com", "girth", 49.0, "delivered"),
            Order("ORD-8002", "grace@example.com", "bridle", 129.0, "packed"),
        ]
        self._orders = {order.id: order for order in orders}

    def of_customer(self, email: str) -> list[dict[str, Any]]:
        """All orders of a customer."""
        return [asdict(order) for order in self._orders.values() if order.email == email.strip().lower()]

    def order(self, order_id: str) -> dict[str, Any]:
        """One order. Raises `KeyError`."""
        return asdict(self._orders[order_id])

    def refund(self, order_id: str, amount_eur: float) -> dict[str, Any]:
        """Give money back, never more than was paid. Raises `KeyError` and `ValueError`."""
        order = self._orders[order_id]
        if amount_eur <= 0 or order.refunded_eur + amount_eur > order.paid_eur:
            raise ValueError(f"{order.paid_eur - order.refunded_eur:g} EUR of {order_id} can be refunded at most.")
        order.refunded_eur += amount_eur
        return asdict(order)

    def ticket(self, order_id: str, text: str) -> int:
        """Leave a note for the people of the shop; returns its number."""
        order = self._orders[order_id]
        order.tickets.append(text)
        return len(order.tickets)
