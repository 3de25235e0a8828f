"""The layer that reads arguments: once, for all that come after it."""

from __future__ import annotations

import msgspec

from corral.messages import ToolReply
from corral.tools.arguments import Misfit
from corral.tools.failing import failed
from corral.tools.signature import plain
from corral.tools.stack import RunTool, Use


async def checked(use: Use, proceed: RunTool) -> ToolReply:
    """Go on with arguments that fit; from here on, `call.input` says them as the function takes them."""
    tool, call = use.tool, use.call
    try:
        use.arguments = read = tool.read(call.input)
    except Misfit as misfit:
        return failed(call, "invalid_input", f"The arguments of {tool.name} do not fit. {misfit}")
    if read is not call.input:
        given = msgspec.to_builtins(read, enc_hook=plain)
        if given != call.input:
            use.call = msgspec.structs.replace(call, input=given)
    return await proceed(use)
