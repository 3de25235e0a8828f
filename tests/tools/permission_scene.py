"""Tools behind a policy and nothing else: what they did is counted, and every decision is at hand."""

from __future__ import annotations

import inspect

from corral.messages import ToolReply
from corral.tools.checked import checked
from corral.tools.failing import failed_with, fault_of
from corral.tools.permitted import Permitted
from corral.tools.results import output_of
from corral.tools.stack import wrap
from corral.tools.toolbox import Toolbox


async def innermost(use):
    try:
        result = use.tool.invoke(use.arguments, use.call)
        output = output_of(await result if inspect.isawaitable(result) else result)
    except Exception as error:  # noqa: BLE001 - a tool may raise anything
        return failed_with(use.call, fault_of(use.tool.name, error), attempts=1)
    return ToolReply(
        name=use.tool.name, id=use.call.id, content=output.content, value=output.value, tainted=output.tainted
    )


def permitted_box(tools, policy, written=None):
    """A toolbox whose calls pass the policy; `written` collects the audit."""
    layer = Permitted(policy, None if written is None else written.append)
    return Toolbox(tools, run=wrap(innermost, [checked, layer]))
