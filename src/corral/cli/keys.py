"""`corral keys`: who is let in, with or without a running server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from corral.cli.confirming import confirm
from corral.cli.job_filter import duration
from corral.cli.job_shown import when
from corral.cli.key_source import choose_source
from corral.cli.options import Config, Cursor, Json, Key, Store, Url, new_app
from corral.cli.output import bold, note, show, show_json, show_table

app = new_app(
    "Give out keys, exchange them and take them back. Works on the project's store, or on a server with an admin's key."
)

Tenant = Annotated[str, typer.Option("--tenant", help="Whose keys, when the store is used without a server.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("create")
def create_key(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="What people call it.")] = "",
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            "-r",
            help="`admin`, `operator`, `developer`, `invoker` (if none is said) or `auditor`; other words are for tools.",
        ),
    ] = None,
    tier: Annotated[str, typer.Option("--tier", help="The caller's tier.")] = "",
    agent: Annotated[
        list[str] | None, typer.Option("--agent", "-a", help="Only for agents like this: `support*`.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only for models like this, whoever asks them.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="How long it is good: `12h`, `90d`.")
    ] = None,
    aws: Annotated[
        bool, typer.Option("--aws", help="With an access key and a secret, for clients that sign as AWS has it.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Make a key, and show it: this once."""
    source = choose_source(url, api_key, store, config, tenant)
    asked = {
        "name": name,
        "tier": tier,
        "roles": role or [],
        "agents": agent or [],
        "models": model or [],
        "aws": aws,
        "ttl_s": None if expires is None else duration(expires),
    }
    made = source.create(asked)
    _show_once(made, as_json=as_json)
    if not as_json and source.closed_the_door():
        note("It is the first one: from now on everybody is asked for a key, by servers that run as well.")
        if "admin" not in made["roles"]:
            note("For what only an admin may do there is none yet: corral keys create --role admin")


@app.command("list")
def list_keys(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 100,
    cursor: Cursor = None,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """List keys, the latest first."""
    found = choose_source(url, api_key, store, config, tenant).listed(limit=limit, cursor=cursor)
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("No keys. Make one: corral keys create --role admin")
        return
    show_table(
        ["KEY", "NAME", "STATE", "ROLES", "TIER", "CREATED", "EXPIRES", "LAST USED"],
        [
            [
                one["id"],
                one["name"] or "-",
                one["state"],
                " ".join(one["roles"]),
                one["tier"] or "-",
                when(one["created_at"]),
                when(one["expires_at"]),
                when(one["last_used_at"]),
            ]
            for one in found["items"]
        ],
    )
    if found.get("next_cursor"):
        note(f"There are more: --cursor {found['next_cursor']}")


@app.command("show")
def show_key(
    key: KeyId,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Show what a key is for. Not the key: nobody has that but who was given it."""
    found = choose_source(url, api_key, store, config, tenant).show(key)
    if as_json:
        show_json(found)
        return
    for name, value in found.items():
        if value not in (None, "", []):
            shown = (
                when(value)
                if name.endswith(("_at", "_until"))
                else " ".join(value)
                if isinstance(value, list)
                else value
            )
            show(f"{bold(name)}  {shown}")


@app.command("rotate")
def rotate_key(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    key: KeyId,
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="How long the old one is good: `0s` for not at all.")
    ] = "24h",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="How long the new one is good.")
    ] = None,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Exchange a key for a new one under the same id, and show it: this once."""
    source = choose_source(url, api_key, store, config, tenant)
    asked: dict[str, Any] = {"grace_s": duration(grace)}
    if expires is not None:
        asked["ttl_s"] = duration(expires)
    _show_once(source.rotate(key, asked), as_json=as_json)


@app.command("revoke")
def revoke_key(
    key: KeyId,
    yes: Yes = False,
    url: Url = None,
    api_key: Key = None,
    store: Store = None,
    config: Config = None,
    tenant: Tenant = "default",
    as_json: Json = False,
) -> None:
    """Let nobody in with a key any more, now and for good."""
    source = choose_source(url, api_key, store, config, tenant)
    found = source.show(key)
    confirm(
        f"Revoke the key {key} ({found['name'] or 'without a name'}) in {source.name}? This cannot be undone.",
        otherwise="Nothing was revoked.",
        yes=yes,
    )
    gone = source.revoke(key)
    if as_json:
        show_json(gone)
    else:
        show(f"Revoked {key}: every worker refuses it within two seconds.")


def _show_once(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(made)
        return
    show(made["key"])
    if made.get("secret_key"):
        show(f"AWS_ACCESS_KEY_ID={made['access_key']}")
        show(f"AWS_SECRET_ACCESS_KEY={made['secret_key']}")
    until = "until it is revoked" if made["expires_at"] is None else f"until {when(made['expires_at'])}"
    note(
        f"The key {made['id']} of {made['tenant']} ({', '.join(made['roles'])}) is good {until}. Nobody sees it again."
    )
