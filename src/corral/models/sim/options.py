"""How the simulator is to behave: for all calls, and for a single one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from corral.errors import ConfigError
from corral.models.sim.catalog import Amount, SimModel

Share = Annotated[float, Meta(ge=0, le=1)]
Number = Annotated[int, Meta(ge=1)]

FAULTS = {
    "5xx": "one of 500, 502, 503",
    "hang": "no answer, until the client leaves or `hang_s` is over",
    "stall": "silence in the middle of an answer",
    "slow": "`slow_factor` times as slow",
    "cut": "the connection is closed in the middle of the answer",
    "reset": "the connection is reset before the answer",
    "malformed": "JSON that is none, in the middle of the answer",
    "midstream": "an error in the middle of a stream; 503 without one",
    "type": "a page of HTML with the status 200",
    "empty": "an answer without any content",
    "too_long": "the error for conversations that are longer than the model can read",
    "filtered": "the error for content that is not allowed",
}
"""The faults by name. The number of a status (`429`, `529`, `404`) is one as well."""

_STATUS = re.compile(r"[45]\d\d")


class ScriptedTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool that a scripted reply asks for."""

    name: str
    input: dict[str, Any] = {}


class ScriptLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to happen when a question matches: a reply, a tool, a status or a fault."""

    match: str = ""
    """Words that stand in the last message, in whatever case, or `/a regular expression/`; empty: every question."""
    model: str = ""
    """Only when this model is asked."""
    times: Number | None = None
    """So many times; then the line is passed over."""
    reply: str | None = None
    """`{0}` is what matched, `{1}` the expression's first group."""
    tool: ScriptedTool | None = None
    json: Any = None
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    fault: str = ""
    retry_after_s: float | None = None
    output_tokens: Number | None = None


class SimOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options of the provider kind `sim`; `corral sim` has a flag for each of the common ones."""

    seed: int = 0
    """The same seed and the same call: the same answer."""
    ttft_ms: Amount | None = None
    """Until the first token; none: as the model's own. 0 has the reading of long questions take no time either."""
    prefill_ms: Amount | None = None
    """More for every 1,000 tokens read."""
    itl_ms: Amount | None = None
    """Between two tokens; none: as the model's own."""
    jitter: Share = 0.1
    """How much chance adds to or takes from these times."""
    batch_max: Number | None = None
    """Calls that a model answers at once; more wait in line."""
    batch_slowdown: Amount | None = None
    """How much longer the time between tokens is when it is that many."""
    rpm: Number | None = None
    """Requests a minute, for each key and model."""
    tpm: Number | None = None
    """Tokens a minute, for each key and model."""
    burst_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    """How many seconds' worth of either may gather while nobody asks."""
    charge: Literal["actual", "reserve"] = "actual"
    """`reserve`: a call's `max_tokens` are taken from the allowance before it begins, and the rest is put back after it."""
    faults: dict[str, Share] = {}
    """Fault to the share of calls that have it."""
    sequence: list[str] = []
    """What happens to the first calls, in the order in which they come: faults, or `ok`."""
    hang_s: Amount = 3_600.0
    slow_factor: Annotated[float, Meta(ge=1, le=10_000)] = 10.0
    output_tokens: Number | None = None
    """Length of answers: shorter ones are continued, longer ones end there."""
    cache_min_tokens: Number = 1_024
    """Shorter beginnings of conversations are not kept for later calls."""
    cache_s: Amount = 300.0
    """For how long they are."""
    batch_s: Amount = 0.0
    """How long a batch (`/v1/batches`) takes."""
    keys: list[str] = []
    """Keys that are let in; none: everybody is."""
    strict: bool = False
    """Refuse fields that the imitated provider does not know."""
    script: list[ScriptLine] = []
    """Replies for certain questions; the first line that matches."""
    models: dict[str, SimModel] = {}
    """Models of one's own, by name."""


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a single call wants to happen to it: headers `X-Sim-Fault: 529`, or `extra={"sim": {"fault": "529"}}`."""

    fault: str = ""
    reply: str | None = None
    seed: int | None = None
    ttft_ms: Amount | None = None
    prefill_ms: Amount | None = None
    itl_ms: Amount | None = None
    output_tokens: Number | None = None
    hang_s: Amount | None = None
    slow_factor: Annotated[float, Meta(ge=1, le=10_000)] | None = None
    retry_after_s: Amount | None = None

    @property
    def is_trouble(self) -> bool:
        """Whether what goes wrong may be what was wished for: then it says nothing about calls of others."""
        return bool(self.fault) or any(
            one is not None
            for one in (
                self.ttft_ms,
                self.prefill_ms,
                self.itl_ms,
                self.hang_s,
                self.slow_factor,
                self.retry_after_s,
            )
        )


NO_WISH = Wish()


def read_options(content: object, where: str = "options") -> SimOptions:
    """The options out of settings or of a file. Raises `ConfigError` that names what is wrong."""
    try:
        options = msgspec.convert(_with_names(content), SimOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The simulator's {where}: {error}") from None
    named = [*options.faults, *options.sequence, *(line.fault for line in options.script if line.fault)]
    for fault in named:
        if not is_fault(fault):
            raise ConfigError(
                f"The simulator's {where}: there is no fault `{fault}`; there are {', '.join(FAULTS)}, and any status from 400 on."
            )
    if sum(options.faults.values()) > 1:
        raise ConfigError(f"The simulator's {where}: the shares of `faults` are more than 1 together.")
    for line in options.script:
        _check_match(line.match, where)
    return options


def _with_names(content: object) -> object:
    """Statuses among the faults as texts: YAML reads `503` as a number."""
    if not isinstance(content, dict):
        return content
    content = dict(content)
    if isinstance(content.get("faults"), dict):
        content["faults"] = {str(fault): share for fault, share in content["faults"].items()}
    if isinstance(content.get("sequence"), list):
        content["sequence"] = [str(fault) for fault in content["sequence"]]
    return content


def is_fault(name: str) -> bool:
    """Whether there is such a fault (`ok` is none, and may stand among them)."""
    return name == "ok" or name in FAULTS or _STATUS.fullmatch(name) is not None


def _check_match(match: str, where: str) -> None:
    if len(match) > 1 and match.startswith("/") and match.endswith("/"):
        try:
            re.compile(match[1:-1])
        except re.error as error:
            raise ConfigError(
                f"The simulator's {where}: the script's {match} is no regular expression: {error}"
            ) from None


def read_wish(content: object) -> Wish:
    """A call's own wish, from text as headers carry it. Raises `ValueError` that says what is wrong."""
    try:
        wish = msgspec.convert(content, Wish, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"What is wished of the simulator: {error}") from None
    if wish.fault and not is_fault(wish.fault):
        raise ValueError(
            f"The simulator has no fault `{wish.fault}`; it has {', '.join(FAULTS)}, and any status from 400 on."
        )
    return wish
