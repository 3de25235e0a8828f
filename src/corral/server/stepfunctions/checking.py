"""Definitions looked at without being kept."""

from __future__ import annotations

from typing import Any

from corral.server.stepfunctions.operations import Asked, Work, without_nothing
from corral.workflows.language.fault import Fault, errors_of

_SHOWN_MAX = 100


class Checking:
    """ValidateStateMachineDefinition."""

    def operations(self) -> dict[str, Work]:
        """The one."""
        return {"ValidateStateMachineDefinition": self.validate}

    async def validate(self, asked: Asked) -> dict[str, Any]:
        """Everything that is wrong with a definition."""
        body = asked.body
        found = await _faults(body["definition"], body.get("type", "STANDARD"))
        shown = found if body.get("severity") == "WARNING" else errors_of(found)
        most = int(body.get("maxResults") or _SHOWN_MAX)
        return {
            "result": "FAIL" if errors_of(found) else "OK",
            "diagnostics": [
                without_nothing(
                    {
                        "severity": fault.severity,
                        "code": fault.code,
                        "message": fault.message,
                        "location": fault.location,
                    }
                )
                for fault in shown[:most]
            ],
            "truncated": len(shown) > most,
        }


async def _faults(text: str, kind: str) -> list[Fault]:
    from corral.workflows.language.looking import faults_in  # noqa: PLC0415 - what checks expressions is heavy

    return await faults_in(text, kind=kind)
