"""Roles that agents take in a team: router, planner, expert, critic, presenter. Each is a model, an agent, or code."""

from corral.agents.roles.critic import Critic
from corral.agents.roles.evidence import Draft, Objection
from corral.agents.roles.expert import Expert
from corral.agents.roles.plan import Plan, Result, Step
from corral.agents.roles.planner import Planner
from corral.agents.roles.presenter import Presenter
from corral.agents.roles.role import CodeRole, HandTo, Role
from corral.agents.roles.router import Choice, Router

__all__ = [
    "Choice",
    "CodeRole",
    "Critic",
    "Draft",
    "Expert",
    "HandTo",
    "Objection",
    "Plan",
    "Planner",
    "Presenter",
    "Result",
    "Role",
    "Router",
    "Step",
]
