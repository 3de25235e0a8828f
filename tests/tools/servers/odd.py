"""A small server of tools that misbehaves in the ways its first argument names; it needs no SDK, and starts at once."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

ODD = sys.argv[1] if len(sys.argv) > 1 else ""
TOOLS = [
    {"name": "echo", "description": "Say it again.", "inputSchema": {"type": "object", "properties": {"text": {}}}},
    {"name": "hang", "description": "Never answer.", "annotations": {"readOnlyHint": True}},
    {"name": "slow", "description": "Answer late, saying how far it is."},
    {"name": "die", "description": "End the server."},
    {"name": "told", "description": "What the client has told us."},
    {"name": "odd/name.with-signs", "description": "x" * 10_000},
    {"description": "without a name"},
    "no tool at all",
]
told: list = []
lock = threading.Lock()


def say(message):
    with lock:
        sys.stdout.write((message if isinstance(message, str) else json.dumps({"jsonrpc": "2.0", **message})) + "\n")
        sys.stdout.flush()


def complain(words):
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def text(words, **more):
    return {"content": [{"type": "text", "text": words}], **more}


def slow(number, token):
    for step in range(8):
        time.sleep(0.15)
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
    say({"id": number, "result": text("late")})


def call(number, params):
    name = params["name"]
    if name == "echo":
        say({"id": number, "result": text(params["arguments"].get("text", ""))})
    elif name == "slow":
        threading.Thread(target=slow, args=(number, params["_meta"]["progressToken"]), daemon=True).start()
    elif name == "die":
        complain("the roof came down")
        os._exit(3)
    elif name == "told":
        say({"id": number, "result": text(json.dumps(told))})
    elif name == "grow":
        TOOLS.append({"name": "grown", "description": "New."})
        say({"method": "notifications/tools/list_changed"})
        say({"id": number, "result": text("grown")})
    elif name != "hang":
        say({"id": number, "error": {"code": -32602, "message": f"Unknown tool: {name}"}})


def answer(message):
    method, number = message.get("method"), message.get("id")
    told.append(message)
    if method == "initialize":
        version = {"old": "2024-11-05", "future": "2099-01-01"}.get(ODD, message["params"]["protocolVersion"])
        say({"id": number, "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {}}})
    elif method == "tools/list":
        page = int((message.get("params") or {}).get("cursor") or 0)
        more = {"nextCursor": str(page + 4)} if page + 4 < len(TOOLS) else {}
        say({"id": number, "result": {"tools": TOOLS[page : page + 4], **more}})
    elif method == "tools/call":
        call(number, message["params"])


def main():
    if ODD == "dies":
        complain("no licence")
        sys.exit(2)
    if ODD == "silent":
        sys.stdin.read()
        return
    if ODD == "stubborn":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if ODD == "noisy":
        say("Welcome to the noisy server!")
        say("[1, 2, 3]")
        say({"id": 999, "result": {}})
        say({"id": "x", "method": "ping"})
        say({"id": 7, "method": "sampling/createMessage"})
        say({"method": "notifications/message", "params": {"data": "hello"}})
        say({"method": "notifications/progress", "params": {"progressToken": [], "progress": 1}})
        complain("\xff noise")
    for line in sys.stdin:
        answer(json.loads(line))
    if ODD == "stubborn":
        time.sleep(60)


main()
