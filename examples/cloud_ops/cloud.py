"""A small cloud of one's own: three services with logs, deployments and runbooks, one of which is broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Deployment:
    """A version that was brought out."""

    version: str
    at: str
    by: str


@dataclass
class Service:
    """One service, and how it does."""

    name: str
    deployments: list[Deployment]
    error_rate: float
    logs: list[str]
    broken_by: str = ""
    """The version that broke it; empty: something that a restart mends."""
    restarts: int = 0

    @property
    def version(self) -> str:
        """What runs now."""
        return self.deployments[-1].version


RUNBOOKS = {
    "memory": "Memory: restart the service. If it comes back within a day, look for a leak in the newest deployment.",
    "deployment": "Errors since a deployment: roll back to the version before it, then tell the people who brought it out.",
    "database": "Database: never restart it. Page the on-call engineer.",
}


@dataclass
class Cloud:
    """Everything an operator can see and do."""

    services: dict[str, Service] = field(default_factory=dict)
    pages: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    tickets: list[str] = field(default_factory=list)

    def severity(self, service: str) -> str:
        """How bad it is, by the share of requests that fail: measured, and not for a model to say."""
        rate = self.service(service).error_rate
        return "high" if rate >= 0.25 else "medium" if rate >= 0.05 else "low"  # noqa: PLR2004 - the operator's limits

    def service(self, name: str) -> Service:
        """One service. Raises `KeyError` that says which there are."""
        if name not in self.services:
            raise KeyError(f"There is no service {name!r}; there are {', '.join(self.services)}.")
        return self.services[name]

    def mentioned(self, text: str) -> str:
        """The service that a text is about; the worst one if it names none."""
        named = [name for name in self.services if name in text]
        return named[0] if named else max(self.services, key=lambda name: self.services[name].error_rate)

    def restart(self, name: str) -> dict[str, Any]:
        """Restart it: mends what no deployment broke."""
        service = self.service(name)
        service.restarts += 1
        if not service.broken_by:
            service.error_rate = 0.0
        return {"service": name, "restarts": service.restarts, "error_rate": service.error_rate}

    def roll_back(self, name: str, version: str) -> dict[str, Any]:
        """Bring an earlier version out again. Raises `ValueError` for one that never ran."""
        service = self.service(name)
        if version not in [one.version for one in service.deployments]:
            raise ValueError(f"{name} never ran {version}.")
        service.deployments.append(Deployment(version, "2026-03-02T14:30:00Z", "copilot"))
        if service.broken_by and service.broken_by != version:
            service.error_rate = 0.0
        return {"service": name, "version": service.version, "error_rate": service.error_rate}


def example_cloud() -> Cloud:
    """The checkout was broken by a deployment, search is short of memory, and billing is fine."""
    checkout = Service(
        "checkout",
        [
            Deployment("v2.14.0", "2026-02-27T09:12:00Z", "ada"),
            Deployment("v2.15.0", "2026-03-02T14:01:00Z", "grace"),
        ],
        error_rate=0.41,
        logs=[
            "14:02:11 ERROR payment declined: currency missing in request (v2.15.0)",
            "14:02:12 ERROR payment declined: currency missing in request (v2.15.0)",
            "14:02:40 WARN  retry budget used up",
        ],
        broken_by="v2.15.0",
    )
    search = Service(
        "search",
        [Deployment("v1.8.3", "2026-02-20T10:00:00Z", "linus")],
        error_rate=0.08,
        logs=["13:40:02 ERROR OutOfMemory: heap 4096 MB", "13:41:19 WARN  container restarted by the kernel"],
    )
    billing = Service("billing", [Deployment("v4.0.1", "2026-01-30T08:00:00Z", "ada")], error_rate=0.0, logs=[])
    return Cloud({one.name: one for one in (checkout, search, billing)})
