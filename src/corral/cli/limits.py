"""`corral limits`: how the limits stand of whoever asks, and beginning anew."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from corral.cli.client import client_for
from corral.cli.confirming import confirm
from corral.cli.failure import Failure
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app("How often each caller may ask: what is left of it, and beginning anew.")

User = Annotated[str | None, typer.Option("--user", "-u", help="Of this user.")]
Session = Annotated[str | None, typer.Option("--session", help="Of this session.")]
KeyId = Annotated[str | None, typer.Option("--key", help="Of the key with this id.")]
Tier = Annotated[str | None, typer.Option("--tier", help="As somebody of this tier.")]
Agent = Annotated[str | None, typer.Option("--agent", "-a", help="For this agent.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="For this model.")]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@app.command("show")
def show_limits(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    user: User = None,
    session: Session = None,
    key: KeyId = None,
    tier: Tier = None,
    agent: Agent = None,
    model: Model = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what is left: of your own key, or of anybody in your tenant (which needs the role `operator`)."""
    given = _given(user=user, session=session, key=key, tier=tier, agent=agent, model=model)
    path = f"/v1/limits/of?{urlencode(given)}" if given else "/v1/limits"
    found: dict[str, Any] = client_for(url, api_key).ask("GET", path)
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("No limits. The setting `limits.rates` has them: `free_tier: {requests_per_minute: 10}`.")
        return
    show_table(
        ["LIMIT", "ALLOWS", "PER", "LEFT", "ALL OF IT IN", "COUNTED BY"],
        [
            [
                one["name"],
                f"{one['limit']:g} {one['unit']}",
                _span(one["window_s"]),
                f"{int(one['remaining'])}",
                _span(one["reset_s"]) if one["reset_s"] else "-",
                ", ".join(one["by"]),
            ]
            for one in found["items"]
        ],
    )


@app.command()
def reset(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    user: User = None,
    session: Session = None,
    key: KeyId = None,
    tier: Tier = None,
    agent: Agent = None,
    model: Model = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Forget what somebody in your tenant has used. Say who as limits count: `--user ada --tier free`."""
    given = _given(user=user, session=session, key=key, tier=tier, agent=agent, model=model)
    if not given:
        raise Failure("Say whose limits begin anew: `corral limits reset --user ada --tier free`.")
    who = ", ".join(f"{word} {text}" for word, text in given.items())
    confirm(f"Have the limits of {who} begin anew?", otherwise="Nothing was changed.", yes=yes)
    done: dict[str, Any] = client_for(url, api_key).ask("POST", "/v1/limits/reset", given)
    if as_json:
        show_json(done)
    elif done["reset"]:
        show(f"{', '.join(done['reset'])}: from the beginning.")
    else:
        note(f"No limit is for {who}. Limits by tier need `--tier`.")


def _given(**words: str | None) -> dict[str, str]:
    return {word: text for word, text in words.items() if text}


def _span(seconds: float) -> str:
    """`45s`, `12m`, `3h`, `1d`: whole ones, rounded up."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds == size or seconds >= 2 * size:
            return f"{-int(-seconds // size)}{unit}"
    return f"{-int(-seconds // 1)}s"
