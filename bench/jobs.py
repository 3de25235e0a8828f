"""What a queued job costs: Corral against the engines people use, the same trivial job, measured in one run.

    make bench-jobs                      everything, a few minutes
    python bench/jobs.py --jobs 5000 --only dbos --json

Every engine gets one worker process and the same durability: PostgreSQL syncs each commit, SQLite writes ahead without a
sync per commit, Valkey syncs its log every second. Corral runs with everything on: pipeline, fencing, heartbeats, traces,
metrics. Each job is enqueued before the worker starts (`drain`), or alone in an idle queue until its result is there
(`result`). Only ratios are worth reading: what disturbs this machine disturbs all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from corral.testing.servers.postgres import PostgresServer
from worn_log import wear_in

HERE = Path(__file__).parent
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
FLAT_DEPTHS = (0, 100_000, 1_000_000)

Figures = dict[str, float]

# What is compared: our figure, on which store; the peer's figure; by how much we mean to be better.
COMPARED = (
    ("drained jobs/s, PostgreSQL / DBOS", "postgresql", "drain_per_s", "dbos postgresql", "drain_per_s", 15.0),
    ("drained jobs/s, PostgreSQL / pgqueuer", "postgresql", "drain_per_s", "pgqueuer", "drain_per_s", 1.5),
    ("drained jobs/s, SQLite / DBOS SQLite", "sqlite", "drain_per_s", "dbos sqlite", "drain_per_s", 50.0),
    ("drained jobs/s, PostgreSQL / arq", "postgresql", "drain_per_s", "arq", "drain_per_s", 5.0),
    ("drained jobs/s, PostgreSQL / Celery", "postgresql", "drain_per_s", "celery", "drain_per_s", 10.0),
    (
        "batch enqueue/s, PostgreSQL / pgqueuer",
        "postgresql",
        "enqueue_batch_per_s",
        "pgqueuer",
        "enqueue_batch_per_s",
        2.0,
    ),
    ("durable steps/s, PostgreSQL / DBOS", "postgresql", "steps_per_s", "dbos postgresql", "steps_per_s", 10.0),
    (
        "durable steps/s, PostgreSQL / LangGraph",
        "postgresql",
        "steps_per_s",
        "langgraph postgresql",
        "steps_per_s",
        5.0,
    ),
    ("durable steps/s, SQLite / LangGraph", "sqlite", "steps_per_s", "langgraph sqlite", "steps_per_s", 5.0),
)
FLOODED_AIM = 3.0
LATENCIES_MS = {"postgresql": 6.0, "sqlite": 1.0, "sqlite, two processes": 2.0}


def run(python: Path | str, script: str, *args: str) -> Figures:
    """Run one measurement in a process of its own; its last line is JSON."""
    done = subprocess.run(
        [str(python), str(HERE / script), *args], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        raise SystemExit(f"{script} {' '.join(args)} failed:\n{done.stderr[-3000:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


class Bench:
    """The engines, and where they keep things."""

    def __init__(self, postgres: PostgresServer, folder: Path, options: argparse.Namespace) -> None:
        self._postgres = postgres
        self._folder = folder
        self._options = options
        self._databases = 0

    def store(self, engine: str) -> str:
        """The URL of a fresh store."""
        self._databases += 1
        if engine == "sqlite":
            return f"sqlite:///{self._folder}/{self._databases}.db"
        name = f"bench{self._databases}"
        asyncio.run(self._create(name))
        return self._postgres.url(name)

    async def _create(self, name: str) -> None:
        connection = await asyncpg.connect(self._postgres.url())
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()

    def corral(self, engine: str) -> Figures:
        """Ours."""
        options = self._options
        return run(sys.executable, "jobs_corral.py", "--store", self.store(engine), "--jobs", str(options.jobs * 4))

    def fair(self, engine: str) -> Figures:
        """What a small tenant feels while another one has two hundred thousand jobs in the queue."""
        args = ("--store", self.store(engine), "--jobs", "200000", "--idle", "200", "--fair")
        return run(sys.executable, "jobs_corral.py", *args)

    def flat(self, engine: str) -> Figures:
        """Ours again, with many jobs waiting behind."""
        depths = [depth for depth in FLAT_DEPTHS if depth <= self._options.depth_max]
        return {
            str(depth): run(
                sys.executable,
                "jobs_corral.py",
                *(
                    "--store",
                    self.store(engine),
                    "--jobs",
                    str(self._options.jobs * 2),
                    "--behind",
                    str(depth),
                    "--only-drain",
                ),
            )["drain_per_s"]
            for depth in depths
        }

    def peers(self) -> Iterator[tuple[str, Any]]:
        """Every peer by name, and how to measure it."""
        jobs = self._options.jobs

        def peer(script: str, *args: str) -> Any:
            return lambda: run(PEERS_PYTHON, f"peers/{script}_peer.py", *args)

        few = str(max(200, jobs // 5))
        yield "dbos postgresql", peer("dbos", "--store", self.store("postgresql"), "--jobs", few)
        yield "dbos sqlite", peer("dbos", "--store", self.store("sqlite"), "--jobs", str(max(200, jobs // 10)))
        yield "pgqueuer", peer("pgqueuer", "--store", self.store("postgresql"), "--jobs", str(jobs * 2))
        yield "arq", peer("arq", "--jobs", few)
        yield "celery", peer("celery", "--jobs", few)
        yield "langgraph postgresql", peer("langgraph", "--store", self.store("postgresql"))
        yield "langgraph sqlite", peer("langgraph", "--store", self.store("sqlite"))


@contextmanager
def synced_postgres(folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that syncs each commit, as in production."""
    server = PostgresServer(folder)
    server.attach(fsync=True)
    try:
        yield server
    finally:
        server.detach()


