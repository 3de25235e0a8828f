"""`corral models`: what can be asked, ask it, compare, and what it cost."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from corral.cli.failure import Exit, Failure
from corral.cli.model_prices import prices
from corral.cli.options import Config, Json, Store, new_app
from corral.cli.output import bold, dim, note, show, show_json, show_table, write
from corral.cli.project import load_project
from corral.cli.waiting import waiting

if TYPE_CHECKING:
    from corral.messages import ModelCall, ModelReply
    from corral.wiring.modelling import Modelling

app = new_app("The models of this project: list them, ask them, compare them, and see what they cost.")
app.command("prices")(prices)

Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask; - reads it from stdin.")]
System = Annotated[str | None, typer.Option("--system", help="Instructions.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")]
Temperature = Annotated[float | None, typer.Option("--temperature", min=0, help="How much chance plays a part.")]


@app.command("list")
def list_models(
    ask: Annotated[bool, typer.Option("--ask", help="Ask the providers as well which models they have.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the models that can be asked: names of your own, what providers list, classes of the router."""
    from corral.cli.model_source import run  # noqa: PLC0415 - loaded when a model is asked

    loaded = load_project(None, config, {"store.url": store})

    async def listed(modelling: Modelling) -> list[dict[str, Any]]:
        return [
            {
                "id": model.id,
                "kind": model.kind,
                "provider": model.provider,
                "context_tokens": model.context_tokens,
                **modelling.price_per_million(model.id),
            }
            for model in await modelling.models(ask=ask)
        ]

    with waiting("asking the providers"):
        found = run(loaded, listed)
    if as_json:
        show_json({"items": found})
        return
    show_table(
        ["MODEL", "KIND", "CONTEXT", "$ IN/M", "$ OUT/M"],
        [
            [
                one["id"],
                one["kind"],
                _number(one["context_tokens"]),
                _price(one["input_usd"]),
                _price(one["output_usd"]),
            ]
            for one in found
        ],
    )
    if not loaded.settings.models.providers:
        note(
            "No provider is configured: the simulator answers. Name one in corral.yaml (`models.providers`).",
            faint=True,
        )


@app.command()
def call(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    prompt: Prompt,
    model: Annotated[str, typer.Option("--model", "-m", help="`provider/model`, a name, or `auto`.")] = "",
    system: System = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave kept answers alone.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask a model, through the same layers as agents do. What it took and why this model answered is said beside it."""
    from corral.cli.model_source import run  # noqa: PLC0415 - loaded when a model is asked

    loaded = load_project(None, config, {"store.url": store})
    question = _question(prompt, model, system=system, max_tokens=max_tokens, temperature=temperature, fresh=fresh)
    begun = time.monotonic()
    if as_json:
        reply = run(loaded, lambda modelling: _reply(modelling, question))
        show_json(_told(question, reply, time.monotonic() - begun))
        return
    reply = run(loaded, lambda modelling: _streamed(modelling, question))
    _say_beside(question, reply, time.monotonic() - begun)


@app.command()
def compare(
    prompt: Prompt,
    model: Annotated[list[str], typer.Option("--model", "-m", help="A model to ask; give it twice or more.")],
    system: System = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask several models the same, at the same time, and set their answers side by side."""
    from corral.cli.model_source import run  # noqa: PLC0415 - loaded when a model is asked

    loaded = load_project(None, config, {"store.url": store})
    questions = [
        _question(prompt, one, system=system, max_tokens=max_tokens, temperature=temperature, fresh=True)
        for one in model
    ]

    async def asked(modelling: Modelling) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(_timed(modelling, question) for question in questions)))

    with waiting(f"asking {len(questions)} models"):
        answers = run(loaded, asked)
    if as_json:
        show_json({"items": answers})
    else:
        for answer in answers:
            show(f"{bold(answer['asked'])}\n{answer.get('text') or answer['error']}\n")
        show_table(
            ["MODEL", "SECONDS", "TOKENS IN", "OUT", "COST", "STOPPED"],
            [
                [
                    one["asked"],
                    f"{one['seconds']:.2f}",
                    one.get("input_tokens", "-"),
                    one.get("output_tokens", "-"),
                    _cost(one.get("cost_usd")),
                    one.get("stop_reason", "failed"),
                ]
                for one in answers
            ],
        )
    if all("error" in one for one in answers):
        raise Failure("No model answered.", "See above.", code="model_failed", status=Exit.FAILED)


