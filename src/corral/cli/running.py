"""`corral ps` and `corral stop`: what runs now in all workers, and an end to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from corral.cli.client import client_for
from corral.cli.confirming import confirm
from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

ps_app = new_app()
stop_app = new_app()

Kind = Annotated[
    Literal["invocation", "call", "job", "execution", "run"] | None,
    typer.Option("--kind", "-k", help="Only this kind."),
]
Id = Annotated[str | None, typer.Option("--id", help="Only this one.")]
Agent = Annotated[str | None, typer.Option("--agent", "-a", help="Only of this agent, or of this workflow.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="Only for this user.")]
Session = Annotated[str | None, typer.Option("--session", help="Only in this session.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Only calls of this model.")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Of this tenant: your key's, or any with the role `platform`.")
]
Older = Annotated[float | None, typer.Option("--older", help="Runs for at least so many seconds.", metavar="SECONDS")]


@ps_app.command()
def ps(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    kind: Kind = None,
    found: Id = None,
    agent: Agent = None,
    user: User = None,
    session: Session = None,
    model: Model = None,
    tenant: Tenant = None,
    older: Older = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what runs now in all workers, the longest first, and what it cost until now."""
    given = _given(
        kind=kind, id=found, agent=agent, user=user, session=session, model=model, tenant=tenant, older_s=older
    )
    answer: dict[str, Any] = client_for(url, api_key).ask("GET", f"/v1/running?{urlencode(given)}")
    if as_json:
        show_json(answer)
        return
    _show(answer, nothing="Nothing runs.")


@stop_app.command()
def stop(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    kind: Kind = None,
    found: Id = None,
    agent: Agent = None,
    user: User = None,
    session: Session = None,
    model: Model = None,
    tenant: Tenant = None,
    older: Older = None,
    everything: Annotated[bool, typer.Option("--all", help="All that runs in the tenant.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Stop what runs now and fits: invocations, calls of models, jobs, executions and agents' runs, in all workers."""
    given = _given(
        kind=kind, id=found, agent=agent, user=user, session=session, model=model, tenant=tenant, older_s=older
    )
    if not everything and not set(given) - {"tenant"}:
        raise Failure(
            "It is not clear what to stop.", "Give --agent, --user, --session, …; or --all.", status=Exit.INVALID
        )
    if everything and not set(given) - {"tenant"}:
        confirm(
            f"Stop all that runs in {'your tenant' if tenant is None else f'the tenant {tenant}'}?",
            otherwise="Nothing was stopped.",
            yes=yes,
        )
    body = {**given, **({"all": True} if everything else {})}
    answer: dict[str, Any] = client_for(url, api_key).ask("POST", "/v1/running/stop", body)
    if as_json:
        show_json(answer)
        return
    _show(answer, nothing="Nothing of this runs.")
    if answer["items"]:
        show(f"{len(answer['items'])} stopped.")


def _given(**words: Any) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value is not None}


def _show(answer: dict[str, Any], *, nothing: str) -> None:
    if not answer["items"]:
        note(nothing)
        return
    show_table(
        ["KIND", "ID", "AGENT/MODEL", "USER", "SESSION", "FOR", "COST"],
        [
            [
                *(
                    one["kind"],
                    one["id"],
                    one["agent"] or one.get("model") or "-",
                    one["user"] or "-",
                    one["session"] or "-",
                ),
                _span(one["age_s"]),
                _cost(one["cost_usd"]),
            ]
            for one in answer["items"]
        ],
    )
    if answer["more"]:
        note("There is more: ask again.")


def _cost(usd: float | None) -> str:
    """Four places; six where there is less than a cent."""
    if usd is None:
        return "-"
    return f"${usd:.4f}" if usd >= 0.01 else f"${usd:.6f}"  # noqa: PLR2004 - a cent


def _span(seconds: float) -> str:
    """`42s`, `3m10s`, `2h05m`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
