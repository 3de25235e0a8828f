"""`.bedrock_agentcore.yaml`, so that a project made for AgentCore runs as it is.

The file is another tool's: keys that mean nothing here are left alone. Both forms are read, the flat one (name, region,
entrypoint, …) and the starter toolkit's (`default_agent`, `agents`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from corral.settings.check import Checker, Value

AGENTCORE_FILE = ".bedrock_agentcore.yaml"

_KEYS = {
    "name": "name",
    "entrypoint": "entrypoint",
    "region": "agentcore.region",
    "runtime": "agentcore.runtime",
    "memory": "agentcore.memory",
    "timeout": "runtime.timeout_s",
    "identity_providers": "agentcore.identity_providers",
    "disable_memory": "agentcore.disable_memory",
    "disable_otel": "agentcore.disable_otel",
}


def read_agentcore_file(path: Path, checker: Checker) -> dict[str, Value]:
    """Values by dotted key of ours."""
    import yaml  # noqa: PLC0415 - PyYAML is loaded when there is a file

    from corral.settings.yaml_file import YamlReader, compose  # noqa: PLC0415 - as above

    root = compose(path)
    if not isinstance(root, yaml.MappingNode):
        return {}
    lines = {key.value: key.start_mark.line + 1 for key, _ in root.value if isinstance(key, yaml.ScalarNode)}
    content: dict[str, Any] = YamlReader(path, checker).plain(root)
    if isinstance(content.get("agents"), dict):
        line = lines["agents"]
        return {key: Value(value, f"{path.name}:{line}") for key, value in _toolkit(content).items()}
    found = {ours: (name, content[name]) for name, ours in _KEYS.items() if content.get(name) is not None}
    return {ours: Value(_ours(ours, value), f"{path.name}:{lines[name]}") for ours, (name, value) in found.items()}


def _toolkit(content: dict[str, Any]) -> dict[str, Any]:
    agents = content["agents"]
    default = content.get("default_agent")
    agent = (agents.get(default) if isinstance(default, str) else None) or next(iter(agents.values()), None)
    if not isinstance(agent, dict):
        return {}
    aws: dict[str, Any] = agent["aws"] if isinstance(agent.get("aws"), dict) else {}
    memory = agent.get("memory")
    found = {
        "name": agent.get("name"),
        "entrypoint": agent.get("entrypoint"),
        "agentcore.region": aws.get("region"),
        "agentcore.account": _text(aws.get("account")),
        "agentcore.disable_memory": (isinstance(memory, dict) and memory.get("mode") == "NO_MEMORY") or None,
        "agentcore.disable_otel": _disabled(aws.get("observability")),
    }
    return {key: value for key, value in found.items() if value is not None}


def _disabled(part: Any) -> bool | None:
    return True if isinstance(part, dict) and part.get("enabled") is False else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _ours(key: str, value: Any) -> Any:
    if key == "agentcore.identity_providers" and isinstance(value, dict):
        return [{"name": name, **(given if isinstance(given, dict) else {})} for name, given in value.items()]
    return value
