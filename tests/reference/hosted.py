"""One file, hosted by either: `hosted.py MODULE PORT [debug]`, where MODULE is `bedrock_agentcore` or `corral.agentcore`."""

import asyncio
import importlib
import sys
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

sdk = importlib.import_module(sys.argv[1])
Context = sdk.BedrockAgentCoreContext
app = sdk.BedrockAgentCoreApp(debug="debug" in sys.argv)


@dataclass
class Row:
    name: str
    tags: set


class Odd:
    def __str__(self):
        return "odd"


class Explosive:
    def __str__(self):
        raise RuntimeError("no")


VALUES = {
    "dict": {"a": 1, "ü": [1.5, None, True, "✓"]},
    "text": 'quo"te\n',
    "number": 7,
    "none": None,
    "tuple": (1, 2),
    "set": {1},
    "dataclass": Row("x", {1}),
    "nested": {"rows": [Row("x", {2})]},
    "odd": Odd(),
    "explosive": Explosive(),
    "nan": float("nan"),
    "bytes": b"raw",
    "empty": {},
}


async def stream(payload):
    for value in payload["stream"]:
        await asyncio.sleep(0)
        yield VALUES[value]
    if payload.get("fail"):
        raise KeyError("in the middle")


def sync_stream(payload):
    yield from (VALUES[value] for value in payload["sync_stream"])
    if payload.get("fail"):
        raise KeyError("in the middle")


@app.entrypoint
async def main(payload, context):  # noqa: PLR0911 - one answer per question
    if not isinstance(payload, dict):
        return payload
    if "value" in payload:
        return VALUES[payload["value"]]
    if "stream" in payload:
        return stream(payload)
    if "sync_stream" in payload:
        return sync_stream(payload)
    if "raise" in payload:
        raise ValueError(payload["raise"])
    if "http" in payload:
        raise HTTPException(payload["http"], "because")
    if "response" in payload:
        return JSONResponse({"mine": True}, status_code=418, headers={"x-mine": "yes"})
    if "context" in payload:
        return {
            "session": context.session_id,
            "headers": dict(sorted((context.request_headers or {}).items())),
            "method": context.request.method,
            "same": Context.get_session_id() == context.session_id,
            "token": Context.get_workload_access_token(),
            "callback": Context.get_oauth2_callback_url(),
            "request_id": Context.get_request_id(),
        }
    if "busy" in payload:
        task = app.add_async_task("work", {"k": 1})
        info = app.get_async_task_info()
        status = app.get_current_ping_status().value
        return {
            "count": info["active_count"],
            "name": info["running_jobs"][0]["name"],
            "status": status,
            "done": app.complete_async_task(task),
            "again": app.complete_async_task(task),
        }
    return payload


@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    text = await websocket.receive_text()
    if text == "fail":
        raise RuntimeError("no")
    await websocket.send_json({"said": text, "session": context.session_id})
    await websocket.close()


app.run(port=int(sys.argv[2]))
