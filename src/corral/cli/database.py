"""`corral db`: the store's schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from corral.cli.failure import Failure
from corral.cli.options import Config, Json, Store, new_app
from corral.cli.output import show, show_json
from corral.cli.project import load_project, open_store
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.settings.sections import StoreSettings

app = new_app("Check the store's schema, or bring it up to date. (Servers do that by themselves when they start.)")


@app.command()
def check(store: Store = None, config: Config = None, as_json: Json = False) -> None:
    """Say which schema the store has, and which this program knows. Changes nothing; status 1 when they differ."""
    settings = load_project(None, config, {"store.url": store}).settings.store
    with waiting("asking the store"):
        url, has, knows = asyncio.run(_versions(settings))
    if has == knows:
        _say(
            as_json,
            {"store": url, "schema_version": has, "known_version": knows, "up_to_date": True},
            f"{url} is up to date (schema {has}).",
        )
        return
    older = has < knows
    raise Failure(
        f"{url} has {'no schema' if has == 0 else f'schema {has}'}; this program knows schema {knows}.",
        "`corral db migrate` brings it up to date; so does the next start of a server."
        if older
        else "A newer Corral wrote there: install that version.",
        code="schema_outdated" if older else "schema_too_new",
        store=url,
        schema_version=has,
        known_version=knows,
    )


@app.command()
def migrate(store: Store = None, config: Config = None, as_json: Json = False) -> None:
    """Bring the store's schema up to date, under a lock: run it as often as you like."""
    settings = load_project(None, config, {"store.url": store}).settings.store
    with waiting("bringing the store up to date"):
        url, before, after = asyncio.run(_migrated(settings))
    changed = before != after
    text = f"{url}: schema {before} is now schema {after}." if changed else f"{url} was up to date (schema {after})."
    _say(as_json, {"store": url, "from_version": before, "schema_version": after, "changed": changed}, text)


def _say(as_json: bool, content: dict[str, Any], text: str) -> None:
    if as_json:
        show_json(content)
    else:
        show(text)


async def _versions(settings: StoreSettings) -> tuple[str, int, int]:
    stores = open_store(settings)
    try:
        return (stores.url, *await stores.schema_version())
    finally:
        await stores.stop()


async def _migrated(settings: StoreSettings) -> tuple[str, int, int]:
    stores = open_store(settings)
    try:
        before, _ = await stores.schema_version()
        await stores.start()
        after, _ = await stores.schema_version()
    finally:
        await stores.stop()
    return stores.url, before, after
