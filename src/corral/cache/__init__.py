"""Answers that were given before: exact, shared at the same time, and by meaning."""
