"""A copilot for operations: triage and paging at the same time, remediation within limits, and word to those who wait."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from cloud import RUNBOOKS, example_cloud

from corral import Agent, App, Limits, Team, tool
from corral.agents.roles import Critic, Router

app = App()
cloud = example_cloud()

Service: TypeAlias = Literal["checkout", "search", "billing"]
"""Models choose from these, and cannot make one up."""


# -- tools: looking ----------------------------------------------------------------------------------------------------


@tool(read_only=True, idempotent=True)
async def query_logs(service: Service, contains: str = "") -> dict[str, Any]:
    """Read the newest log lines of a service, with its error rate.

    Args:
        service: Such as checkout.
        contains: Only lines with these words.
    """
    found = cloud.service(service)
    lines = [line for line in found.logs if contains.lower() in line.lower()]
    return {"error_rate_percent": found.error_rate * 100, "severity": cloud.severity(service), "lines": lines}


@tool(read_only=True, idempotent=True)
async def list_deployments(service: Service) -> list[dict[str, str]]:
    """List the deployments of a service, the newest last.

    Args:
        service: Such as checkout.
    """
    return [{"version": one.version, "at": one.at, "by": one.by} for one in cloud.service(service).deployments]


@tool(read_only=True, idempotent=True)
async def find_runbook(symptom: str) -> str:
    """Find what the runbooks say about a symptom.

    Args:
        symptom: What is wrong, in a few words.
    """
    fitting = [text for word, text in RUNBOOKS.items() if word in symptom.lower()]
    return "\n".join(fitting or RUNBOOKS.values())


# -- tools: doing ------------------------------------------------------------------------------------------------------


@tool
async def restart_service(service: Service) -> dict[str, Any]:
    """Restart a service.

    Args:
        service: Such as search.
    """
    return cloud.restart(service)


@tool
async def roll_back(service: Service, version: str) -> dict[str, Any]:
    """Roll a service back to an earlier version.

    Args:
        service: Such as checkout.
        version: One of those in its deployments.
    """
    return cloud.roll_back(service, version)


@tool
async def post_update(message: str) -> str:
    """Post an update to the status page.

    Args:
        message: What those who wait should know.
    """
    cloud.updates.append(message)
    return "Posted."


@tool
async def open_ticket(title: str) -> str:
    """Open a ticket for what is left to do.

    Args:
        title: In one line.
    """
    cloud.tickets.append(title)
    return f"Ticket {len(cloud.tickets)}."


# -- who works ---------------------------------------------------------------------------------------------------------

LOOK = [query_logs, list_deployments, find_runbook]
ACT = [restart_service, roll_back]

triage = Critic(
    Agent(
        "triage",
        "You are on call. Read logs and deployments, and say in three sentences: which service, how severe, the likely cause.",
        tools=LOOK,
        limits=Limits(steps=6, seconds=60),
    ),
    otherwise="note",  # whoever goes on is told what has no support; an alarm is no time to fall silent
)


def page(text: str) -> str:
    """Page the engineer on call, if it is severe: code, so that no model can forget it."""
    service = cloud.mentioned(text)
    if cloud.severity(service) != "high":
        return f"Nobody was paged: {service} is of {cloud.severity(service)} severity."
    cloud.pages.append(service)
    return f"The engineer on call was paged about {service}."


def how_severe(text: str) -> tuple[str, str]:
    """Who may mend it: measured in the cloud, not read out of what a model wrote."""
    severity = cloud.severity(cloud.mentioned(text))
    return ("with_approval" if severity == "high" else "by_itself"), f"the severity is {severity}"


REMEDY = "You mend what triage found: look the runbook up, do what it says, no more than once, and say what you did."

by_itself = Agent("by_itself", REMEDY, tools=[find_runbook, list_deployments, *ACT], limits=Limits(tool_calls=6))
with_approval = Agent(
    "with_approval",
    REMEDY,
    tools=[find_runbook, list_deployments, *(one.marked(approval=True) for one in ACT)],
    limits=Limits(tool_calls=6),
)

communicator = Agent(
    "communicator",
    "You tell those who wait: post one update to the status page, open a ticket for what is left to do, then sum up.",
    tools=[post_update, open_ticket],
)

copilot = app.add(
    Team(
        "copilot",
        description="Looks into an alarm, mends what it may, and says so.",
        members=[
            Team("first_response", pattern="parallel", members=[triage, page]),
            Router([by_itself, with_approval], by=how_severe, default="with_approval", name="remediation"),
            communicator,
        ],
        agents_max=8,
    ),
    "main",
)


@app.entrypoint(name="alarm")
async def alarm(payload: dict[str, Any]) -> Any:
    """What a monitor sends: `{"service": "checkout", "text": "5xx above 25 %"}`. Hand it in as a job: approvals wait for free."""
    service = str(payload["service"])
    result = await copilot.run(f"Alarm of {service}: {payload.get('text', 'something is wrong')}")
    return {"answer": result.output, "severity": cloud.severity(service), "agents": result.notes["members"]}
