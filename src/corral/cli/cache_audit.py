"""`corral cache audit`: whether answers by meaning may be trusted, and what says so."""

from __future__ import annotations

from typing import Any

from corral.cli.client import client_for
from corral.cli.job_shown import when
from corral.cli.options import Json, Key, Url, new_app
from corral.cli.output import note, show, show_json, show_table

app = new_app()

_HINTS = {
    "off": "Answers by meaning are off. Setting `cache.semantic.mode: shadow` gathers evidence, and serves nothing.",
    "shadow": "Nothing is served: `shadow` gathers evidence. `cache.semantic.mode: serve` serves where there is enough.",
    "fixed": "Served from a fixed likeness on, whatever the evidence says: `cache.semantic.mode: serve` heeds it.",
}


@app.command()
def audit(url: Url = None, api_key: Key = None, as_json: Json = False) -> None:
    """Show how often kept answers were wrong, from which likeness on they are served, and the last wrong ones."""
    found: dict[str, Any] = client_for(url, api_key).ask("GET", "/v1/cache/semantic")
    if as_json:
        show_json(found)
        return
    show(f"{found['answers']} answers; at most {found['error_rate']:.1%} of those served may be wrong.")
    if found["routes"]:
        show_table(
            ["ROUTE", "MODEL", "HITS", "HIT RATE", "SAVED", "SERVES FROM", "WRONG / COMPARED", "WRONG / AUDITED"],
            [_line(one) for one in found["routes"]],
        )
    for one in found["routes"]:
        if one["reason"]:
            note(f"{one['route'][:8]} began anew {when(one['since'])}: {one['reason']}.")
    if found["last_wrong"]:
        show("\nThe last wrong ones:")
        show_table(
            ["WHEN", "ALIKE", "SERVED", "QUESTION", "TAKEN FOR"],
            [
                [
                    when(one["at"]),
                    f"{one['score']:.3f}",
                    "yes" if one["audited"] else "no",
                    one["question"],
                    one["kept"],
                ]
                for one in found["last_wrong"]
            ],
        )
    hint = _HINTS.get(found["mode"])
    if hint:
        note(hint, faint=True)


def _line(one: dict[str, Any]) -> list[Any]:
    asked = one["hits"] + one["misses"]
    if one["threshold"] is None:
        serves = f"not yet: {one['labels_needed']} right ones to go"
    else:
        serves = f"{one['threshold']:.3f}" + ("" if one["serving"] else " (would)")
    return [
        one["route"][:8],
        one["model"],
        one["hits"],
        f"{one['hits'] / asked:.0%}" if asked else "-",
        f"${one['saved_usd']:.4f}",
        serves,
        _shares(one["wrong"], one["labels"], one["wrong_between"]),
        _shares(one["audits_wrong"], one["audits"], one["audits_wrong_between"]),
    ]


def _shares(wrong: int, count: int, between: list[float]) -> str:
    return f"{wrong} / {count} ({between[0]:.1%} to {between[1]:.1%})" if count else "-"
