"""A conversation, kept outside the worker: append-only events, small state, and whose turn it is.

What outlives a conversation (facts, documents, retrieval) belongs to `memory`; this room keeps what was said.
"""
