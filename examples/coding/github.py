"""GitHub as tools: narrow, typed, and with what strangers wrote marked as such."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from typing import Any

from corral import ToolFailed, tool

URL = {"api": os.environ.get("GITHUB_API_URL", "")}
"""Where the API is: set by `agents.py` where the environment does not say."""
REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "shop/shop")
_TIMEOUT_S = 20


@tool(read_only=True, idempotent=True, untrusted=True)
def list_issues() -> list[dict[str, Any]]:
    """List the open issues of the repository: number, title, author."""
    found = asked("GET", "issues")
    return [{"number": one["number"], "title": one["title"], "author": one["user"]["login"]} for one in found]


@tool(read_only=True, idempotent=True, untrusted=True)
def read_issue(number: int) -> dict[str, Any]:
    """Read one issue as its author wrote it.

    Args:
        number: The issue's number.
    """
    found = asked("GET", f"issues/{number}")
    return {"number": number, "title": found["title"], "body": found["body"], "author": found["user"]["login"]}


@tool(read_only=True, idempotent=True)
def read_file(path: str, branch: str = "main") -> str:
    """Read a file of the repository.

    Args:
        path: Such as src/prices.py.
        branch: Of which branch.
    """
    return base64.b64decode(asked("GET", f"contents/{path}?ref={branch}")["content"]).decode()


@tool(idempotent=True)
def create_branch(branch: str) -> str:
    """Begin a branch at the newest commit of main.

    Args:
        branch: Its name, which begins with `fix/`.
    """
    asked("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": "main"})
    return f"The branch {branch} is there."


@tool(idempotent=True)
def write_file(branch: str, path: str, content: str, message: str) -> str:
    """Write a whole file on a branch, as one commit.

    Args:
        branch: The branch, never main.
        path: Such as src/prices.py.
        content: All of the file.
        message: What was changed, in one sentence.
    """
    encoded = base64.b64encode(content.encode()).decode()
    asked("PUT", f"contents/{path}", {"branch": branch, "message": message, "content": encoded})
    return f"{path} is written on {branch}."


@tool
def open_pull_request(branch: str, title: str, body: str) -> dict[str, Any]:
    """Propose a branch to the people of the repository.

    Args:
        branch: The branch with the change.
        title: In one line.
        body: What was wrong, and what was changed.
    """
    made = asked("POST", "pulls", {"head": branch, "base": "main", "title": title, "body": body})
    return {"number": made["number"], "title": title}


def asked(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the API. What it refuses is told to the model in words it can go on with."""
    headers = {"accept": "application/vnd.github+json", "content-type": "application/json"}
    if token := os.environ.get("GITHUB_TOKEN", ""):
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{URL['api']}/repos/{REPOSITORY}/{path}", data=data, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            said = json.load(error).get("message", "")
        raise ToolFailed(f"GitHub answered {error.code} to {method} {path}: {said}") from None
