"""Corral in one minute: serves the example agents, sends them real requests, and shows what came back.

Run it with `make demo`. On a terminal it goes on serving until Ctrl-C; elsewhere it ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = Path("examples/quickstart")
KEPT = Path(".corral")
SERVER: dict[str, str] = {}
"""What the commands are told about the server; they would find it by themselves, if it is the only one here."""
ATTEMPTS = 5
INVALID = 4
"""How `corral serve` ends when somebody else has the port."""
_COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def main() -> int:
    """Show everything; returns the exit status."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    corral = find_corral()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    say("\nCorral serves a file with four agents, remembers what was said, and shows what it did.\n")
    with served(corral) as (server, url):
        port = url.rpartition(":")[2]
        log, store = kept(port)
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
        forget(log, store)
    return 0


def show_requests(corral: str, url: str) -> None:
    """A stream, a conversation, a failure, a job, and what was kept."""
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

    step(5, "A model, asked by an agent (a simulated one: there is no key here)", 'corral invoke --agent ask "…"')
    sys.stdout.write(f"   {bold('agent')}  ")
    sys.stdout.flush()
    run(corral, "invoke", "--agent", "ask", "How do I return a saddle, and who pays for that?")

    step(6, "A job that waits for a person", 'corral jobs submit order \'{"item": "saddle"}\'')
    job = told(corral, "jobs", "submit", "order", '{"item": "saddle"}')
    say(f"   {dim('handed in as')} {job}")
    until(lambda: '"waiting"' in told(corral, "jobs", "show", job, "--json"))
    say(f"   {dim('waits for approval, without a worker')}")
    say(f"   {dim(f'$ corral jobs signal {job} approval true')}")
    told(corral, "jobs", "signal", job, "approval", "true")
    run(corral, "jobs", "tail", job)
    run(corral, "jobs", "list", "--limit", "1")

    step(7, "What was kept", "corral sessions list")
    run(corral, "sessions", "list", "--limit", "5")


@contextlib.contextmanager
def served(corral: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server, ready, and its URL; stopped at the end as an operator would stop it."""
    KEPT.mkdir(exist_ok=True)
    for attempt in range(ATTEMPTS):
        port = free_port(8080 if attempt == 0 else 0)
        log, store = kept(port)
        forget(log, store)  # of an earlier demonstration
        arguments = [f"{QUICKSTART}/agents.py", "--port", port, "--store", f"sqlite:///{store}"]
        step(1, "Serve", " ".join(["corral serve", *arguments]))
        began = time.monotonic()
        with log.open("wb") as file:
            server = start(corral, ["--config", f"{QUICKSTART}/corral.yaml", "--json", *arguments], file)
        try:
            if url := announced(server):
                say(f"   {dim('answers on')} {url} {dim(f'after {time.monotonic() - began:.1f} s')}")
                SERVER["CORRAL_URL"] = url
                yield server, url
                return
        finally:
            stop(server)
        if server.returncode != INVALID:
            break
        say(f"   {dim('somebody else took that port')}")
    sys.exit(f"The server did not start. Its log:\n\n{log.read_text(errors='replace')}")


def start(corral: str, arguments: list[str], log: IO[bytes]) -> subprocess.Popen[str]:
    """The server in a group of its own: Ctrl-C is for this program, which then stops the server in order."""
    return subprocess.Popen(
        [corral, "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=log,
        env=plain_environment(),
        start_new_session=True,
        text=True,
    )


def announced(server: subprocess.Popen[str]) -> str:
    """The URL, as soon as all workers are ready; nothing if the server ends before."""
    assert server.stdout is not None
    said = ""
    for line in server.stdout:
        said += line
        if line.rstrip() == "}":
            return str(json.loads(said)["url"])
    server.wait()
    return ""


def stop(server: subprocess.Popen[str]) -> None:
    """Have the server answer what it is at, and end."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    server.wait(timeout=30)
    if server.stdout is not None:
        server.stdout.close()


def kept(port: str) -> tuple[Path, Path]:
    """Log and store of the demonstration on a port."""
    return KEPT / f"demo-{port}.log", KEPT / f"demo-{port}.db"


def forget(log: Path, store: Path) -> None:
    """Remove what a demonstration kept."""
    for old in [log, *KEPT.glob(f"{store.name}*")]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


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


def told(*command: str) -> str:
    """What a command says."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**plain_environment(), **SERVER}, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}; the server's log is in {KEPT}.")
    return done.stdout.strip()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Ask again and again."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"This took too long; the server's log is in {KEPT}.")
        time.sleep(0.05)


def plain_environment() -> dict[str, str]:
    """The environment without settings of other projects."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}


def find_corral() -> str:
    """The command, as one types it in this folder."""
    beside = Path(sys.executable).parent / "corral"
    if not beside.exists():
        sys.exit("There is no `corral` beside this Python: run `make demo`.")
    return str(beside.relative_to(ROOT)) if beside.is_relative_to(ROOT) else str(beside)


def free_port(wanted: int) -> str:
    """The wanted port if nobody has it, else any."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return str(probe.getsockname()[1])
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
