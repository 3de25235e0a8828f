"""With this file here, pytest finds `agents.py`."""
