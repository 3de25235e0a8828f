"""`corral agents chat`: talk to an agent in a terminal."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import typer

from corral.cli.agent_asking import is_somebody_there, to_its_end
from corral.cli.agent_watch import Watcher, told
from corral.cli.agents_api import AgentsApi, agents_api
from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, Key, Url
from corral.cli.output import bold, dim, has_colours, note, show_failure, show_json

_HELP = (
    "/exit      leave (so does Ctrl-D)\n"
    "/reset     begin a new conversation\n"
    "/session   show which conversation this is; /session ID goes to another one\n"
    "/help      this"
)
_GREY = "\x01\x1b[2m\x02{}\x01\x1b[0m\x02"


def chat(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="Which agent of the app.")] = "",
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="Go on with this conversation; else a new one begins.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Who speaks.")] = None,
    url: Url = None,
    api_key: Key = None,
    as_json: Json = False,
) -> int:
    """Talk to an agent: text as it comes, tools as they run, and what it may not do without you is asked.

    /exit leaves, /reset begins anew, /session shows or changes the conversation. Ctrl-C stops an answer. Lines piped in are
    said one after the other; with --json, what came of each is printed as one document at the end.
    """
    api = agents_api(url, api_key, user=user)
    conversation = Chat(api, agent or _only_agent(api), session or _new_session(), quiet=as_json)
    if as_json:
        conversation.read(sys.stdin.readline)
        show_json({"agent": conversation.agent, "session_id": conversation.session, "turns": conversation.turns})
    elif is_somebody_there():
        note(f"{bold(conversation.agent)} {dim('· /help for what you can say, /exit to leave')}")
        conversation.read(_typed)
    else:
        conversation.read(sys.stdin.readline)
    return Exit.FAILED if conversation.failed else Exit.OK


class Chat:
    """One conversation, or several one after the other."""

    def __init__(self, api: AgentsApi, agent: str, session: str, *, quiet: bool) -> None:
        """Nothing is said yet."""
        self.agent = agent
        self.session = session
        self.turns: list[dict[str, Any]] = []
        self.failed = False
        """Whether the last turn went wrong."""
        self._api = api
        self._quiet = quiet

    def read(self, next_line: Callable[[], str]) -> None:
        """Take lines until there are none, or somebody says /exit."""
        while line := next_line():
            text = line.strip()
            if text.startswith("/") and not text.startswith("//"):
                if not self._obeyed(text):
                    return
            elif text:
                self._say(text.removeprefix("/") if text.startswith("//") else text)

    def _obeyed(self, text: str) -> bool:
        """False: it is over."""
        order, _, rest = text.partition(" ")
        match order:
            case "/exit" | "/quit":
                return False
            case "/reset":
                self.session = _new_session()
                self._note(f"A new conversation: {self.session}")
            case "/session":
                self.session = rest.strip() or self.session
                self._note(f"This is the conversation {self.session}")
            case "/help":
                self._note(_HELP)
            case _:
                self._note(f"{order} is none of: /exit /reset /session /help. Write // to begin with a slash.")
        return True

    def _say(self, text: str) -> None:
        self.failed = False
        try:
            seen = Watcher(quiet=self._quiet).watch(
                self._api.run(self.agent, text, session=self.session), f"{self.agent} is at work"
            )
            if not self._quiet:
                seen = to_its_end(self._api, seen)
                note(told(seen), faint=True)
            self.turns.append({"prompt": text, **seen.as_json()})
        except KeyboardInterrupt:
            if self._quiet or not is_somebody_there():
                raise
            note("Stopped.")
        except Failure as failure:
            self.failed = True
            self.turns.append({"prompt": text, "error": failure.as_json()})
            if not self._quiet:
                show_failure(failure, as_json=False)

    def _note(self, text: str) -> None:
        if not self._quiet:
            note(text, faint=True)


def _typed() -> str:
    """A line from the keyboard, with what the terminal's editing offers; nothing at the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - makes the arrow keys work, where the system has it
    prompt = _GREY.format("you >") + " " if has_colours(sys.stdout) else "you > "
    try:
        return input(prompt) + "\n"
    except EOFError:
        note("")
        return ""


def _only_agent(api: AgentsApi) -> str:
    """The agent to talk to where none is named."""
    names = [agent["name"] for agent in api.agents() if agent.get("kind") != "code"]
    if len(names) == 1:
        return str(names[0])
    there = f"There are: {', '.join(names)}." if names else "This app has none: `app.add(Agent(…))` makes one."
    raise Failure("Say which agent.", there, code="usage", status=Exit.USAGE)


def _new_session() -> str:
    return f"chat-{uuid.uuid4()}"
