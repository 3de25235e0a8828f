"""How a worker has its interpreter work: for a service that runs for long, under full load."""

from __future__ import annotations

import gc
import sys


def settle() -> None:
    """Called on the running loop, when all that stays is there."""
    gc.freeze()  # what is here now stays: the collector need not look at it, now or ever
    gc.set_threshold(5_000, 20, 50)
    gc.enable()
    sys.setswitchinterval(0.0005)  # writer threads must get the interpreter soon, even under full load
    # The loop lists every asynchronous generator in case it is left open at the end. Ours are closed by who reads them, and
    # a call of a model has a dozen.
    sys.set_asyncgen_hooks(firstiter=None)
