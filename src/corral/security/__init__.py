"""Who did what, and was it allowed."""
