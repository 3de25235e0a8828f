"""The memory of a service: what feeds it, what looks things up in it, and what tidies it."""
