"""Writes `docs/settings.md` from the settings' types and docstrings: `python tests/settings/settings_page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corral.settings.schema import VARIABLE, defaults, json_schema
from corral.settings.section import Section

PAGE = Path(__file__).parents[2] / "docs/settings.md"
_MARK = "<!-- From here on this page is written by tests/settings/settings_page.py. -->\n"


def page() -> str:
    """The page: what people wrote, down to the mark, and the tables."""
    head = PAGE.read_text(encoding="utf-8").partition(_MARK)[0] if PAGE.exists() else "# Settings\n\n"
    schema = json_schema()
    parts, values = schema["$defs"], defaults()
    sections = {
        name: parts[part["anyOf"][0]["$ref"].rpartition("/")[2]]
        for name, part in schema["properties"].items()
        if "$ref" in part.get("anyOf", [{}])[0]
    }
    plain = {name: part for name, part in schema["properties"].items() if name not in sections and name[0] != "$"}
    text = f"{head}{_MARK}\n## At the top\n\n{_table(plain, values, '')}"
    for name, section in sections.items():
        text += f"\n## `{name}`\n\n{section['description']}\n\n{_table(section['properties'], values, name + '.')}"
    for name, section in sections.items():
        for key, inner in section["properties"].items():
            text += _inner(f"{name}.{key}", inner, parts)
    return text


def _inner(place: str, schema: dict[str, Any], parts: dict[str, Any]) -> str:
    """The table of what stands inside of one setting, if that has keys of its own."""
    for kind in schema.get("anyOf", [schema]):
        holder = {"array": kind.get("items"), "object": kind.get("additionalProperties")}.get(kind.get("type", ""))
        within = holder if isinstance(holder, dict) else kind
        if "$ref" in within:
            key = parts[within["$ref"].rpartition("/")[2]]
            rows = "".join(
                f"| `{name}` | {_kind(part)} | {_default(part.get('default'))} | {_cell(part['description'])} |\n"
                for name, part in key["properties"].items()
            )
            title = place if within is kind else f"{place}.NAME" if kind["type"] == "object" else f"{place}[]"
            return f"\n### `{title}`\n\n{key['description']}\n\n{_HEAD}{rows}"
    return ""


_HEAD = "| key | type | default | what it is |\n| --- | --- | --- | --- |\n"


def _table(properties: dict[str, Any], values: dict[str, Any], prefix: str) -> str:
    rows = [
        f"| `{prefix}{name}` | {_kind(part)} | {_default(values[prefix + name])} | {_cell(part.get('description', ''))} |\n"
        for name, part in properties.items()
    ]
    return _HEAD + "".join(rows)


def _kind(schema: dict[str, Any]) -> str:
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind != VARIABLE]
    return " or ".join(_one_kind(kind) for kind in kinds)


def _one_kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "table"
    names = {"array": "list", "object": "table", "string": "text", "null": "nothing", "integer": "whole number"}
    name = names.get(schema.get("type", ""), schema.get("type", "anything"))
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    said = [f"{sign} {schema[limit]:g}" for limit, sign in limits.items() if schema.get(limit, 1e9) < 1e9]
    return ", ".join([name, *said])


def _default(value: Any) -> str:
    return (
        ""
        if value is None or isinstance(value, Section) or value in ([], {}, "")
        else f"`{json.dumps(value)}`".replace('"', "")
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
