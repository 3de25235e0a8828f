"""Permissions of tools written in Cedar: one more gate, before all rules. Needs `corral[cedar]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.tools.policy import Ruling

if TYPE_CHECKING:
    from corral.tools.tool import Tool

_DEPTH_MAX = 16
_LONG_MAX = 2**63
_DECIMAL_MAX = 9e14


class CedarGate:
    """Asks a set of Cedar policies. As always with Cedar: what none permits is denied, and one that forbids outdoes all others.

    - principal: `User::"ada"` in every `Role::"…"` of hers and in `Tenant::"acme"`; without a user, `Agent::"support"`
    - action: `Action::"call"`
    - resource: `Tool::"refund"` in `Source::"mcp:crm"`, with the attributes `read_only` and `source`
    - context: `agent`, `tenant`, `session`, `run`, `tier`, `tainted` (set of texts), `approved` (whether a person said yes), `input` (a
      record; numbers with a fraction are decimals, nulls are left out)
    """

    def __init__(self, policies: str) -> None:
        """Raises `ConfigError` for policies that cannot be read."""
        try:
            import cedarpy  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise ConfigError("`tools.policy.cedar` needs one more package: pip install 'corral[cedar]'") from None
        self._cedar = cedarpy
        try:
            self._policies = cedarpy.PolicySet.from_str(policies)
        except ValueError as error:
            raise ConfigError(f"The Cedar policies cannot be read: {error}") from None

    @classmethod
    def from_file(cls, path: str) -> CedarGate:
        """Read them from a file."""
        try:
            return cls(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"The Cedar policies in {path} (`tools.policy.cedar`) cannot be read: {error}") from None

    def denies(self, call: ToolCall, tool: Tool) -> Ruling | None:
        """Why not, or nothing. What Cedar cannot judge is denied."""
        caller = call.caller
        principal = {"type": "User", "id": caller.user_id} if caller.user_id else {"type": "Agent", "id": caller.agent}
        resource = {"type": "Tool", "id": tool.name}
        parents = [{"type": "Role", "id": role} for role in caller.roles] + [{"type": "Tenant", "id": caller.tenant}]
        marks = tool.marks
        known = {"read_only": marks.read_only, "source": marks.source}
        entities: list[dict[Any, Any]] = [
            {"uid": principal, "attrs": {}, "parents": parents},
            *({"uid": parent, "attrs": {}, "parents": []} for parent in parents),
            {"uid": resource, "attrs": known, "parents": [{"type": "Source", "id": marks.source}]},
            {"uid": {"type": "Source", "id": marks.source}, "attrs": {}, "parents": []},
        ]
        request = {
            "principal": principal,
            "action": {"type": "Action", "id": "call"},
            "resource": resource,
            "context": {
                "agent": caller.agent,
                "tenant": caller.tenant,
                "session": caller.session_id,
                "run": caller.run_id,
                "tier": caller.tier,
                "tainted": list(call.tainted),
                "approved": bool(call.approved_by),
                "input": said(call.input),
            },
        }
        try:
            answer = self._cedar.is_authorized(request, self._policies, entities)
        except Exception as error:  # noqa: BLE001 - whatever it cannot judge, it does not allow
            return Ruling(
                decision="denied", rule="cedar", reason=f"Cedar cannot judge this call: {type(error).__name__}"
            )
        errors = list(answer.diagnostics.errors)
        if answer.allowed and not errors:
            return None
        named = ", ".join(sorted(answer.diagnostics.reasons))
        reason = f"{errors[0]}"[:300] if errors else ("a policy forbids it" if named else "no policy permits it")
        return Ruling(decision="denied", rule=f"cedar:{named}" if named else "cedar", reason=reason)


def said(value: Any, depth: int = 0) -> Any:
    """JSON in Cedar's words. Raises nothing: what Cedar has no word for becomes text."""
    if depth == _DEPTH_MAX:
        return str(value)
    if isinstance(value, bool | str) or (isinstance(value, int) and -_LONG_MAX <= value < _LONG_MAX):
        return value
    if isinstance(value, float) and abs(value) < _DECIMAL_MAX:
        return {"__extn": {"fn": "decimal", "arg": f"{value:.4f}"}}
    if isinstance(value, list):
        return [said(one, depth + 1) for one in value if one is not None]
    if isinstance(value, dict):
        # A key with two underscores means something to Cedar's JSON: nobody may say that in an argument.
        return {
            f"_{key}" if str(key).startswith("__") else str(key): said(one, depth + 1)
            for key, one in value.items()
            if one is not None
        }
    return str(value)
