from __future__ import annotations

import typing
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
import yaml
from settings_page import PAGE, page

from corral.settings.check import FIELDS
from corral.settings.schema import defaults, descriptions, json_schema
from corral.settings.section import Section
from corral.settings.sections import Settings

EXAMPLE = Path(__file__).parents[2] / "examples/quickstart/corral.yaml"


@pytest.fixture(scope="module")
def check():
    return jsonschema_rs.validator_for(json_schema()).is_valid


def test_every_setting_is_described():
    said = descriptions()
    sections = {name: kind for name, kind in typing.get_type_hints(Settings).items() if isinstance(kind, type)}
    undocumented = []
    for section, kind in sections.items():
        if issubclass(kind, Section):
            undocumented += [
                f"{section}.{f.name}" for f in msgspec.structs.fields(kind) if f.name not in said[kind.__name__]
            ]
        elif section not in said["Settings"]:
            undocumented.append(section)
    assert undocumented == []


def test_the_schema_knows_what_the_loader_knows():
    schema = json_schema()
    keys = set()
    for name, part in schema["properties"].items():
        reference = part.get("anyOf", [{}])[0].get("$ref")
        if reference is None:
            keys.add(name)
        else:
            keys |= {f"{name}.{key}" for key in schema["$defs"][reference.rpartition("/")[2]]["properties"]}
    assert keys - {"$schema"} == set(FIELDS) == set(defaults())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "server:",
        "$schema: x\nname: shop",
        "server: {port: 9000, aliases: {/agent: main}}",
        "server: {port: '${PORT}'}",
        "sessions: {ttl_s: null, on_conflict: reject}",
        "security: {api_keys: [{key: a, tenant: b}]}",
        "security: {api_keys: '${KEYS}'}",
        EXAMPLE.read_text(),
    ],
)
def test_what_is_right_is_right(check, text):
    assert check(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "names: shop",
        "server: {prot: 1}",
        "server: {port: high}",
        "server: {port: 99999}",
        "server: 1",
        "sessions: {on_conflict: wait}",
        "security: {api_keys: [{tenant: b}]}",
        "security: {api_keys: [{key: a, tenants: b}]}",
    ],
)
def test_what_is_wrong_is_wrong(check, text):
    assert not check(yaml.safe_load(text))


def test_the_schema_is_a_schema():
    jsonschema_rs.meta.validate(json_schema())


def test_the_page_says_what_the_code_says():
    assert PAGE.read_text() == page(), "run: .venv/bin/python tests/settings/settings_page.py"
