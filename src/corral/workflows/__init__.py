"""Workflows: steps in an order that is written down, each visible, retried, timed and resumable by itself.

`language/` is what a definition says (Amazon States Language); `machine/` is what an execution does, without any clock, store
or network; `engine.py` keeps executions in a store and carries them on, wherever their last worker was.
"""
