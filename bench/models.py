"""What the gateway costs: Corral with everything on, against LiteLLM's proxy, SMG and Portkey, in front of one provider that answers at once.

    make bench-models                                 all of it, about three minutes
    python bench/models.py --seconds 2 --rounds 1     quickly

Every gateway is one process on one core; provider, load, and the Redis of a peer share the other. Gateways take turns round by round, the best
round of each counts, and only ratios are worth reading. Peers live in `.venv-gateways` (bench/peers/gateways.txt); those
that are not installed are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from corral.testing.servers.valkey import ValkeyServer
from load import Result, load, request_bytes

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PEERS = HERE.parent / ".venv-gateways" / "bin"
NODE_PEERS = HERE.parent / ".node-gateways" / "node_modules" / ".bin"
KEY = "sk-bench-0123456789"
CHAT = "/v1/chat/completions"
_REQUESTS = 20_000
_CALM_PER_SECOND = 1_000
_round = [0]
_QUESTION = "My parcel has not come yet. The number is 4711, it left on Monday. Where is it, and when will it be here? "


def body(model: str, *, stream: bool = False, salt: str = "") -> bytes:
    """About a kilobyte of chat, as teams send it."""
    messages = [
        {
            "role": "system",
            "content": "You answer for a shop that sells shoes. Be brief and kind, and never promise dates. " * 3,
        },
        {"role": "user", "content": _QUESTION * 3 + salt},
    ]
    asked: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 200}
    return json.dumps(asked | ({"stream": True} if stream else {})).encode()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody does."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def running(
    command: list[str], port: int, core: int, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, once it listens."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | (env or {})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            started = time.perf_counter()
            while not listens(port):
                if process.poll() is not None or time.perf_counter() - started > 90:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} did not start:\n{log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def corral(provider: int, port: int, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """Keys, exact cache (missed), single-flight, routing, rate manager, cost, metrics and spans: all on."""
    config = folder / "corral.yaml"
    config.write_text(
        f"""
name: bench
security: {{api_keys: [{{key: "{KEY}", tenant: bench}}]}}
observability: {{access_log: false}}
models:
  providers:
    mock: {{kind: openai, base_url: "http://127.0.0.1:{provider}/v1", api_key: none, concurrency: 1000,
           requests_per_minute: 10000000, tokens_per_minute: 10000000000}}
  router: {{classes: {{simple_query: mock/gpt-4o-mini, complex_reasoning: mock/gpt-4o-mini, expert_task: mock/gpt-4o-mini}}}}
cache: {{exact: true, coalesce: always}}
store: {{url: "sqlite:///{folder}/bench.db"}}
"""
    )
    return [str(BIN / "corral"), "gateway", "--port", str(port), "--config", str(config)], {}, "auto"


def litellm(provider: int, port: int, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """With a master key, as its documentation starts it."""
    return _litellm(provider, port, folder, {"master_key": KEY}, {})


def litellm_same(provider: int, port: int, folder: Path, *, redis: int) -> tuple[list[str], dict[str, str], str]:
    """With as much of what Corral has on as it has: a key's limits and budget, exact cache (missed), metrics, spans of a few calls."""
    for name in ("litellm_same.py", "thrown_spans.py"):
        shutil.copy(HERE / "peers" / name, folder)
    there = {"host": "127.0.0.1", "port": redis}
    general = {
        "master_key": f"{KEY}-of-who-runs-it",
        "custom_auth": "litellm_same.record",
        "coordination_redis": there,
    }
    settings = {
        "cache": True,
        "cache_params": {"type": "redis", **there},
        "callbacks": ["prometheus", "litellm_same.spans"],
    }
    return _litellm(provider, port, folder, general, settings)


