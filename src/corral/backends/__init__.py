"""Databases: each engine implements the rooms' ports in `backends/<engine>/<room>.py`, and nothing else.

`open_stores(url)` picks the engine by the URL. What a port promises is proved by `corral.testing.contracts`.
"""
