"""Tools: typed, permitted, safe to repeat, bounded."""
