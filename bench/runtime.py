"""What serving costs: Corral against bare Starlette and against AgentCore's own runtime, measured in one run.

    make bench                 all of it, about two minutes
    python bench/runtime.py --seconds 1 --rounds 1 --json

Every server is one process on one core; the load comes from the other core. Servers take turns round by round, and the
best round of each counts: what disturbs this machine disturbs them all, and only ratios are worth reading.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import uvloop

from load import Result, load, request_bytes

HOSTS = Path(__file__).parent / "hosts"
BIN = Path(sys.executable).parent
BODY = b'{"prompt": "What is the weather?"}'
CONNECTIONS = (1, 32, 256)
TARGETS = {"echo / bare": 0.85, "echo / reference": 2.0, "stream / bare": 0.8, "stream / reference": 3.0}


def environment() -> dict[str, str]:
    """Byte-code caching on: without it imports are measured, not servers."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether `/ping` is answered with 200."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")
    return False


@contextmanager
def server(command: list[str], port: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A running server on core 0, and the seconds from its start to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not answers(port):
                if process.poll() is not None or time.perf_counter() - started > 30:
                    raise SystemExit(f"{' '.join(command)} did not start.")
                time.sleep(0.002)
            yield process, time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def commands() -> dict[str, tuple[list[str], int]]:
    """How each host is started, and its port."""
    ports = {name: free_port() for name in ("corral", "bare", "reference", "reference-stream")}
    uvicorn = [
        str(BIN / "uvicorn"),
        "bare_host:app",
        "--app-dir",
        str(HOSTS),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    found = {
        "corral": [str(BIN / "corral"), "serve", str(HOSTS / "corral_host.py"), "--port", str(ports["corral"])],
        "bare": [*uvicorn, "--no-access-log", "--log-level", "warning", "--port", str(ports["bare"])],
    }
    with suppress(metadata.PackageNotFoundError):
        metadata.version("bedrock-agentcore")
        for name in ("reference", "reference-stream"):
            found[name] = [
                sys.executable,
                str(HOSTS / "reference_host.py"),
                str(ports[name]),
                *name.split("-")[1:],
            ]
    return {name: (command, ports[name]) for name, command in found.items()}


def best(results: list[Result]) -> Result:
    """The round with the most answers per second."""
    return max(results, key=lambda result: result.per_second)


def measure(port: int, requests: list[bytes], connections: int, seconds: float) -> Result:
    """One round. Anything but 200 spoils it."""
    result = uvloop.run(load(port, requests, connections, seconds))
    if set(result.statuses) != {200} or result.errors:
        raise SystemExit(f"port {port}: statuses {result.statuses}, {result.errors} errors")
    return result


def throughput(hosts: dict[str, tuple[list[str], int]], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """JSON echo and streams of 100 pieces, host by host, round by round."""
    stream_paths = {"corral": "/v1/agents/stream/invocations", "bare": "/stream", "reference-stream": "/invocations"}
    rows = []
    for kind, connections in [("echo", c) for c in CONNECTIONS] + [("stream", c) for c in CONNECTIONS[:2]]:
        paths = (
            {name: "/invocations" for name in hosts if not name.endswith("-stream")}
            if kind == "echo"
            else {name: path for name, path in stream_paths.items() if name in hosts}
        )
        taken: dict[str, list[Result]] = {name: [] for name in paths}
        for _ in range(rounds):
            for name, path in paths.items():
                taken[name].append(measure(hosts[name][1], [request_bytes(path, BODY)], connections, seconds))
        for name, results in taken.items():
            result = best(results)
            rows.append(
                {
                    "kind": kind,
                    "connections": connections,
                    "host": name.removesuffix("-stream"),
                    "per_second": round(result.per_second),
                    "p50_ms": round(result.percentile_ms(0.5), 2),
                    "p99_ms": round(min(r.percentile_ms(0.99) for r in results), 2),
                }
            )
            print(
                f"  {kind:<7} c={connections:<4} {rows[-1]['host']:<10} {rows[-1]['per_second']:>7}/s"
                f"   p50 {rows[-1]['p50_ms']:>8} ms   p99 {rows[-1]['p99_ms']:>8} ms",
                flush=True,
            )
    return rows


def session_cost(port: int, seconds: float) -> dict[str, Any]:
    """What a turn of a session adds to an echo, on SQLite."""
    found: dict[str, Any] = {}
    for connections in (1, 32):
        plain = measure(port, [request_bytes("/invocations", BODY)], connections, seconds)
        requests = [
            request_bytes("/invocations", BODY, {"x-session-id": f"bench-{connections}-{n}"})
            for n in range(connections)
        ]
        turns = measure(port, requests, connections, seconds)
        added_us = (1 / turns.per_second - 1 / plain.per_second) * 1e6
        found[f"c={connections}"] = {"turns_per_second": round(turns.per_second), "added_us_per_turn": round(added_us)}
        print(
            f"  session turn, c={connections}: {turns.per_second:.0f} turns/s, {added_us:.0f} µs more than without",
            flush=True,
        )
    return found


def resident_mb(pid: int) -> int:
    """Resident memory of the largest process among `pid` and its children."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    sizes = []
    for number in [str(pid), *listed]:
        with suppress(OSError):
            status = Path(f"/proc/{number}/status").read_text()
            sizes += [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS")]
    return max(sizes)


def footprint(hosts: dict[str, tuple[list[str], int]]) -> dict[str, Any]:
    """Start, memory, import and packages."""
    starts, sizes = [], []
    for _ in range(5):
        with server(*hosts["corral"]) as (process, seconds):
            starts.append(seconds)
            sizes.append(resident_mb(process.pid))
    imports = []
    for _ in range(5):
        code = "import time; t = time.perf_counter(); import corral, corral.app; print(time.perf_counter() - t)"
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
        )
        imports.append(float(said.stdout))
    found = {
        "start_to_ping_s": round(statistics.median(starts), 3),
        "idle_rss_mb": max(sizes),
        "import_s": round(statistics.median(imports), 3),
        "packages": len(base_packages("corral")),
    }
    print(
        f"  start to first /ping {found['start_to_ping_s']} s (at most 0.6), idle {found['idle_rss_mb']} MB (at most 60), "
        f"import {found['import_s']} s (at most 0.15), {found['packages']} packages (at most 40)",
        flush=True,
    )
    return found


def base_packages(name: str, seen: set[str] | None = None) -> set[str]:
    """Every distribution that `pip install` brings, without extras."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - comes with the development tools

    seen = set() if seen is None else seen
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        canonical = requirement.name.lower().replace("_", "-")
        if canonical not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            with suppress(metadata.PackageNotFoundError):
                metadata.version(canonical)
                seen.add(canonical)
                base_packages(canonical, seen)
    return seen


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Corral divided by each other host, per kind and number of connections."""
    by = {(row["kind"], row["connections"], row["host"]): row["per_second"] for row in rows}
    return {
        f"{kind} / {host} c={connections}": round(by[kind, connections, "corral"] / value, 2)
        for (kind, connections, host), value in by.items()
        if host != "corral"
    }


def main() -> int:
    """Measure, print, and say whether every target was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    hosts = commands()
    if "reference" not in hosts:
        print("  (bedrock-agentcore is not installed here: no comparison with it; `make bench` installs it)")
    with ExitStack() as stack:
        for name, host in hosts.items():
            del name
            stack.enter_context(server(*host))
        rows = throughput(hosts, options.seconds, options.rounds)
        sessions = session_cost(hosts["corral"][1], options.seconds)
    foot = footprint(hosts)
    found = ratios(rows)
    missed = [name for name, value in found.items() if value < TARGETS[name.rpartition(" ")[0]]]
    for name, value in found.items():
        print(f"  {name:<28} {value:>6}   (target {TARGETS[name.rpartition(' ')[0]]})")
    print("  every target was met" if not missed else f"  MISSED: {', '.join(missed)}")
    if options.json:
        print(json.dumps({"rows": rows, "ratios": found, "sessions": sessions, "footprint": foot}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
