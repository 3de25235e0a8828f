"""The description of the API, and whether the API keeps to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from corral.app import App
from corral.settings.sections import Settings, StoreSettings
from processes import serving

AGENTS = '''
import msgspec
from corral import App

app = App()

@app.entrypoint
async def main(payload, context):
    """Say it again."""
    return payload

class Question(msgspec.Struct):
    prompt: str
    times: int = 1

@app.entrypoint(name="typed")
async def typed(payload: Question):
    """Say it piece by piece."""
    for word in payload.prompt.split():
        yield word
'''


# AgentCore's API says 400 for a name that is taken and for a page that nobody gave out, as its clients expect it to; its
# many members are tried by boto3 (`test_agentcore_*`), one fuzzed request each is enough here.
AGENTCORE = """
[[operations]]
include-tag = "agentcore"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "402", "404", "409"]
phases.coverage.enabled = false
phases.stateful.enabled = false
"""
# Definitions, patterns and times are languages of their own: what is wrong with one is a 400 that no schema foretells.
LANGUAGES = """
[[operations]]
include-method = ["POST", "PUT"]
include-path-regex = "^/v1/(workflows|workflows/.name.|workflows/validate|events/match|events/rules/.name.|schedules/.name.)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "404", "409", "429"]
"""
# Whose key it is no schema foretells.
TENANTS = """
[[operations]]
include-path-regex = "^/v1/running"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]
"""


class Question(msgspec.Struct):
    prompt: str


class Answered(msgspec.Struct):
    question: Question
    more: list[Answered] = []


def document(**settings):
    app = App("farm")

    @app.entrypoint
    def main(payload: Answered):
        """Answer."""

    @app.entrypoint(name="plain")
    def plain(payload):
        return payload

    service = app.build(Settings(store=StoreSettings(url="sqlite:////tmp/never-opened.db"), **settings))
    about = next(route.handler for route in service.routes if route.path == "/openapi.json")
    return about.__self__.document(), service


def test_every_route_is_described_and_nothing_else():
    described, service = document()
    paths = {
        (method.upper(), path.replace("/agents/main/", "/agents/{name}/").replace("/agents/plain/", "/agents/{name}/"))
        for path, operations in described["paths"].items()
        for method in operations
    }
    assert paths == {(route.method, route.path) for route in service.routes}
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]
    ids = [operation["operationId"] for operations in described["paths"].values() for operation in operations.values()]
    assert len(set(ids)) == len(ids)


def test_an_agents_payload_type_is_part_of_it():
    described, _ = document()
    body = described["paths"]["/v1/agents/main/invocations"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert body["allOf"][0]["properties"]["question"]["properties"]["prompt"] == {"type": "string"}
    assert "$ref" not in str(body)


def test_aliases_are_described_too():
    from corral.settings.sections import ServerSettings

    described, _ = document(server=ServerSettings(aliases={"/agent": "plain"}))
    assert "post" in described["paths"]["/agent"]


PARTS = {
    "work": "^/v1/(jobs|queues|schedules|callbacks|batches|workers|signals|workflows|executions|approvals|events)",
    "the rest of v1": "^/v1/(?!keys|jobs|queues|schedules|callbacks|batches|workers|signals|workflows|executions|approvals|events)",
    "keys": "^/v1/keys",
    "all beside": "^/(?!v1/)",
}


ADMIN = """
security:
  secret: a secret of more than thirty-two characters
  api_keys: [{key: an-admins, roles: [admin]}]
"""
"""Keys are for admins alone, and where no key is asked for nobody is one."""

QUICK = "models: {providers: {sim: {kind: sim, options: {ttft_ms: 0, itl_ms: 0}}}}"
"""The simulator takes no time."""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("part", PARTS)
def test_schemathesis_finds_nothing(tmp_path, part):
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    (tmp_path / "schemathesis.toml").write_text(AGENTCORE + TENANTS + LANGUAGES, encoding="utf-8")
    environment = dict(os.environ)
    phases = "examples,coverage,fuzzing"
    if environment.get("HYPOTHESIS_PROFILE") != "long":
        environment |= {"SCHEMATHESIS_HOOKS": "first_of_each", "PYTHONPATH": str(Path(__file__).parent)}
        if part != "all beside":  # where AgentCore's API is, of which no list is tried
            phases = "examples,coverage"
    with serving(tmp_path, config=ADMIN if part == "keys" else QUICK, agents=AGENTS) as server:
        found = subprocess.run(
            [
                program,
                "run",
                f"http://127.0.0.1:{server.port}/openapi.json",
                "--checks",
                "all",
                "--include-path-regex",
                PARTS[part],
                "--phases",
                phases,
                "--max-examples",
                "1",
                "--no-color",
                "--seed",
                "7",
                "--suppress-health-check",
                "all",
                *(["--header", "Authorization: Bearer an-admins"] if part == "keys" else []),
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=190,
        )
    assert found.returncode == 0, found.stdout[-6000:]
