"""Each provider, whatever goes wrong, streamed or not: the error that it has to be, and nothing held afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, Literal

import msgspec
import pytest
from fault_scene import EMBEDDERS, LANGUAGES, Language, Scene, scene
from faulty_server import Answer

from corral.errors import ModelFailed, ModelRateLimited, ModelStreamBroken, ModelTimeout, ModelUnavailable
from corral.messages import Delta, ModelReply, closing
from corral.models import transport

HTML = {"content-type": "text/html; charset=utf-8"}
PAGE = b"<html><body>Welcome to the proxy</body></html>"
RETRY = {"retry-after": "7"}
BYTES_MAX = 16_384


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What the server does, and what comes of it."""

    answer: Callable[[Scene, bool], Answer] | None = None
    """Given whether the call streams; none: there is no server that could answer."""
    error: type[ModelFailed] | None
    streamed: type[ModelFailed] | None = None
    """The error of a stream, where it is another one."""
    said: bool = False
    """A stream had begun, and its error carries what had been said."""
    idle_s: float = 30.0
    """The longest silence."""
    left_s: float | None = None
    """How much time the call has."""
    retry_after_s: float | None = None
    at: Literal["there", "nobody", "no TLS"] = "there"


def refusal(status: int, headers: dict[str, str] | None = None) -> Callable[[Scene, bool], Answer]:
    def answer(scene: Scene, _: bool) -> Answer:
        given = {"content-type": "application/json", **(headers or {})}
        return Answer(status=status, headers=given, pieces=[scene.language.refusal])

    return answer


def begun(fault: str = "", *, then: bool = False) -> Callable[[Scene, bool], Answer]:
    def answer(scene: Scene, stream: bool) -> Answer:
        return scene.begun(stream=stream, then=scene.language.broken if then and stream else b"", fault=fault)

    return answer


def too_large(scene: Scene, stream: bool) -> Answer:
    answer = scene.begun(stream=stream)
    filling = scene.language.filling if stream else b" " * 1024
    return msgspec.structs.replace(answer, pieces=[*answer.pieces, *[filling] * (BYTES_MAX // 1024 + 1)], fault="hang")


def plain(fault: str) -> Callable[[Scene, bool], Answer]:
    return lambda *_: Answer(fault=fault)


FAULTS = {
    "500": Fault(answer=refusal(500), error=ModelFailed),
    "502, a page": Fault(answer=lambda *_: Answer(status=502, headers=HTML, pieces=[PAGE]), error=ModelFailed),
    "503": Fault(answer=refusal(503), error=ModelUnavailable),
    "429": Fault(answer=refusal(429), error=ModelRateLimited),
    "429 with a wait": Fault(answer=refusal(429, RETRY), error=ModelRateLimited, retry_after_s=7.0),
    "silence": Fault(answer=plain("silent"), error=ModelTimeout, idle_s=0.05),
    "silence after the head": Fault(answer=plain("hang"), error=ModelTimeout, idle_s=0.05),
    "silence in the middle": Fault(answer=begun("hang"), error=ModelTimeout, said=True, idle_s=0.2),
    "cut": Fault(answer=begun("cut"), error=ModelStreamBroken, said=True),
    "an end in the middle": Fault(answer=begun(), error=ModelFailed, streamed=ModelStreamBroken, said=True),
    "malformed": Fault(answer=begun(then=True), error=ModelFailed, streamed=ModelStreamBroken, said=True),
    "closed before the answer": Fault(answer=plain("close"), error=ModelUnavailable),
    "reset before the answer": Fault(answer=plain("tear"), error=ModelUnavailable),
    "reset in the middle": Fault(answer=begun("reset"), error=ModelStreamBroken, said=True),
    "refused": Fault(error=ModelUnavailable, at="nobody"),
    "no TLS": Fault(error=ModelUnavailable, at="no TLS"),
    "a slow first byte": Fault(answer=lambda scene, stream: scene.well(stream=stream, pause_s=0.005), error=None),
    "too slow a first byte": Fault(answer=plain("silent"), error=ModelTimeout, left_s=0.2),
    "too large": Fault(answer=too_large, error=ModelStreamBroken),
    "the wrong type": Fault(answer=lambda *_: Answer(headers=HTML, pieces=[PAGE]), error=ModelFailed),
    "nothing at all": Fault(answer=lambda *_: Answer(pieces=[]), error=ModelFailed),
}


async def prepared(made: Scene, fault: Fault, *, stream: bool, ask: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """The server is told; what the call has to say for it."""
    if (
        fault.left_s is not None
    ):  # so that the limits' lease is there already, and the time is spent waiting for the server
        made.server.answer = made.well(stream=False)
        await ask()
    if fault.answer is not None:
        made.server.answer = fault.answer(made, stream)
    return {} if fault.left_s is None else {"deadline": time.monotonic() + fault.left_s}


@pytest.fixture(autouse=True)
def _small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_ANSWER_BYTES_MAX", BYTES_MAX)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
async def test_what_goes_wrong_leaves_nothing_behind(language: Language, fault: Fault, stream: bool, tmp_path) -> None:
    async with scene(language, tmp_path, at=fault.at, idle_s=fault.idle_s) as made:
        more = await prepared(made, fault, stream=stream, ask=lambda: made.ask(stream=False, seed=1))
        error = (fault.streamed or fault.error) if stream else fault.error
        with nullcontext() if error is None else pytest.raises(error) as raised:
            _, reply = await made.ask(stream=stream, **more)
            assert reply.text == "Hello"
        if raised is not None:
            partial = raised.value.partial
            assert raised.value.retry_after_s == fault.retry_after_s
            if fault.said and stream:
                assert isinstance(partial, ModelReply)
                assert partial.text == "Hel"
            assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("language", EMBEDDERS.values(), ids=EMBEDDERS)
async def test_embeddings_that_go_wrong_leave_nothing_behind(language: Language, fault: Fault, tmp_path) -> None:
    async with scene(language, tmp_path, at=fault.at, idle_s=fault.idle_s) as made:
        more = await prepared(made, fault, stream=False, ask=lambda: made.embed(text="Ho"))
        with nullcontext() if fault.error is None else pytest.raises(fault.error) as raised:
            assert (await made.embed(**more)).vectors == [[0.5, 0.25]]
        if raised is not None:
            assert raised.value.retry_after_s == fault.retry_after_s


@pytest.mark.parametrize("how", ["leaves", "is cancelled"])
@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
async def test_who_does_not_wait_for_the_end_leaves_nothing_behind(language: Language, how: str, tmp_path) -> None:
    async with scene(language, tmp_path) as made:
        made.server.answer = made.begun(stream=True, fault="hang")
        heard = asyncio.Event()

        async def listen() -> None:
            async with closing(made.modelling.call(made.question(stream=True))) as events:
                async for event in events:
                    assert event == Delta("text", "Hel")
                    heard.set()
                    if how == "leaves":
                        return

        listening = asyncio.create_task(listen())
        await asyncio.wait_for(heard.wait(), 5)
        if how == "is cancelled":
            listening.cancel()
        await asyncio.wait([listening])
        await asyncio.wait_for(made.server.left.wait(), 5)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
async def test_after_a_hundred_failures_at_once_it_goes_on(language: Language, stream: bool, tmp_path) -> None:
    async with scene(language, tmp_path) as made:
        faults = [begun("cut"), begun("reset"), plain("close"), refusal(500)]
        made.server.answers = lambda _: faults[len(made.server.asked) % 4](made, stream)
        asked = [made.ask(stream=stream, seed=number) for number in range(100)]
        failed = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, ModelFailed) for one in failed)
        await made.holds_nothing()
