"""The numbers of the audit: `corral_security_audit_*`."""

from __future__ import annotations

from corral.observability.metrics import Metrics, Value


class AuditCounting:
    """Counts entries by what was decided, and those that were lost."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._entries = metrics.counter(
            "corral_security_audit_entries_total", "Entries of the audit.", "action", "decision"
        )
        self._dropped = metrics.counter(
            "corral_security_audit_dropped_total",
            "Entries that could not be kept because the store was away for too long; the log has them.",
        )
        self._pending = metrics.gauge("corral_security_audit_pending", "Entries that wait for the store.")
        self._known: dict[tuple[str, str], Value] = {}

    def added(self, action: str, decision: str) -> None:
        """One more."""
        value = self._known.get((action, decision))
        if value is None:
            value = self._known[action, decision] = self._entries.value(action, decision)
        value.value += 1

    def dropped(self, count: int) -> None:
        """So many are not in the store."""
        self._dropped.value().inc(count)

    def pending(self, count: int) -> None:
        """So many are not there yet."""
        self._pending.value().set(count)


class ChainCounting:
    """Counts what was signed, and says when it was last looked at and what was found."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare them."""
        self._signed = metrics.counter(
            "corral_security_audit_checkpoints_total", "Checkpoints of the audit that were signed."
        )
        self._verified = metrics.gauge(
            "corral_security_audit_verified_timestamp_seconds",
            "When a part of the audit was last checked, in seconds since 1970.",
            of_workers="highest",
        )
        self._broken = metrics.gauge(
            "corral_security_audit_broken",
            "Tenants whose audit was found changed since this worker began.",
            of_workers="highest",
        )
        self._broken.value().set(0)

    def signed(self) -> None:
        """One more."""
        self._signed.value().inc(1)

    def verified(self, at: float) -> None:
        """Looked at, at this time."""
        self._verified.value().set(at)

    def broken(self, tenants: int) -> None:
        """So many are not what they were."""
        self._broken.value().set(tenants)
