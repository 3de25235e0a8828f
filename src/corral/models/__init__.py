"""Asking models: providers, their languages, the router, and what makes a call survive."""
