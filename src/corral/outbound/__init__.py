"""Calls to addresses that others chose: pinned, bounded, and never into the house itself."""
