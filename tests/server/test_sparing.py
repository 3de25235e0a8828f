"""Modules that libraries import and no worker uses."""

from __future__ import annotations

import html
import subprocess
import sys

import pytest

from corral.server.markup import escape, escape_quoted


def said(code: str) -> list[str]:
    program = f"import sys\nfrom corral.server.sparing import spare\nspare()\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_a_worker_has_nothing_in_memory_that_it_does_not_use():
    unused = "click multiprocessing socketserver pickle typer http.client urllib.request zipfile html.entities csv statistics websockets"
    code = f"""
import os
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]
import corral.gateway, corral.server.worker
from corral.settings.load import load_settings
corral.gateway.app.build(load_settings().settings)
print(*({{*{unused!r}.split()}} & set(sys.modules)))
"""
    assert said(code) == []


def test_they_are_there_when_somebody_asks():
    code = """
import corral.server.worker
import logging.config
from uvicorn import Config
import uvicorn.config
print(Config is uvicorn.config.Config, "click" in sys.modules)
print(uvicorn.__version__[0].isdigit(), callable(uvicorn.run), uvicorn.Server.__name__, "click" in sys.modules)
logging.config.dictConfig({"version": 1, "loggers": {"one": {"level": "ERROR"}}})
print(logging.getLogger("one").level)
print(hasattr(uvicorn, "nothing"), Config is uvicorn.Config)
"""
    assert said(code) == ["True", "False", "True", "True", "Server", "True", "40", "False", "True"]


def test_what_is_loaded_stays_as_it_is():
    code = """
del sys.modules["uvicorn"], sys.modules["logging.config"]
import uvicorn
before = uvicorn
spare()
print(sys.modules["uvicorn"] is before, type(uvicorn).__name__)
"""
    assert said(code) == ["True", "module"]


def test_many_threads_ask_at_once():
    code = """
import threading
import uvicorn.config
found, start = [], threading.Barrier(8)
def ask():
    start.wait()
    found.append(uvicorn.run.__name__ + uvicorn.Server.__name__)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*found)
"""
    assert said(code) == ["runServer"] * 8


@pytest.mark.parametrize("text", ["", "plain", "<a href=\"x\">'&amp;'</a>", "ä < ö & \u2028"])
def test_markup_is_escaped_as_ever(text):
    assert escape(text) == html.escape(text, quote=False)
    assert escape_quoted(text) == html.escape(text)
