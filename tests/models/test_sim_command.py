"""`corral sim` as it is started."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from sim_process import PROGRAM, simulating

from processes import wait_until

SCRIPT = """
seed: 4
faults: {503: 0}
sequence: [ok, ok]
script:
  - {match: refund, reply: It is on its way.}
  - {match: stop, status: 429, retry_after_s: 3}
"""


def chat(text: str) -> dict:
    return {"model": "sim/small", "messages": [{"role": "user", "content": text}]}


def said(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "sim", *flags], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_script_and_flags_are_obeyed(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    with simulating(
        "--ttft-ms", "0", "--itl-ms", "0", "--key", "sk-one", "--fault", "empty:0", script=script
    ) as server:
        refused = server.post("/v1/chat/completions", chat("a refund"))
        key = {"authorization": "Bearer sk-one"}
        answered = server.post("/v1/chat/completions", chat("a refund"), **key)
        limited = server.post("/v1/chat/completions", chat("stop"), **key)
        anthropic = server.post("/v1/messages", chat("Hello") | {"max_tokens": 9}, **{"x-api-key": "no"})
    assert refused.status_code == 401
    assert answered.json()["choices"][0]["message"]["content"] == "It is on its way."
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
    assert anthropic.json()["error"]["type"] == "authentication_error"


def test_a_list_alone_is_the_script(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text("- {match: '', reply: always this}")
    with simulating(script=script) as server:
        assert "always this" in server.post("/v1/chat/completions", chat("x")).text


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (("--fault", "boom:0.1"), 4, "no fault `boom`"),
        (("--fault", "5xx:often"), 2, "no share"),
        (("--script", "nowhere.yaml"), 2, "cannot be read"),
        (("--script", __file__), 2, ""),
    ],
)
def test_what_is_wrong_is_said(flags, status, words):
    ended = said(*flags, "--port", "0")
    assert ended.returncode == status
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_ends_at_once_though_somebody_hangs():
    with simulating("--fault", "hang:1") as server:
        waiting = threading.Thread(target=_ask_in_vain, args=(server.url,))
        waiting.start()
        wait_until(lambda: server.stats()["running"])
        assert server.stop() == 0
        waiting.join(20)
        assert not waiting.is_alive()


def _ask_in_vain(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/v1/chat/completions", json=chat("x"), timeout=30)


def test_it_says_how_clients_find_it():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sim", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stderr.readline() for _ in range(5)]
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(20) == 0
    assert "OPENAI_BASE_URL=http://127.0.0.1:" in lines[1]
    assert "ANTHROPIC_BASE_URL" in lines[2]
    assert "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" in lines[3]


def test_counts_by_kind_and_model():
    with simulating("--ttft-ms", "0", "--itl-ms", "0") as server:
        server.post("/v1/chat/completions", chat("x"))
        server.post("/v1/messages", chat("x") | {"max_tokens": 9})
        server.post("/v1/embeddings", {"model": "sim/embed", "input": "x"})
        stats = server.stats()
    assert stats["by_kind"] == {"openai.chat": 1, "anthropic.messages": 1, "embedding": 1}
    assert stats["by_model"]["sim/small"] == {"openai.chat": 1, "anthropic.messages": 1}
    assert stats["tokens"]["output"] > 0
    assert json.dumps(stats)