def _litellm(
    provider: int, port: int, folder: Path, general: dict[str, Any], settings: dict[str, Any]
) -> tuple[list[str], dict[str, str], str]:
    config = folder / "litellm.yaml"
    there = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{provider}/v1", "api_key": "none"}
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": there}],
                "general_settings": general,
                "litellm_settings": {"telemetry": False} | settings,
            }
        )
    )
    command = [str(PEERS / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "BENCH_KEY": KEY, "PYTHONPATH": str(folder)}
    few = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.03"}
    return [*command, "--num_workers", "1"], env | few, "gpt-4o-mini"


def smg(provider: int, port: int, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """A gateway in Rust, in its OpenAI mode."""
    del folder
    command = [str(PEERS / "smg"), "launch", "--backend", "openai", "--worker-urls", f"http://127.0.0.1:{provider}"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"], {}, "gpt-4o-mini"


def portkey(provider: int, port: int, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """Node; where to go is in the request's headers."""
    del provider, folder
    return [str(NODE_PEERS / "gateway"), f"--port={port}", "--headless"], {}, "gpt-4o-mini"


def bare(provider: int, port: int, folder: Path) -> tuple[list[str], dict[str, str], str]:
    """Python's own least: a server and a client, and nothing between them."""
    del folder
    return [sys.executable, str(HERE / "hosts" / "bare_gateway.py"), str(port), str(provider)], {}, "gpt-4o-mini"


Start = Callable[[int, int, Path], tuple[list[str], dict[str, str], str]]


def gateways(redis: int) -> dict[str, tuple[Start, Path]]:
    """How each is started, and what must be installed for it."""
    return {
        "corral": (corral, BIN / "corral"),
        "bare": (bare, HERE / "hosts" / "bare_gateway.py"),
        "smg": (smg, PEERS / "smg"),
        "litellm": (litellm, PEERS / "litellm"),
        "litellm, same on": (partial(litellm_same, redis=redis), PEERS / "litellm"),
        "portkey": (portkey, NODE_PEERS / "gateway"),
    }


def headers(name: str, provider: int) -> dict[str, str]:
    """What each gateway wants to be told."""
    found = {"authorization": f"Bearer {KEY}"}
    if name == "portkey":
        found |= {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{provider}/v1"}
    return found


def measure(
    port: int, requests: list[bytes], connections: int, seconds: float, *, per_second: float = 0.0
) -> Result | None:
    """One round; none if a gateway cannot do this."""
    result = uvloop.run(load(port, requests, connections, seconds, per_second=per_second))
    if set(result.statuses) != {200} or result.errors:
        print(f"port {port}: statuses {result.statuses}, {result.errors} errors", file=sys.stderr)
        return None
    return result


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """Memory of a process and its children; what they share is counted once."""
    pids = [str(process.pid)]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[1] in pids:
                pids.append(stat.parent.name)
    kilobytes = 0
    for pid in pids:
        with suppress(OSError):
            lines = (Path("/proc") / pid / "smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def rounds_of(
    ports: dict[str, int], models: dict[str, str], provider: int, seconds: float, rounds: int
) -> dict[str, dict[str, Result]]:
    """Each kind of load on each gateway, the best round of each."""
    kinds: dict[str, Callable[[str, str], tuple[list[bytes], int]]] = {
        "one at a time": lambda name, model: (_distinct(name, model, provider), 1),
        "32 connections": lambda name, model: (_distinct(name, model, provider), 32),
        "streams, 32 connections": lambda name, model: (_distinct(name, model, provider, stream=True), 32),
    }
    found: dict[str, dict[str, Result]] = {}
    for kind, prepare in kinds.items():
        best: dict[str, Result] = {}
        for _ in range(rounds):
            for name, port in ports.items():
                requests, connections = prepare(name, models[name])
                result = measure(port, requests, connections, seconds)
                if result is not None and (name not in best or result.per_second > best[name].per_second):
                    best[name] = result
        found[kind] = best
    found[f"32 connections, {_CALM_PER_SECOND:,} requests/s"] = calm_rounds(
        {
            name: ports[name]
            for name, at_most in found["32 connections"].items()
            if at_most.per_second >= 2 * _CALM_PER_SECOND
        },
        models,
        provider,
        seconds,
        rounds,
    )
    if "corral" not in ports:
        return found
    hits: dict[str, Result] = {}
    request = request_bytes(CHAT, body(models["corral"], salt="the same"), headers("corral", provider))
    result = measure(ports["corral"], [request], 32, seconds)
    if result is not None:
        hits["corral"] = result
    found["kept answers, 32 connections"] = hits
    return found


def calm_rounds(
    ports: dict[str, int], models: dict[str, str], provider: int, seconds: float, rounds: int
) -> dict[str, Result]:
    """So many a second of those that can do twice as many: where all send as soon as they can, an answer takes as long as the line is."""
    best: dict[str, Result] = {}
    for _ in range(rounds):
        for name, port in ports.items():
            requests = _distinct(name, models[name], provider)
            result = measure(port, requests, 32, seconds, per_second=_CALM_PER_SECOND)
            if result is not None and (name not in best or result.percentile_ms(0.99) < best[name].percentile_ms(0.99)):
                best[name] = result
    return best


def _distinct(name: str, model: str, provider: int, *, stream: bool = False) -> list[bytes]:
    """Requests that no cache has seen: more than a round can send, and others in every round."""
    _round[0] += 1
    return [
        request_bytes(CHAT, body(model, stream=stream, salt=f"{_round[0]}.{number}"), headers(name, provider))
        for number in range(_REQUESTS)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="These gateways only.")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with ExitStack() as stack:
        provider = free_port()
        stack.enter_context(
            running([sys.executable, str(HERE / "hosts" / "mock_provider.py"), str(provider)], provider, 0)
        )
        redis = ValkeyServer()
        stack.callback(redis.remove)
        redis.start()
        ports, models, processes = {"direct": provider}, {"direct": "gpt-4o-mini"}, {}
        for name, (start, program) in gateways(redis.port).items():
            if not program.exists() or (chosen.only and name not in chosen.only):
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ports[name] = free_port()
            command, env, models[name] = start(provider, ports[name], folder)
            processes[name] = stack.enter_context(running(command, ports[name], 1, env))
        found = rounds_of(ports, models, provider, chosen.seconds, chosen.rounds)
        memory = {name: resident_mb(process) for name, process in processes.items()}
    show(found, memory, as_json=chosen.json)


def show(found: dict[str, dict[str, Result]], memory: dict[str, float], *, as_json: bool) -> None:
    """Figures, then ratios."""
    if as_json:
        print(
            json.dumps(
                {kind: {name: round(one.per_second, 1) for name, one in by.items()} for kind, by in found.items()}
            )
        )
        return
    for kind, by_name in found.items():
        print(f"\n{kind}")
        for name, one in by_name.items():
            added = (
                one.percentile_ms(0.5) - found["one at a time"]["direct"].percentile_ms(0.5)
                if kind == "one at a time"
                else None
            )
            beside = "" if added is None else f"   added p50 {added:.2f} ms"
            print(
                f"  {name:16} {one.per_second:9,.0f}/s   p50 {one.percentile_ms(0.5):7.2f} ms   p99 {one.percentile_ms(0.99):7.2f} ms{beside}"
            )
    print("\nmemory    " + "   ".join(f"{name} {size:,.0f} MB" for name, size in memory.items()))
    many, streams = found["32 connections"], found["streams, 32 connections"]
    print()
    for name, ratio in (("litellm", 40), ("litellm, same on", 40), ("portkey", 4), ("smg", 0.5)):
        if name in many and "corral" in many:
            print(
                f"requests, corral / {name:16} {many['corral'].per_second / many[name].per_second:7.2f}   (aim {ratio})"
            )
    if "smg" in streams and "corral" in streams:
        print(
            f"streams, corral / smg              {streams['corral'].per_second / streams['smg'].per_second:7.2f}   (aim 0.6)"
        )


if __name__ == "__main__":
    main()
