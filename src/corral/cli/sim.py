"""`corral sim`: models that cost nothing, over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from corral.cli.failure import Exit, Failure
from corral.cli.options import Json, new_app
from corral.cli.output import note, show_json

app = new_app()

_SHARE_OF_ALL = "1"


@app.command()
def sim(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on; 0 takes a free one.")] = 9000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same call: same answer.")] = None,
    ttft_ms: Annotated[float | None, typer.Option("--ttft-ms", help="Until the first token; 0 for none.")] = None,
    itl_ms: Annotated[float | None, typer.Option("--itl-ms", help="Between two tokens; 0 for none.")] = None,
    rpm: Annotated[int | None, typer.Option("--rpm", help="Requests a minute, for each key and model.")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", help="Tokens a minute, for each key and model.")] = None,
    burst_s: Annotated[
        float | None, typer.Option("--burst-s", help="How many seconds' worth of both may gather (60).")
    ] = None,
    batch_max: Annotated[int | None, typer.Option("--batch-max", help="Calls that a model answers at once.")] = None,
    output_tokens: Annotated[int | None, typer.Option("--output-tokens", help="Length of answers.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", help="Fault and its share of the calls, such as 5xx:0.01; repeatable.", metavar="NAME:SHARE"
        ),
    ] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Let in this API key alone; repeatable.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse fields that the real API does not know.")] = False,
    script: Annotated[
        Path | None,
        typer.Option("--script", help="YAML with a `script` of replies, or any of the simulator's options."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Simulate OpenAI, Anthropic and Bedrock on one port, until SIGTERM or Ctrl-C."""
    given: dict[str, Any] = {
        "seed": seed,
        "ttft_ms": ttft_ms,
        "itl_ms": itl_ms,
        "rpm": rpm,
        "tpm": tpm,
        "burst_s": burst_s,
        "batch_max": batch_max,
        "output_tokens": output_tokens,
        "faults": _faults(fault or []) or None,
        "keys": key or None,
        "strict": strict or None,
    }
    content = _script(script) | {name: value for name, value in given.items() if value is not None}
    from corral.models.sim.options import read_options  # noqa: PLC0415 - the simulator is loaded when it is to run

    options = read_options(content)
    from corral.models.sim.engine import Engine  # noqa: PLC0415 - as above
    from corral.models.sim.serving import SimService  # noqa: PLC0415 - as above
    from corral.server.address import url_of  # noqa: PLC0415 - as above
    from corral.server.listener import bind, is_loopback  # noqa: PLC0415 - as above
    from corral.server.worker import Worker, run_worker  # noqa: PLC0415 - as above
    from corral.settings.sections import ServerSettings  # noqa: PLC0415 - as above

    with bind(host, port) as listener:
        url = url_of(*listener.getsockname()[:2])
        service = SimService(Engine(options))
        settings = ServerSettings(host=host, drain_s=1.0)

        def ready() -> None:
            if as_json:
                show_json({"status": "simulating", "url": url, "pid": os.getpid()})
            else:
                _say(url)
                if not is_loopback(host):
                    note("Anybody who reaches this address can ask it.", faint=True)

        run_worker(lambda: Worker(service, listener, settings), ready)
    return Exit.OK


def _say(url: str) -> None:
    note(f"Corral simulates models on {url} (Press CTRL+C to quit)")
    note(f"  OpenAI     export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=sim", faint=True)
    note(f"  Anthropic  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=sim", faint=True)
    note(f"  Bedrock    export AWS_ENDPOINT_URL_BEDROCK_RUNTIME={url}", faint=True)
    note(
        f"  Models     sim/small, sim/medium, sim/large, sim/embed, or any other name. Counts: {url}/__sim/stats",
        faint=True,
    )


def _faults(given: list[str]) -> dict[str, float]:
    faults = {}
    for text in given:
        name, _, share = text.rpartition(":") if ":" in text else (text, "", _SHARE_OF_ALL)
        try:
            faults[name] = float(share)
        except ValueError:
            raise Failure(
                f"{share} is no share of the calls.", "Write it as 5xx:0.01.", code="usage", status=Exit.USAGE
            ) from None
    return faults


def _script(path: Path | None) -> dict[str, Any]:
    """The options in a file; a list alone is the script."""
    if path is None:
        return {}
    import yaml  # noqa: PLC0415 - only scripts need it

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failure(
            f"{path} cannot be read: {error}", "It is to be a YAML file.", code="usage", status=Exit.USAGE
        ) from None
    if isinstance(content, list):
        return {"script": content}
    if isinstance(content, dict):
        return content
    raise Failure(
        f"{path} holds neither a list nor options.",
        "Write `script:` and a list below it.",
        code="usage",
        status=Exit.USAGE,
    )
