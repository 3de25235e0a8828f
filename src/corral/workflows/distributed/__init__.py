"""Distributed Maps: where items come from, how they become children, who begins those and counts them, and where results go."""
