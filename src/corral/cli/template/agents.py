"""Four agents that need no account and no key. Edit and save: `corral dev` reloads by itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from corral import LLM, App, Context

app = App()
llm = LLM("auto", system="You answer for a shop that sells saddles. Be brief and kind.")


@dataclass
class Question:
    """What callers send. Anything else is answered 400, with every fault named."""

    prompt: str


@app.entrypoint
async def main(question: Question, context: Context) -> AsyncIterator[str]:
    """A helper that remembers: tell it your name, give it notes, ask what it knows."""
    memory: dict[str, Any] = {"notes": []}
    if context.has_session:
        memory = await context.session.state.get(memory)
        memory["earlier"] = [m.text for m in await context.session.messages(limit=50) if m.role == "user"]

    reply = answer(question.prompt, memory, remembers=context.has_session)

    if context.has_session:
        memory.pop("earlier")  # Corral keeps what was said by itself; the state is for what was learnt.
        await context.session.state.set(memory)

    for word in re.findall(r"\S+\s*", reply):
        yield word
        await asyncio.sleep(0.03)  # A model would take its time as well.


@app.entrypoint(name="ask")
async def ask(question: Question) -> AsyncIterator[str]:
    """Ask a model. A simulated one answers until `corral.yaml` names a provider; limits, costs and traces are real."""
    async for piece in llm.text(question.prompt):
        yield piece


@app.entrypoint(name="fragile")
async def fragile(payload: dict[str, Any]) -> AsyncIterator[str]:
    """Fail on demand, to see what that looks like: `{"after": 2}` breaks off after two pieces."""
    for number in range(int(payload.get("after", 0))):
        yield f"Piece {number + 1}. "
    raise RuntimeError("The barn door was left open.")


@app.entrypoint(name="order")
async def order(payload: dict[str, Any], context: Context) -> str:
    """As a job: reserve, wait for a person, charge. It survives restarts, and no finished step is done twice."""
    item = str(payload.get("item", "hay"))
    reserved = await context.step("reserve", reserve, item)
    await context.progress(0.5, "waiting for approval")
    if not await context.wait_for("approval", timeout=3600):  # costs no worker, however long it takes
        return f"{reserved}, and let go again."
    return await context.step("charge", charge, reserved)


def reserve(item: str) -> str:
    """Put something aside: for this, nobody wants to pay twice."""
    return f"One {item} reserved"


def charge(reserved: str) -> str:
    """Take the money."""
    return f"{reserved}, and paid."


def answer(prompt: str, memory: dict[str, Any], *, remembers: bool = True) -> str:
    """What to say. Put your model here: this one is a handful of rules."""
    text = prompt.strip()
    if found := re.search(r"\bmy name is (\w+)", text, re.IGNORECASE):
        memory["name"] = found[1]
        return f"Good to meet you, {found[1]}." + ("" if remembers else _NO_SESSION)
    if found := re.match(r"(?:remember|note)(?: that)?:? +(.+)", text, re.IGNORECASE):
        memory["notes"].append(found[1].rstrip("."))
        return f"Noted, that makes {len(memory['notes'])}." + ("" if remembers else _NO_SESSION)
    if found := re.search(r"(-?\d+(?:\.\d+)?) *([-+*/]) *(-?\d+(?:\.\d+)?)", text):
        return f"{found[0]} is {_calculated(float(found[1]), found[2], float(found[3]))}."
    if re.search(r"\b(who am i|my name|know|remember)\b", text, re.IGNORECASE):
        return _recalled(memory) if remembers else "I know nothing about you yet." + _NO_SESSION
    name = f", {memory['name']}" if "name" in memory else ""
    return f"Hello{name}! Tell me your name, say «remember that …», ask what I know, or give me a sum such as 12 * 7."


_NO_SESSION = " (I forget it again at once: give me a session to keep it in, `--session first`.)"


def _recalled(memory: dict[str, Any]) -> str:
    known = [f"Your name is {memory['name']}."] if "name" in memory else []
    known += [f"You asked me to remember that {note}." for note in memory["notes"]]
    if memory.get("earlier"):
        known.append(f"The first thing you said here was «{memory['earlier'][0]}».")
    return " ".join(known) or "I know nothing about you yet."


def _calculated(left: float, operator: str, right: float) -> str:
    if operator == "/" and right == 0:
        return "more than I can count"
    results = {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else 0.0}
    return f"{results[operator]:g}"