@app.command()
def cost(
    by: Annotated[
        Literal["model", "provider", "agent", "session", "run", "tag", "day", "outcome"],
        typer.Option("--by", help="What to add up by."),
    ] = "model",
    tag: Annotated[str, typer.Option("--tag", help="With --by tag: which one.")] = "",
    since: Annotated[str, typer.Option("--since", help="How far back: 90m, 24h, 30d.")] = "30d",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose calls.")] = "default",
    store: Store = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add up what models cost."""
    from corral.cli.model_source import run  # noqa: PLC0415 - loaded when a model is asked

    loaded = load_project(None, config, {"store.url": store})
    seconds = _seconds(since)
    with waiting("adding up"):
        found = run(loaded, lambda modelling: modelling.spend(tenant, since_s=seconds, by=by, tag=tag))
    if as_json:
        from corral.server.costs import shown  # noqa: PLC0415 - as above

        show_json({"by": by, "since": since, "items": [shown(one) for one in found]})
        return
    if not found:
        note(f"No model was asked in the last {since}.")
        return
    show_table(
        [by.upper(), "COST", "CALLS", "KEPT", "TOKENS IN", "OUT", "UNPRICED"],
        [
            [
                one.key or "-",
                _cost(one.cost_usd),
                one.calls,
                one.cached,
                _number(one.usage.input_tokens),
                _number(one.usage.output_tokens),
                one.unpriced or "-",
            ]
            for one in found
        ],
    )


# -- asking -----------------------------------------------------------------------------------------------------------


def _question(
    prompt: str,
    model: str,
    *,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    fresh: bool,
) -> ModelCall:
    from corral.messages import CallPolicy, Message, ModelCall, as_parts  # noqa: PLC0415 - as above

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise Failure("There is nothing to ask.", "Give a prompt, or `-` and something on stdin.", status=Exit.INVALID)
    messages = [Message(role="system", content=as_parts(system))] if system else []
    return ModelCall(
        model=model,
        messages=[*messages, Message(role="user", content=as_parts(text))],
        max_tokens=max_tokens,
        temperature=temperature,
        policy=CallPolicy(cache="bypass" if fresh else ""),
    )


async def _reply(modelling: Modelling, question: ModelCall) -> ModelReply:
    from corral.models.stack import reply_of  # noqa: PLC0415 - as above

    return await reply_of(modelling.call(question))


async def _streamed(modelling: Modelling, question: ModelCall) -> ModelReply:
    """Write the answer as it comes."""
    import msgspec  # noqa: PLC0415 - as above

    from corral.messages import (  # noqa: PLC0415 - as above
        Delta,
        ModelReply,
        closing,
    )

    reply = ModelReply()
    async with closing(modelling.call(msgspec.structs.replace(question, stream=True))) as events:
        async for event in events:
            if isinstance(event, Delta):
                if event.kind == "text":
                    write(event.text)
            else:
                reply = event
    write("" if reply.text.endswith("\n") else "\n")
    for use in reply.tool_uses:
        show(f"It asks for the tool {use['name']} with {use['input']}.")
    return reply


async def _timed(modelling: Modelling, question: ModelCall) -> dict[str, Any]:
    from corral.errors import CorralError  # noqa: PLC0415 - as above

    begun = time.monotonic()
    try:
        reply = await _reply(modelling, question)
    except CorralError as error:
        return {"asked": question.model, "seconds": round(time.monotonic() - begun, 3), "error": error.message}
    return _told(question, reply, time.monotonic() - begun)


# -- telling ----------------------------------------------------------------------------------------------------------


def _told(question: ModelCall, reply: ModelReply, seconds: float) -> dict[str, Any]:
    notes = question.notes
    return {
        "asked": question.model or "(default)",
        "model": notes.get("deployment") or reply.model,
        "text": reply.text,
        "tool_uses": reply.tool_uses,
        "stop_reason": reply.stop_reason,
        "seconds": round(seconds, 3),
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "cost_usd": reply.cost_usd,
        "cached": reply.cached,
        "route": {name[6:]: notes[name] for name in ("route.class", "route.to", "route.reason") if name in notes},
        "attempts": notes.get("attempts", []),
    }


def _say_beside(question: ModelCall, reply: ModelReply, seconds: float) -> None:
    told = _told(question, reply, seconds)
    tokens = f"{told['input_tokens']} tokens in, {told['output_tokens']} out"
    kept = f", kept answer ({reply.cached})" if reply.cached else ""
    note(f"{told['model']}: {seconds:.2f} s, {tokens}, {_cost(reply.cost_usd)}{kept}", faint=True)
    if told["route"].get("reason"):
        note(f"Routed as {told['route'].get('class') or 'default'}: {told['route']['reason']}", faint=True)


def _seconds(text: str) -> float:
    from corral.errors import ValidationFailed  # noqa: PLC0415 - as above
    from corral.server.costs import seconds_of  # noqa: PLC0415 - as above

    try:
        return seconds_of(text)
    except ValidationFailed as error:
        raise Failure(f"--since: {error.message}", "Write 90m, 24h or 30d.", status=Exit.INVALID) from None


def _cost(usd: float | None) -> str:
    if usd is None:
        return "no price"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.6f}".rstrip("0").rstrip(".")


def _price(usd: float | None) -> str:
    return dim("-") if usd is None else f"{usd:g}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
