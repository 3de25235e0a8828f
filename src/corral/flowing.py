"""Joins workflows to jobs, agents, tools, functions and HTTP."""
