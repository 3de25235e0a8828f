"""Agents: the loop of a model and its tools, bounded; roles, and teams of them."""
