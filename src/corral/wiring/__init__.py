"""The wiring: where rooms that may not know each other are joined. `service.py` joins everything; the others, two or three rooms each."""
