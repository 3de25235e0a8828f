"""Real processes, a real store and a provider that enforces its limit: short here, long by `bench/limits.py`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "limits.py"


async def test_processes_share_an_allowance_and_one_that_is_killed_takes_little_of_it_along(tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, BENCH, "--store", f"sqlite:///{tmp_path}/corral.db", "--no-cost", "--kill"),
        *("--workers", "3", "--seconds", "4", "--tokens", "60000", "--at-once", "15"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    told = json.loads(out)
    assert len(told["each"]) == 2  # one of three was killed
    assert all(one["ok"] for one in told["each"])
    assert told["used_share"] > 0.8  # of a whole minute's tokens, in four seconds
    assert told["refused_share"] < 0.02
    assert told["late"] == 0
