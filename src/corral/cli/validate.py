"""`corral validate`: settings and app, checked without starting anything."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral.cli.failure import Exit, Failure
from corral.cli.options import Config, File, Json, Store, new_app
from corral.cli.output import bold, dim, note, show, show_json
from corral.cli.project import find_target, load_project
from corral.cli.waiting import waiting
from corral.errors import AppLoadError, ConfigError, CorralError

if TYPE_CHECKING:
    from corral.app import App
    from corral.runtime.registry import Agents
    from corral.settings.load import Loaded

app = new_app()


class Problem(msgspec.Struct, frozen=True):
    """One thing that has to be mended."""

    source: str
    """Where: `corral.yaml:12`, `agents.py:7`, `CORRAL_SERVER_PORT`, `--port`."""
    key: str
    message: str


class Findings(msgspec.Struct):
    """All that was found."""

    ok: bool = True
    entrypoint: str = ""
    files: list[str] = []
    workflows: list[dict[str, Any]] = []
    agents: list[dict[str, Any]] = []
    functions: list[str] = []
    problems: list[Problem] = []
    warnings: list[str] = []


@app.command()
def validate(file: File = None, config: Config = None, store: Store = None, as_json: Json = False) -> int:
    """Check settings and app without starting anything, and list every problem at once."""
    findings = Findings()
    loaded = _check_settings(file, config, store, findings)
    found = _check_app(file, loaded, findings)
    if loaded is not None:
        _check_workflows(loaded, findings)
        _check_schedules(loaded, found.agents if found is not None and list(found.agents) else None, findings)
        if found is not None:
            _check_whole(found, loaded, findings)
    findings.ok = not findings.problems
    if as_json:
        show_json(findings)
    else:
        _show(findings)
    return Exit.OK if findings.ok else Exit.INVALID


def _check_settings(file: str | None, config: Path | None, store: str | None, findings: Findings) -> Loaded | None:
    try:
        loaded = load_project(file, config, {"store.url": store})
    except ConfigError as error:
        faults = [
            Problem(str(fault["source"]), str(fault["key"]), str(fault["message"]))
            for fault in error.errors
            if {"source", "key", "message"} <= fault.keys()
        ]
        findings.problems += faults or [Problem(str(config or "corral.yaml"), "", error.message)]
        return None
    findings.files = loaded.files
    _check_meaning(loaded, findings)
    return loaded


def _check_meaning(loaded: Loaded, findings: Findings) -> None:
    """What the types do not say: exposure, the engine that a store URL needs, what tools may do."""
    from corral.backends.open import open_stores  # noqa: PLC0415 - loaded when it is asked
    from corral.jobs.signing import keys_of  # noqa: PLC0415 - as above
    from corral.outbound.addresses import Reach  # noqa: PLC0415 - as above
    from corral.server.listener import check_exposure  # noqa: PLC0415 - as above
    from corral.server.spending import check_budgets  # noqa: PLC0415 - as above
    from corral.tools.elsewhere import Elsewhere  # noqa: PLC0415 - as above
    from corral.tools.policy import policy_of  # noqa: PLC0415 - as above

    settings = loaded.settings
    try:
        warning = check_exposure(settings)
        if warning:
            findings.warnings.append(warning)
    except ConfigError as error:
        findings.problems.append(_problem(loaded, "server.host", error.message))
    try:
        store = settings.store
        open_stores(store.url, sync=store.sync, pool_max=store.pool_max, hot=store.hot)
    except CorralError as error:
        key = "store.hot" if "`store.hot`" in error.message else "store.url"
        findings.problems.append(_problem(loaded, key, error.message))
    checks: dict[str, Callable[[], object]] = {
        "jobs.callback_secret": lambda: keys_of(settings.jobs.callback_secret),
        "jobs.callback_allow": lambda: Reach(settings.jobs.callback_allow),
        "budgets": lambda: check_budgets(settings),
        "tools.policy": lambda: policy_of(settings.tools.policy),
        "tools.mcp": lambda: Elsewhere(msgspec.structs.replace(settings.tools, openapi={})),
        "tools.openapi": lambda: Elsewhere(msgspec.structs.replace(settings.tools, mcp={})),
    }
    for key, check in checks.items():
        try:
            check()
        except ConfigError as error:
            findings.problems.append(_problem(loaded, key, error.message))


def _check_schedules(loaded: Loaded, agents: Agents | None, findings: Findings) -> None:
    """Whether the jobs of `jobs.schedules` can be made; without agents, as far as the settings know."""
    from corral.jobs.drafting import Caller, Drafting  # noqa: PLC0415 - loaded when it is asked
    from corral.jobs.request import read_request  # noqa: PLC0415 - as above
    from corral.jobs.schedules import faults_in_settings  # noqa: PLC0415 - as above
    from corral.server.job_check import AgentCheck  # noqa: PLC0415 - as above

    jobs = loaded.settings.jobs
    if any(problem.key.startswith("jobs.callback_") for problem in findings.problems):
        jobs = msgspec.structs.replace(jobs, callback_secret="", callback_allow=[])  # said already
    drafting = Drafting(jobs, (lambda _agent, _input: None) if agents is None else AgentCheck(agents))

    def check(job: object) -> object:
        return drafting.draft(Caller(tenant="default"), read_request(job))

    for name, message in faults_in_settings(jobs.schedules, check).items():
        source = loaded.sources.get("jobs.schedules", "(default)")
        findings.problems.append(Problem(source, f"jobs.schedules.{name}", message))


def _check_workflows(loaded: Loaded, findings: Findings) -> None:
    """The files of workflows, by line."""
    from corral.workflows.declared import files_in, problems_in  # noqa: PLC0415 - loaded when it is asked

    for path in files_in(Path(loaded.settings.workflows.folder)):
        problems = problems_in(path)
        errors = [problem for problem in problems if problem.fault.severity == "ERROR"]
        findings.problems += [
            Problem(problem.place, problem.fault.location or "", problem.fault.text) for problem in errors
        ]
        findings.warnings += [str(problem) for problem in problems if problem.fault.severity == "WARNING"]
        if not errors:
            findings.workflows.append({"file": str(path)})


def _problem(loaded: Loaded, key: str, message: str) -> Problem:
    return Problem(loaded.sources.get(key, "(default)"), key, message)


def _check_whole(found: App, loaded: Loaded, findings: Findings) -> None:
    """What a server would refuse to start with, unless that is said already."""
    from corral.cli.validate_whole import faults_in  # noqa: PLC0415 - loaded when it is asked

    if findings.problems:
        return
    with waiting("putting it together"), contextlib.redirect_stdout(sys.stderr):
        for key, message in faults_in(found, loaded.settings):
            source = loaded.sources.get(key) or (_short(loaded.files[-1]) if loaded.files else "(default)")
            findings.problems.append(Problem(source, key, message))


def _check_app(file: str | None, loaded: Loaded | None, findings: Findings) -> App | None:
    """The app, where it can be loaded; its agents may be built only when it starts."""
    from corral.server.loading import load_app  # noqa: PLC0415 - loaded when it is asked

    try:
        target = find_target(file, loaded) if loaded is not None else file or "agents.py"
    except Failure as failure:
        findings.problems.append(Problem(loaded.settings.entrypoint if loaded else "", "entrypoint", failure.message))
        return None
    findings.entrypoint = target
    try:
        # What the user's file prints is no part of the result.
        with waiting(f"loading {target}"), contextlib.redirect_stdout(sys.stderr):
            found: App = load_app(target)
            agents = list(found.agents)
    except AppLoadError as error:
        findings.problems.append(Problem(_place(error, target), "", error.message))
        return None
    findings.agents = [_agent(agent) for agent in agents]
    findings.functions = [function.name for function in found.functions]
    if not agents and not found.agents.lazies and not found.functions and not found.compatible:
        message = "This app has no agent: decorate a function with `@app.entrypoint`."
        findings.problems.append(Problem(target, "", message))
    elif loaded is not None:
        _check_aliases(loaded, {agent.name for agent in agents}, findings)
    return found


def _check_aliases(loaded: Loaded, names: set[str], findings: Findings) -> None:
    for path, name in loaded.settings.server.aliases.items():
        if not path.startswith("/"):
            findings.problems.append(_problem(loaded, "server.aliases", f"{path!r} is not a path: begin it with `/`."))
        if name not in names:
            there = ", ".join(sorted(names)) or "none"
            message = f"{path!r} leads to the agent {name!r}, which does not exist; there is: {there}."
            findings.problems.append(_problem(loaded, "server.aliases", message))


def _agent(agent: Any) -> dict[str, Any]:
    entrypoint = agent.entrypoint
    if entrypoint is None:
        return {"name": agent.name, "lazy": True}
    return {"name": agent.name, "streaming": entrypoint.streams, "description": entrypoint.description}


def _place(error: AppLoadError, target: str) -> str:
    """The user's own line at which loading failed."""
    cause = error.__cause__
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{_short(cause.filename)}:{cause.lineno}"
    path = Path(target.partition(":")[0])
    if cause is None or not path.is_file():
        return target
    folder = str(path.resolve().parent)
    frames = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if frame.filename.startswith(folder) and "site-packages" not in frame.filename
    ]
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else target


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _show(findings: Findings) -> None:
    for problem in findings.problems:
        key = f"{problem.key}: " if problem.key and problem.key not in problem.message else ""
        show(f"{bold(problem.source)}: {key}{problem.message}")
    for warning in findings.warnings:
        note(f"Warning: {warning}")
    if findings.problems:
        count = len(findings.problems)
        note(f"{count} problem{'s' if count > 1 else ''} to mend.")
        return
    for name in findings.files:
        show(f"{_short(name)}  {dim('ok')}")
    for workflow in findings.workflows:
        show(f"{workflow['file']}  {dim('ok')}")
    names = [agent["name"] for agent in findings.agents] + [f"{name}()" for name in findings.functions]
    show(f"{_short(findings.entrypoint)}  {dim('ok')}  {', '.join(names) or '(built when the app starts)'}")
