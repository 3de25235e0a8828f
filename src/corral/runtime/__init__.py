"""One invocation, from start to end: the agent's own callable, and the pipeline that runs it.

HTTP is not spoken here (`server` does), and neither is what to do inside an agent (the user's code does).
"""
