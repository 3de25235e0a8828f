"""The languages the simulator is asked in over HTTP, each read from its provider's own description, and from nothing else here."""
