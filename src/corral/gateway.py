"""An app without agents, for `corral gateway`: models for anybody who speaks OpenAI's API, and nothing else."""

from __future__ import annotations

from corral.app import App


class ModelsOnly(App):
    """Serves the models of the settings."""

    needs_agents = False


app = ModelsOnly("gateway")
