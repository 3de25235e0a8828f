"""Queues of others, whose messages become jobs."""
