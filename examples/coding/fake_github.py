"""A small GitHub: the few addresses of its REST API that a coding agent needs, with one repository behind them."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

FILES = {
    "src/prices.py": 'def total(prices):\n    """All prices together."""\n    return sum(prices[1:])\n',
    "README.md": "# Shop\n\nPrices and orders.\n",
}
ISSUES = [
    {
        "number": 17,
        "title": "The total is too small",
        "body": "`total([5, 7])` is 7, and should be 12. See src/prices.py.",
        "state": "open",
        "user": {"login": "customer"},
    }
]
NOT_FOUND = {"message": "Not Found"}


class FakeGithub:
    """Serves `/repos/shop/shop/…` on a port of its own until `stop`."""

    def __init__(self) -> None:
        """Ready to be asked."""
        self.branches: dict[str, dict[str, str]] = {"main": dict(FILES)}
        self.pulls: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        """The credentials that came along."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(self._body())

            def do_PUT(self) -> None:
                self._answer(self._body())

            def _body(self) -> dict[str, Any]:
                return dict(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, body: dict[str, Any]) -> None:
                fake.tokens.append(self.headers.get("authorization", ""))
                status, found = fake.answer(self.command, self.path, body)
                content = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, address: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body, as GitHub would say it."""
        url = urlsplit(address)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        known = parts[:3] == ["repos", "shop", "shop"]
        match method, parts[3:] if known else []:
            case "GET", ["issues"]:
                return 200, ISSUES
            case "GET", ["issues", number]:
                return next(((200, one) for one in ISSUES if str(one["number"]) == number), (404, NOT_FOUND))
            case (("GET" | "PUT"), ["contents", *path]):
                ref = body.get("branch") or parse_qs(url.query).get("ref", ["main"])[0]
                return self._contents(method, "/".join(path), ref, body)
            case "POST", ["git", "refs"]:
                self.branches[body["ref"].removeprefix("refs/heads/")] = dict(self.branches["main"])
                return 201, {"ref": body["ref"]}
            case "POST", ["pulls"]:
                self.pulls.append({"number": 18 + len(self.pulls), **body})
                return 201, self.pulls[-1]
            case _:
                return 404, NOT_FOUND

    def _contents(self, method: str, path: str, branch: str, body: dict[str, Any]) -> tuple[int, Any]:
        files = self.branches.get(branch)
        if files is None or (method == "GET" and path not in files):
            return 404, NOT_FOUND
        if method == "PUT":
            files[path] = base64.b64decode(body["content"]).decode()
            return 200, {"content": {"path": path}, "commit": {"message": body["message"]}}
        return 200, {"path": path, "encoding": "base64", "content": base64.b64encode(files[path].encode()).decode()}
