"""Who did what, by which rule, and was it allowed: written down in order, kept for a while, never with a secret."""
