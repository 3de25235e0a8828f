"""What an agent's loop costs: Corral within a whole service, against pydantic-ai and Strands with test models, measured in one run.

    make bench-agents                                 all of it, about a minute
    python bench/agents.py --seconds 1 --rounds 1     quickly

The same run for all: five turns with two tools each, then an answer, from a model that follows a script within the process.
Corral runs with everything on (traces kept in the store, metrics, audit, all layers of tools); the others as they come, and
traced: by OpenTelemetry's SDK, in batches that are thrown away. Each is one process; they take turns round by round, the best round of each counts, and only ratios are worth reading. Peers live
in `.venv-agents` (bench/peers/agents.txt); those that are not installed are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PEERS_PYTHON = HERE.parent / ".venv-agents" / "bin" / "python"

Figures = dict[str, float]

OURS = "corral"
# Name, its program, and whether it is a peer.
RUNNERS = (
    (OURS, ["agents_corral.py", "--how", "model"], False),
    ("corral, through all layers of models", ["agents_corral.py", "--how", "stack"], False),
    ("pydantic-ai", ["peers/pydantic_ai_agent.py"], True),
    ("pydantic-ai, traced", ["peers/pydantic_ai_agent.py", "--traced"], True),
    ("strands", ["peers/strands_agent.py"], True),
    ("strands, traced", ["peers/strands_agent.py", "--traced"], True),
)
TIMES_WANTED = 5.0
CPU_MS_WANTED = 2.0
STREAMS_MB_WANTED = 1_500.0


def measured(program: list[str], *, peer: bool, more: list[str]) -> Figures:
    """One process, its figures; it says what went wrong when it has none."""
    python = str(PEERS_PYTHON) if peer else sys.executable
    command = [python, str(HERE / program[0]), *program[1:], *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(turns: int, seconds: float, rounds: int) -> dict[str, Figures]:
    """Round by round, each in turn; the best round of each."""
    best: dict[str, Figures] = {}
    for number in range(rounds):
        for name, program, peer in RUNNERS:
            if peer and not PEERS_PYTHON.exists():
                continue
            print(f"round {number + 1}: {name}", file=sys.stderr)
            figures = measured(program, peer=peer, more=["--turns", str(turns), "--seconds", str(seconds)])
            if name not in best or figures["runs_per_s"] > best[name]["runs_per_s"]:
                best[name] = figures
    return best


def show(best: dict[str, Figures], streams: Figures) -> None:
    """A line for each, and the ratios."""
    ours = best[OURS]
    print(f"{'':40}{'runs/s':>10}{'CPU ms/run':>12}{'Corral is':>12}")
    for name, figures in best.items():
        times = ours["runs_per_s"] / figures["runs_per_s"]
        ratio = "" if name.startswith(OURS) else f"{times:9.1f} x  {'ok' if times >= TIMES_WANTED else 'below'}"
        print(f"{name:40}{figures['runs_per_s']:10.0f}{figures['cpu_ms']:12.2f}{ratio:>12}")
    print(f"CPU of one run: {ours['cpu_ms']:.2f} ms, of {CPU_MS_WANTED:g} ms at most on an idle machine")
    print(
        f"{streams['streams']:,.0f} streams at once in one worker: {streams['rss_held_mb']:.0f} MB, of {STREAMS_MB_WANTED:,.0f} "
        f"at most; {streams['kb_per_stream']:.0f} KB each"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    best = compare(asked.turns, asked.seconds, asked.rounds)
    streams = measured(["agents_corral.py"], peer=False, more=["--streams", str(asked.streams)])
    if asked.json:
        print(json.dumps({"loop": best, "streams": streams}, indent=1))
    else:
        show(best, streams)


if __name__ == "__main__":
    main()
