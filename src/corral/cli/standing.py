"""The supervisor of `corral serve`, `gateway` and `worker`, as little as it can be.

What these verbs read, check and say before anything is served happens in a process that is sent ahead; this one waits
for it, and has no parser, no settings and no framework in memory while it stands there for months.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from corral.cli.told import told
from corral.server.ahead import Forerunner, Report, send_ahead
from corral.server.child import told_by_child
from corral.server.terms import Terms, read_terms


def stand(arguments: Sequence[str]) -> int:
    """Run one of these verbs; returns the exit status."""
    first = send_ahead(partial(_go_ahead, arguments))
    return told(partial(_supervise, first), as_json="--json" in arguments)


def _go_ahead(arguments: Sequence[str]) -> int:
    # Loaded in that process, and not in this one.
    from corral.cli.main import answered, main  # noqa: PLC0415 - as said, and it imports this module
    from corral.cli.plain import read_plainly  # noqa: PLC0415 - as said

    plain = read_plainly(arguments)
    return main(arguments) if plain is None else answered(partial(_start, plain), arguments)


def _start(plain: dict[str, Any], arguments: Sequence[str]) -> int:
    from corral.cli.starting import asked, start  # noqa: PLC0415 - as above

    return told(lambda: start(asked(arguments[0], **plain)), as_json=plain["as_json"])


def _supervise(first: Forerunner) -> int:
    from corral.server.supervisor import Supervisor  # noqa: PLC0415 - loaded while the other process is on its way

    report = first.report()
    if report is None:
        return first.status()
    target, announced = report.note["target"], report.note["announced"]
    return Supervisor(
        target,
        report.terms,
        partial(_again, report),
        report.listener,
        first=first,
        announce=None if announced is None else partial(announce, target, announced),
    ).run()


def _again(report: Report) -> Terms:
    """The settings as they are now, read by a process that ends with that. Raises `ConfigError`."""

    def read() -> bytes:
        from corral.cli.starting import read_again  # noqa: PLC0415 - in that process

        return read_again(report.note["settings"], report.terms, listens=report.listener is not None)

    return read_terms(told_by_child(read, ()))


def announce(target: str, status: str, url: str, workers: list[int]) -> None:
    """What a program that starts servers waits for."""
    content = {"status": status, "url": url or None, "target": target, "pid": os.getpid(), "workers": workers}
    print(json.dumps(content, indent=2, ensure_ascii=False), flush=True)  # noqa: T201 - the command line's own