def measure(options: argparse.Namespace) -> dict[str, Figures]:
    """All figures by engine."""
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder, synced_postgres(Path(folder) / "postgres") as postgres:
        bench = Bench(postgres, Path(folder), options)
        for engine in ("sqlite", "postgresql"):
            say(f"corral {engine} …")
            found[engine] = bench.corral(engine)
        for name, figures in bench.peers() if PEERS_PYTHON.exists() else ():
            if not options.only or name.startswith(options.only):
                say(f"{name} …")
                found[name] = figures()
        for engine in ("sqlite", "postgresql") if options.depth_max else ():
            say(f"corral {engine}, with many jobs waiting behind …")
            found[f"{engine}, jobs/s by jobs behind"] = bench.flat(engine)
        asyncio.run(wear_in(postgres.url()))
        for engine in ("sqlite", "postgresql"):
            say(f"corral {engine}, one tenant floods …")
            found[f"{engine}, one tenant floods"] = bench.fair(engine)
    return found


def say(text: str) -> None:
    """Progress, apart from the figures."""
    print(text, file=sys.stderr, flush=True)


def report(found: dict[str, Figures]) -> None:
    """The figures and the ratios, for people."""
    for engine, figures in found.items():
        print(f"{engine:38}" + "  ".join(f"{name} {value:,.1f}" for name, value in figures.items()))
    print()
    for what, ours, our_figure, peer, peer_figure, target in COMPARED:
        if peer in found:
            ratio = found[ours][our_figure] / found[peer][peer_figure]
            print(f"{what:42} {ratio:8.1f}  (aim {target:g})")
    for engine in ("sqlite", "postgresql"):
        fair = found[f"{engine}, one tenant floods"]
        ratio = fair["flooded_begun_p99_ms"] / fair["idle_begun_p99_ms"]
        print(
            f"{'one tenant floods / idle, p99, ' + engine:42} {ratio:8.1f}  (aim {FLOODED_AIM:g}; from asking to running)"
        )
    for engine, aim in LATENCIES_MS.items():
        store, _, apart = engine.partition(", ")
        figure = "result_apart_ms" if apart else "result_ms"
        print(f"{'idle enqueue → result, ' + engine:42} {found[store][figure]:8.2f} ms (aim {aim:g})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--only", default="", help="peers whose name begins so")
    parser.add_argument("--depth-max", type=int, default=1_000_000, help="0: leave the deep queues out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found))
    else:
        report(found)


if __name__ == "__main__":
    main()
