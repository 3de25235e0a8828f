"""The JSON schema of `corral.yaml`: types from the structs, descriptions from the docstrings under their keys."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Any

import msgspec

from corral.settings.section import Section
from corral.settings.sections import Settings

VARIABLE = {"type": "string", "pattern": "^\\$\\{.+\\}$"}


def json_schema() -> dict[str, Any]:
    """The schema, complete and without references to anywhere else."""
    (reference,), parts = msgspec.json.schema_components([Settings], ref_template="#/$defs/{name}")
    said = descriptions()
    for name, part in parts.items():
        part.pop("title", None)
        part["additionalProperties"] = False
        part["description"] = said[name].pop("")
        for key, schema in part["properties"].items():
            described = _with_variables(schema)
            if said[name].get(key):
                described["description"] = said[name][key]
            part["properties"][key] = described
    root = parts.pop(reference["$ref"].rpartition("/")[2])
    root["properties"] = {"$schema": {"type": "string"}, **root["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "corral.yaml", **root, "$defs": parts}


def descriptions() -> dict[str, dict[str, str]]:
    """By struct and key, the docstring under it; under the empty key the struct's own."""
    found: dict[str, dict[str, str]] = {}
    modules = sorted({section.__module__ for section in Section.__subclasses__()})
    written = [node for module in modules for node in ast.parse(inspect.getsource(sys.modules[module])).body]
    for node in written:
        if not isinstance(node, ast.ClassDef):
            continue
        said = found[node.name] = {"": ast.get_docstring(node) or ""}
        for key, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and _is_text(text):
                said[key.target.id] = inspect.cleandoc(text.value.value)  # type: ignore[attr-defined]  # just checked
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _with_variables(schema: dict[str, Any]) -> dict[str, Any]:
    """A value of any type may also be written `${VAR}`, and a section may be empty."""
    if "$ref" in schema:
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]}
    if schema.get("type") == "string" and "enum" not in schema:
        return schema
    default = {"default": schema.pop("default")} if "default" in schema else {}
    kinds = schema.pop("anyOf", [schema])
    return {"anyOf": [*kinds, dict(VARIABLE)], **default}


def defaults() -> dict[str, Any]:
    """The default of every setting by dotted key."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        value = getattr(Settings(), field.name)
        if isinstance(value, Section):
            inner = msgspec.structs.fields(type(value))
            found |= {f"{field.name}.{key.name}": getattr(value, key.name) for key in inner}
        else:
            found[field.name] = value
    return found
