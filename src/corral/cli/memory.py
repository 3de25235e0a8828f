"""`corral memory`: take documents in, look things up, and see to what is remembered."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from corral.cli.client import Client, client_for, header, segment
from corral.cli.confirming import confirm
from corral.cli.failure import Exit, Failure
from corral.cli.job_shown import when
from corral.cli.jobs_api import JobsApi
from corral.cli.jobs_follow import Follower
from corral.cli.options import Cursor, Json, Key, Url, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table
from corral.cli.progress import ProgressBar

app = new_app("Documents and facts that agents remember: take in, look for, list, export and forget.")

User = Annotated[str | None, typer.Option("--user", "-u", help="Whose memory, besides what all of the tenant see.")]
Session = Annotated[str | None, typer.Option("--session", "-s", help="The session whose memory is meant as well.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Only in this namespace.")]
ScopeName = Annotated[str | None, typer.Option("--scope", help="public, tenant, user, session (or team, team:NAME).")]

_ACCEPTED = 202
_FILES_MAX = 10_000
_SUFFIXES = {".txt", ".text", ".md", ".markdown", ".html", ".htm", ".pdf", ".rst", ".csv", ".log"}
_SHORT = 70


@app.command()
def ingest(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    sources: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|URL...", help="What to take in; - for stdin.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where it is kept.")] = "main",
    scope: Annotated[
        str | None,
        typer.Option("--scope", help="For whom: public, tenant, user, session, team:NAME. Else as --user says."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Instead of its own.")] = None,
    media_type: Annotated[
        str | None, typer.Option("--type", help="Such as text/markdown; else as the name says.")
    ] = None,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata to filter by. Repeatable.")
    ] = None,
    background: Annotated[bool, typer.Option("--background", help="Do not wait for what a job takes in.")] = False,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Take documents in. The same source again takes the place of what there is; only what changed is done anew."""
    client, headers = client_for(url, api_key), _who(user, session)
    whole = {
        "namespace": namespace,
        "scope": scope,
        "title": title,
        "media_type": media_type,
        "metadata": _meta(meta or []),
    }
    shared = {name: value for name, value in whole.items() if value}
    done: list[dict[str, Any]] = []
    bar = ProgressBar()
    named = list(_named(sources))
    for at, source in enumerate(named):
        bar.draw(at / len(named), source)
        body = {**shared, **_document(source)}
        with client.call(
            "POST", "/v1/memory/documents", content=msgspec.json.encode(body), headers=headers, timeout_s=300
        ) as answer:
            answer.raise_for_status()
            status, found = answer.status, answer.json()
        if status == _ACCEPTED and not background:
            found = _awaited(client, found["job_id"], bar, source)
        done.append({"source": source, **found})
    bar.clear()
    if as_json:
        show_json({"items": done})
        return
    for one in done:
        if "outcome" in one:
            show(f"{one['source']}  {one['outcome']}, {one['chunks']} chunks ({one['added']} new)  {dim(one['id'])}")
        else:
            show(f"{one['source']}  job {one['job_id']}: corral jobs tail {one['job_id']}")


@app.command()
def search(  # noqa: PLR0913, PLR0917 - as above
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many results.")] = 5,
    namespace: Namespace = None,
    scope: ScopeName = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="KEY=VALUE", help="Only with this metadata. Repeatable.")
    ] = None,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Look something up, the best first."""
    body: dict[str, Any] = {"query": query, "k": k}
    if namespace:
        body["namespace"] = namespace
    if scope:
        body["scopes"] = [scope]
    if where:
        body["filters"] = [{"key": key, "value": value} for key, value in _meta(where).items()]
    found = client_for(url, api_key).ask("POST", "/v1/memory/search", body, headers=_who(user, session))
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("Nothing was found. `corral memory list` shows what there is.")
    for one in found["items"]:
        cited = one["citation"]
        where_from = " · ".join(
            part for part in (cited["title"] or one["kind"], cited["place"], cited["source"]) if part
        )
        show(f"{bold(where_from)}  {dim(one['id'])}\n{one['text'].strip()}\n")


@app.command("list")
def list_items(  # noqa: PLR0913, PLR0917 - as above
    namespace: Namespace = None,
    scope: ScopeName = None,
    kind: Annotated[str | None, typer.Option("--kind", help="document, record or log.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 20,
    cursor: Cursor = None,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """List what is remembered, last changed first."""
    query = {"namespace": namespace, "scope": scope, "kind": kind, "limit": limit, "cursor": cursor}
    path = f"/v1/memory/items?{urlencode({name: value for name, value in query.items() if value is not None})}"
    found = client_for(url, api_key).ask("GET", path, headers=_who(user, session))
    if as_json:
        show_json(found)
        return
    if not found["items"]:
        note("Nothing is remembered yet. Begin: corral memory ingest handbook.md")
        return
    show_table(
        ["ID", "KIND", "NAMESPACE", "FOR", "CHANGED", "WHAT"],
        [
            [one["id"], one["kind"], one["namespace"]["name"], _whose(one), when(one["updated_at"]), _what(one)]
            for one in found["items"]
        ],
    )
    if found.get("next_cursor"):
        note(f"There are more: --cursor {found['next_cursor']}")


@app.command()
def remember(  # noqa: PLR0913, PLR0917 - as above
    text: Annotated[str, typer.Argument(help="One fact.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where it is kept.")] = "main",
    scope: Annotated[str | None, typer.Option("--scope", help="For whom; else as --user says.")] = None,
    meta: Annotated[list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata. Repeatable.")] = None,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Remember a fact."""
    whole = {"text": text, "namespace": namespace, "scope": scope, "metadata": _meta(meta or [])}
    body = {name: value for name, value in whole.items() if value}
    found = client_for(url, api_key).ask("POST", "/v1/memory/records", body, headers=_who(user, session))
    if as_json:
        show_json(found)
    else:
        show(found["id"])


