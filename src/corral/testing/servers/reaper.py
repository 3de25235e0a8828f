"""Waits until nobody uses a test server any more, then stops it: `python -m corral.testing.servers.reaper LOCK HOME`."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from corral.testing.servers.postgres import remove


def main(lock: str, home: str) -> None:
    """Users hold the lock shared as long as they live; the kernel lets go for those who are killed."""
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    remove(Path(home))


if __name__ == "__main__":
    main(*sys.argv[1:3])
