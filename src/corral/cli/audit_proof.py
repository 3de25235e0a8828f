"""`corral audit verify`, `export`, `checkpoints`, `key`: that the audit is what was written, here or in a file elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from corral.cli.client import client_for
from corral.cli.failure import Failure
from corral.cli.files import refuse_to_overwrite
from corral.cli.options import Config, Json, Key, Store, Url
from corral.cli.output import note, show, show_json
from corral.cli.project import load_project, open_store
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.security.signing import AuditKeys
    from corral.security.store import Checkpoint
    from corral.security.verifying import Verdict
    from corral.settings.sections import Settings

_PAGE = 1000
_ANSWER_S = 600.0
"""A long audit takes a while: about a second for 50,000 entries."""
_HINT = "Keep the store as it is, and compare with an older export, or with checkpoints that were kept elsewhere (`--checkpoints`)."

Export = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="An export. Without one the server is asked, or `--store`.")
]
Believed = Annotated[
    list[str] | None, typer.Option("--key", help="Believe this public key as well (`corral audit key`); repeatable.")
]
Outside = Annotated[
    Path | None, typer.Option("--checkpoints", help="Checkpoints that were kept elsewhere: lines of JSON.")
]


def verify(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    file: Export = None,
    keys: Believed = None,
    outside: Outside = None,
    newest: Annotated[int | None, typer.Option("--newest", min=1, help="About so many entries of the end.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose, with `--store`.")] = "default",
    store: Store = None,
    config: Config = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Check that nothing was edited, taken out, moved or cut off; status 1, and the first bad entry, when something was."""
    if file is None and store is None:
        if outside is not None or keys:
            raise Failure(
                "A server checks with its own keys, and with what is in its store.",
                "Name an export (`corral audit export`), or the store itself (`--store`).",
                code="invalid",
            )
        query = f"?{urlencode({'newest': newest})}" if newest else ""
        client = client_for(url, api_key)
        _tell(client.ask("GET", f"/v1/audit/verify{query}", timeout_s=_ANSWER_S), as_json=as_json)
        return
    settings = load_project(None, config, {"store.url": store}).settings
    ring = _ring(settings, keys or [])
    kept = [] if outside is None else _checkpoints_in(outside)
    if file is not None:
        found = _verified(file, ring, kept)
    else:
        with waiting("checking the audit"):
            found = asyncio.run(_asked(settings, ring, tenant, kept, newest))
    _tell(msgspec.to_builtins(found), as_json=as_json)