@app.command()
def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Documents and facts.")] = None,
    whose: Annotated[
        str | None,
        typer.Option(
            "--of", metavar="WHOSE", help="Everything of user:NAME, session:ID or team:NAME; `all`: of the tenant."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Forget documents and facts for good, or everything of somebody."""
    if bool(ids) == (whose is not None):
        raise Failure(
            "Name what is to be forgotten, or --of whom.",
            "`corral memory list` shows it.",
            code="usage",
            status=Exit.USAGE,
        )
    client = client_for(url, api_key)
    what = ", ".join(ids or ()) if whose is None else f"everything of {whose}"
    confirm(f"Forget {what} on {client.url}? This cannot be undone.", otherwise="Nothing was forgotten.", yes=yes)
    if whose is not None:
        count = client.ask("DELETE", f"/v1/memory?{urlencode({'of': whose})}")["deleted_items"]
    else:
        for item in ids or ():
            client.ask("DELETE", f"/v1/memory/items/{segment(item)}", headers=_who(user, session))
        count = len(ids or ())
    if as_json:
        show_json({"deleted_items": count})
    else:
        show(f"Forgot {count} item{'' if count == 1 else 's'}.")


@app.command()
def export(
    namespace: Namespace = None,
    scope: ScopeName = None,
    user: User = None,
    session: Session = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Print everything that is remembered, whole, as lines of JSON; with --json, as one document."""
    query = {name: value for name, value in (("namespace", namespace), ("scope", scope)) if value}
    path = f"/v1/memory/export{'?' + urlencode(query) if query else ''}"
    with client_for(url, api_key).call("GET", path, headers=_who(user, session), timeout_s=300) as answer:
        answer.raise_for_status()
        if as_json:
            show_json({"items": [msgspec.json.decode(line) for line in answer.lines() if line.strip()]})
            return
        for line in answer.lines():
            show(line.decode())


@app.command()
def refresh(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these documents.")] = None,
    meaning: Annotated[bool, typer.Option("--meaning", help="Place everything by its meaning anew instead.")] = False,
    user: User = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> None:
    """Fetch documents that came from addresses again; what did not change costs nothing."""
    client = client_for(url, api_key)
    body = {"do": "reindex"} if meaning else {"do": "refresh", "ids": ids or []}
    job = client.ask("POST", "/v1/memory/jobs", body, headers=_who(user, None))["job_id"]
    bar = ProgressBar()
    result = _awaited(client, job, bar, "")
    bar.clear()
    if as_json:
        show_json(result)
        return
    if meaning:
        show(f"Placed {result['embedded']} chunks.")
        return
    show(f"{result['documents']} documents, of which {result['changed']} have changed.")
    for item, said in result["failed"].items():
        note(f"{item}: {said}")


def _awaited(client: Client, job: str, bar: ProgressBar, words: str) -> dict[str, Any]:
    """What a job came to, with a bar until then."""
    api = JobsApi(client)
    for event in Follower(api, job).events():
        if event.name == "progress" and isinstance(event.data, dict):
            said = event.data.get("data") or {}
            bar.draw(said.get("fraction"), " ".join(part for part in (words, str(said.get("message") or "")) if part))
    found = api.job(job)
    if found["status"] != "succeeded":
        error = found.get("error") or {}
        raise Failure(
            f"{words or 'The job'}: {error.get('message') or found['status']}",
            f"`corral jobs show {job}` tells more; `corral jobs retry {job}` tries again.",
            code=str(error.get("code") or "job_failed"),
        )
    result: dict[str, Any] = found["result"]
    return result


def _named(sources: list[str]) -> Iterator[str]:
    """Every file: folders are walked through, for files that hold text."""
    count = 0
    for source in sources:
        path = Path(source)
        if source != "-" and not _is_address(source) and path.is_dir():
            files = iter(
                [str(one) for one in sorted(path.rglob("*")) if one.is_file() and one.suffix.lower() in _SUFFIXES]
            )
        else:
            files = iter([source])
        for file in files:
            count += 1
            if count > _FILES_MAX:
                raise Failure(
                    f"These are more than {_FILES_MAX} files.",
                    "Take them in folder by folder.",
                    code="usage",
                    status=Exit.USAGE,
                )
            yield file


def _document(source: str) -> dict[str, Any]:
    if _is_address(source):
        return {"url": source}
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise Failure(
            f"{source} cannot be read: {error.strerror or error}.",
            "Name a file, a folder or an address.",
            code="no_file",
            status=Exit.NOT_FOUND,
        ) from None
    named = {} if source == "-" else {"source": source}
    return {**named, "data": base64.b64encode(data).decode()}


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _meta(given: list[str]) -> dict[str, Any]:
    """`key=value`, and `key:=JSON` for what is no text."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise Failure(f"{one!r} has no value.", "Say key=value, or key:=JSON.", code="usage", status=Exit.USAGE)
        if not name.endswith(":"):
            found[name] = value
            continue
        try:
            found[name[:-1]] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise Failure(
                f"{value!r} is no JSON.", 'Say key:=3, or key:=["a", "b"].', code="usage", status=Exit.USAGE
            ) from None
    return found


def _who(user: str | None, session: str | None) -> dict[str, str]:
    given = {"X-User-Id": user, "X-Session-Id": session}
    return {name: header(name, value) for name, value in given.items() if value}


def _whose(item: dict[str, Any]) -> str:
    space = item["namespace"]
    return ":".join(part for part in (space["scope"], space.get("owner", "")) if part)


def _what(item: dict[str, Any]) -> str:
    text = " ".join((item["text"] or item["title"] or item["source"]).split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
