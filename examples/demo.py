"""Corral in one minute: serves the example agents, sends them real requests, and shows what came back.

Run it with `make demo`. On a terminal it goes on serving until Ctrl-C; elsewhere it ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = Path("examples/quickstart")
KEPT = Path(".corral")
SERVER: dict[str, str] = {}
"""What the commands are told about the server; they would find it by themselves, if it is the only one here."""
START_S = 30.0
_COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def main() -> int:
    """Show everything; returns the exit status."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    corral = find_corral()
    port = free_port()
    SERVER["CORRAL_URL"] = f"http://127.0.0.1:{port}"
    url, log, store = f"http://127.0.0.1:{port}", KEPT / f"demo-{port}.log", KEPT / f"demo-{port}.db"
    say("\nCorral serves a file with two agents, remembers what was said, and shows what it did.\n")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    step(1, "Serve", f"corral serve {QUICKSTART}/agents.py --port {port} --store sqlite:///{store}")
    began = time.monotonic()
    with served(corral, url, log, store) as server:
        say(f"   {dim('answers on')} {url} {dim(f'after {time.monotonic() - began:.1f} s')}")
        show_requests(corral, url)
        say(f"\n{bold('Where to look')}")
        look("Every route, described", f"{url}/openapi.json")
        look("What each part says", f"{url}/health")
        look("Metrics", f"{url}/metrics")
        look("The agents: edit them", f"{QUICKSTART}/agents.py")
        look("The server's log", str(log))
        say(f"\n{bold('Try it yourself')} {dim('(in another terminal, in this folder)')}")
        for command in ('invoke --session mine "My name is Grace"', 'invoke --session mine "Who am I?"', "status"):
            say(f"   {corral} {command}")
        say(f"   {corral} init ../my-agents   {dim('begin your own')}")
        if not terminal:
            say(f"\n{dim('No terminal here, so that was all.')}")
        else:
            with contextlib.suppress(KeyboardInterrupt):
                say(f"\n{bold('Serving')} until Ctrl-C.")
                server.wait()
    if terminal:
        say("\nStopped. What was said is kept, and shown without a server too:")
        say(f"   {corral} sessions list --store sqlite:///{store}")
    else:
        forget(store, log)
    return 0


def show_requests(corral: str, url: str) -> None:
    """A stream, a conversation, a failure, and what was kept."""
    session = f"demo-{time.strftime('%H%M%S')}"
    step(2, "A streamed answer", f'curl -N {url}/invocations -d \'{{"prompt": "What is 12 * 7?"}}\'')
    stream(f"{url}/invocations", {"prompt": "What is 12 * 7?"})

    step(3, "A session that remembers", f'corral invoke --session {session} "…"')
    for prompt in ("My name is Ada", "Remember that the gate sticks", "What do you know about me?"):
        say(f"   {bold('you')}    {prompt}")
        sys.stdout.write(f"   {bold('agent')}  ")
        sys.stdout.flush()
        run(corral, "invoke", "--session", session, prompt)

    step(4, "A failure, in the middle of a stream", "corral invoke --agent fragile --payload '{\"after\": 2}'")
    sys.stdout.write("   ")
    sys.stdout.flush()
    status = run(corral, "invoke", "--agent", "fragile", "--payload", '{"after": 2}', expected=1)
    say(f"   {dim(f'exit status {status}: a stream that breaks off never looks like one that ended')}")

    step(5, "What was kept", "corral sessions list")
    run(corral, "sessions", "list", "--limit", "5")


@contextlib.contextmanager
def served(corral: str, url: str, log: Path, store: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server, ready; stopped at the end as an operator would stop it."""
    KEPT.mkdir(exist_ok=True)
    forget(store, log)
    arguments = [f"{QUICKSTART}/agents.py", "--config", f"{QUICKSTART}/corral.yaml"]
    arguments += ["--port", url.rpartition(":")[2], "--store", f"sqlite:///{store}"]
    with log.open("wb") as file:
        # A group of its own: Ctrl-C is for this program, which then stops the server in order.
        server = subprocess.Popen(
            [corral, "serve", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=plain_environment(),
            start_new_session=True,
        )
    try:
        wait_until_ready(server, url, log)
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)


def forget(store: Path, log: Path) -> None:
    """Remove what a demonstration kept."""
    for old in [log, *KEPT.glob(f"{store.name}*")]:
        old.unlink(missing_ok=True)


def wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Ask until it answers; show its log when it does not."""
    end = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2):
            return
        time.sleep(0.02)
    sys.exit(f"The server did not start. Its log:\n\n{log.read_text(errors='replace')}")


def stream(url: str, payload: dict[str, Any]) -> None:
    """Send a request and print each piece as it comes, with the time it came at."""
    request = urllib.request.Request(
        url, json.dumps(payload).encode(), {"Content-Type": "application/json", "X-User-Id": "demo"}
    )
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            for line in response:
                if line.startswith(b"data: "):
                    say(f"   {dim(f'{(time.monotonic() - began) * 1000:5.0f} ms')}  {line.decode().strip()}")
    except urllib.error.HTTPError as error:
        say(f"   {error.code} {error.read().decode()}")


def run(*command: str, expected: int = 0) -> int:
    """Run a command whose output people see; stop when it does not end as expected."""
    done = subprocess.run(command, stderr=subprocess.STDOUT, env={**plain_environment(), **SERVER}, check=False)
    if done.returncode != expected:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}; the server's log is in {KEPT}.")
    return done.returncode


def plain_environment() -> dict[str, str]:
    """The environment without settings of other projects."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}


def find_corral() -> str:
    """The command, as one types it in this folder."""
    beside = Path(sys.executable).parent / "corral"
    if not beside.exists():
        sys.exit("There is no `corral` beside this Python: run `make demo`.")
    return str(beside.relative_to(ROOT)) if beside.is_relative_to(ROOT) else str(beside)


def free_port() -> int:
    """8080 if nobody has it, else any."""
    for port in (8080, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    sys.exit("There is no free port on 127.0.0.1.")


def step(number: int, title: str, command: str) -> None:
    """A heading."""
    say(f"\n{bold(f'{number}. {title}')}\n   {dim('$ ' + command)}")


def look(what: str, where: str) -> None:
    """A line of the list at the end."""
    say(f"   {what:<24} {where}")


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def bold(text: str) -> str:
    """Stands out on a terminal."""
    return f"\x1b[1m{text}\x1b[0m" if _COLOURS else text


def dim(text: str) -> str:
    """Stands back on a terminal."""
    return f"\x1b[2m{text}\x1b[0m" if _COLOURS else text


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