def export(
    file: Annotated[Path | None, typer.Option("--out", "-o", help="Write it there, not to stdout.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Write the whole audit as lines of JSON, with its hashes and what was signed: for `corral audit verify FILE`."""
    client = client_for(url, api_key)
    if file is not None:
        refuse_to_overwrite([file], "Choose another name: an older export is evidence as well.")
    with client.call("GET", "/v1/audit/export", timeout_s=_ANSWER_S) as answer:
        answer.raise_for_status()
        if file is None:
            for line in answer.lines():
                sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
            return
        count = _kept(file, answer.lines())
    if as_json:
        show_json({"file": str(file), "lines": count})
        return
    note(f"{file}: {count} lines. `corral audit verify {file}` checks it, here or anywhere else.")


def _kept(file: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a file, whole or not at all; returns how many."""
    count = 0
    draft = file.with_name(f"{file.name}.new")
    try:
        with draft.open("wb") as writing:
            for count, line in enumerate(lines, start=1):  # noqa: B007 - told at the end
                writing.write(line + b"\n")
        draft.replace(file)
    except OSError as error:
        raise Failure(
            f"{file} cannot be written: {error.strerror}.", "Choose a place you may write to.", code="not_written"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return count


def checkpoints(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Print all checkpoints as lines of JSON: kept elsewhere, they find whoever rewrites the store (`verify --checkpoints`)."""
    client = client_for(url, api_key)
    after: int | None = 0
    items: list[Any] = []
    while after is not None:
        page: dict[str, Any] = client.ask("GET", f"/v1/audit/checkpoints?after={after}&limit={_PAGE}")
        items += page["items"]
        after = page["next_after"]
    if as_json:
        show_json({"items": items})
        return
    sys.stdout.buffer.write(b"".join(msgspec.json.encode(one) + b"\n" for one in items))
    sys.stdout.buffer.flush()


def key(
    *,
    new: Annotated[
        bool, typer.Option("--new", help="Print a new private key, for `security.audit_chain.key`.")
    ] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Add a new key to the key file: from the next start it signs.")
    ] = False,
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the keys that sign checkpoints here, as others need them to check."""
    from corral.security.book import key_file  # noqa: PLC0415 - only who asks for keys pays for them
    from corral.security.signing import add_key, new_key  # noqa: PLC0415 - as above

    if new:
        show(new_key())
        return
    settings = load_project(None, config, {"store.url": store}).settings
    if rotate:
        if settings.security.audit_chain.key:
            raise Failure(
                "The key stands in the settings (`security.audit_chain.key`), not in a file.",
                "Put another one there (`corral audit key --new`), and this one's public half into `trusted`.",
                code="invalid",
            )
        add_key(key_file(settings))
        note("From the next start of the server on, the new key signs; the older ones are still believed.")
    shown = [
        {"key_id": one.key_id, "algorithm": one.algorithm, "public": one.public} for one in _ring(settings, []).known()
    ]
    if as_json:
        show_json({"items": shown})
        return
    for one in shown:
        show(one["public"] or f"{one['algorithm']} {one['key_id']} (a shared secret: it has no public half)")
    if not shown:
        note("No key yet: the server makes one when it first signs, about five minutes after the first entry.")


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    untrusted = ", ".join(found["untrusted"])
    if as_json:
        show_json(found)
    elif found["ok"]:
        swept = f" Entries up to {found['swept']} were swept because they were old." if found["swept"] else ""
        unsealed = f" {found['unsealed']} are not in the chain yet." if found["unsealed"] else ""
        count = found["checkpoints"]
        signed = f"{count} checkpoint{' agrees' if count == 1 else 's agree'}" if count else "nothing was signed yet"
        show(
            f"{found['entries']} entries up to number {found['last']} are what was written; {signed}.{swept}{unsealed}"
        )
    if found["ok"]:
        return
    if found["number"] is None:
        raise Failure(
            f"The chain is whole, but checkpoints are signed by keys that are not believed here: {untrusted}.",
            "Give the public key of who signed: `--key`, or `security.audit_chain.trusted`.",
            code="audit_untrusted",
        )
    raise Failure(
        f"The audit of {found['tenant']!r} is broken at entry {found['number']}: {found['fault']}.",
        _HINT,
        code="audit_broken",
        number=found["number"],
    )


def _ring(settings: Settings, keys: Sequence[str]) -> AuditKeys:
    from corral.security.book import audit_keys  # noqa: PLC0415 - as above

    ring = audit_keys(settings, keys)
    ring.read()
    return ring


def _verified(file: Path, ring: AuditKeys, outside: Sequence[Checkpoint]) -> Verdict:
    from corral.security.exporting import verify_export  # noqa: PLC0415 - as above

    try:
        with file.open("rb") as lines:
            return verify_export(lines, ring, outside=outside)
    except OSError as error:
        raise _unreadable(file, error) from None


def _checkpoints_in(file: Path) -> list[Checkpoint]:
    from corral.security.verifying import read_checkpoint  # noqa: PLC0415 - as above

    try:
        lines = file.read_bytes().splitlines()
        return [read_checkpoint(msgspec.json.decode(line)) for line in lines if line.strip()]
    except OSError as error:
        raise _unreadable(file, error) from None
    except (ValueError, msgspec.DecodeError) as error:
        raise Failure(
            f"{file} does not hold checkpoints: {error}.", "`corral audit checkpoints` prints some."
        ) from None


def _unreadable(file: Path, error: OSError) -> Failure:
    return Failure(f"{file} cannot be read: {error.strerror}.", "Name a file that is there.", code="not_read")


async def _asked(
    settings: Settings, ring: AuditKeys, tenant: str, outside: Sequence[Checkpoint], newest: int | None
) -> Verdict:
    from corral.security.verifying import Verifier  # noqa: PLC0415 - as above

    stores = open_store(settings.store)
    try:
        await stores.start()
        return await Verifier(stores.audit, ring).verify(tenant, outside=outside, newest=newest)
    finally:
        await stores.stop()
