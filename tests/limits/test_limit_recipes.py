"""What the recipe and the page of limits show is what works."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml

from corral.app import App
from corral.cli.program import VERBS
from corral.context import Context, enter_context, leave_context
from corral.limits.rates import RateExceeded
from corral.limits.rules import rules_of
from corral.server.limiting import said
from corral.settings.sections import Settings

DOCS = Path(__file__).parents[2] / "docs"
RECIPE = "recipes/three-tiers.md"
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^    corral ([a-z]+)", re.MULTILINE)


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def settings_in(block):
    return yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda found: found[1].lower(), block))


@pytest.mark.parametrize("page", [RECIPE, "limits.md"])
def test_the_settings_that_are_shown_are_limits(page):
    shown = [msgspec.convert(settings_in(block), Settings).limits for block in YAML.findall(text_of(page))]
    rules = [rule for limits in shown for rule in rules_of({name: said(one) for name, one in limits.rates.items()})]
    assert {rule.name for rule in rules} >= {"free_tier.requests_per_minute", "enterprise_tier.tokens_per_day"}
    assert set(COMMAND.findall(text_of(page))) <= set(VERBS)


async def test_three_tiers(build):
    app = App()
    app.entrypoint(lambda payload: payload)
    (block,) = YAML.findall(text_of(RECIPE))
    service = await build(app, **settings_in(block))
    transport = httpx.ASGITransport(service)
    passed = {}
    for key in ("free_key", "pro_key"):
        headers = {"authorization": f"Bearer {key}", "x-user-id": "ada"}
        async with httpx.AsyncClient(transport=transport, base_url="http://corral", headers=headers) as client:
            answers = [await client.post("/invocations", json=1) for _ in range(61)]
            passed[key] = [answer.status_code for answer in answers].count(200)
            assert answers[-1].headers.keys() >= {"retry-after", "ratelimit-limit", "ratelimit-policy"}
    assert passed == {"free_key": 10, "pro_key": 60}


async def test_functions_of_ones_own():
    (block,) = PYTHON.findall(text_of(RECIPE))
    names = {}
    exec(compile(block, RECIPE, "exec"), names)
    ada = Context("r-1")
    ada.user_id, ada.tier = "ada", "free"
    token = enter_context(ada)
    assert [await names["handler"](number, ada) for number in range(10)] == list(range(10))
    with pytest.raises(RateExceeded):
        await names["handler"](10, ada)
    leave_context(token)
