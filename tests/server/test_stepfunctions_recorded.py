"""Scripts that were recorded from the service itself, asked of this server. They are read where they lie, and are no part of this."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from corral.app import App
from corral.hosting import host

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "asl"

pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings lie beside the repository, or nowhere")

UNQUOTED = "TestStateCaseScenarios_test_base_lambda_task_state_INFO__test_case_response"
"""Who recorded it took a string's quotes away, which an answer in JSON has."""


def hosting() -> App:
    """The functions that the recordings call."""
    spec = importlib.util.spec_from_file_location("recorded_functions", RECORDED / "functions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return host("recorded", module.FUNCTIONS)


@pytest.mark.parametrize("kinds", [("api_script", "create_error", "sync_execution"), ("test_state",)])
async def test_answers_are_as_they_were_recorded(serve, tmp_path, kinds):
    server = await serve(hosting())
    told = tmp_path / "told.json"
    chosen = [word for kind in kinds for word in ("--kind", kind)]
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        str(RECORDED / "run.py"),
        "--endpoint",
        server.url,
        "--timeout",
        "20",
        "--json",
        str(told),
        *chosen,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await runner.communicate()
    assert told.exists(), said.decode()
    cases = json.loads(told.read_text())
    wrong = {one["name"]: one["why"] for one in cases if not one["passed"] and one["name"] != UNQUOTED}
    assert wrong == {}
    assert len(cases) > 50
