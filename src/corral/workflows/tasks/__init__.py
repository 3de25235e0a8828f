"""Tasks: how what a state asks for is done, service by service."""
