"""The tools of a service: which layers are around a call, outermost first, in one list."""
