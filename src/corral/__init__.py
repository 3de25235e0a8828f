"""Corral runs Python AI agents at scale. Most programs need `from corral import App` and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corral.version import VERSION as __version__  # noqa: N811 - the name Python's tools look for

if TYPE_CHECKING:
    from corral.agents import roles
    from corral.agents.agent import Agent
    from corral.agents.limits import Limits
    from corral.agents.team import Team
    from corral.app import App
    from corral.context import Context, current_context
    from corral.errors import CorralError
    from corral.limits.budget_manager import TokenBudgetManager
    from corral.memory.remembered import Memory
    from corral.messages import Message
    from corral.models.llm import LLM
    from corral.observability.traces import span
    from corral.tools.artefacts import read_artefact
    from corral.tools.failing import ToolFailed
    from corral.tools.parallel import ParallelToolExecutor
    from corral.tools.tool import Tool, tool
    from corral.tools.toolbox import Toolbox
    from corral.wiring.limiting import RateLimiter
    from corral.workflows.builder import Workflow

# Names are fetched when they are asked for: `import corral` costs a few milliseconds, and tools that only want the
# version never load a server.
_WHERE = {
    "Agent": "corral.agents.agent",
    "App": "corral.app",
    "Context": "corral.context",
    "CorralError": "corral.errors",
    "LLM": "corral.models.llm",
    "Limits": "corral.agents.limits",
    "Memory": "corral.memory.remembered",
    "Message": "corral.messages",
    "ParallelToolExecutor": "corral.tools.parallel",
    "RateLimiter": "corral.wiring.limiting",
    "Team": "corral.agents.team",
    "TokenBudgetManager": "corral.limits.budget_manager",
    "Tool": "corral.tools.tool",
    "ToolFailed": "corral.tools.failing",
    "Toolbox": "corral.tools.toolbox",
    "Workflow": "corral.workflows.builder",
    "current_context": "corral.context",
    "read_artefact": "corral.tools.artefacts",
    "span": "corral.observability.traces",
    "tool": "corral.tools.tool",
}

__all__ = [
    "LLM",
    "Agent",
    "App",
    "Context",
    "CorralError",
    "Limits",
    "Memory",
    "Message",
    "ParallelToolExecutor",
    "RateLimiter",
    "Team",
    "TokenBudgetManager",
    "Tool",
    "ToolFailed",
    "Toolbox",
    "Workflow",
    "__version__",
    "current_context",
    "read_artefact",
    "roles",
    "span",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name == "roles":
        return import_module("corral.agents.roles")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'corral' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
